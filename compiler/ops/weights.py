# SPDX-License-Identifier: Apache-2.0
"""Constant operands of convolutions and matrix products in the form the graph keeps them."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit, check_scale
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.limits import CODES

__all__ = ["LIMITS", "Weights", "bias_vector", "combined_scale", "per_channel", "signed_weights"]

_NEGATIVE = Limit(
    "a bias is {least} and alpha negative", lambda least: least > np.iinfo(np.int32).min
)
_COUNT = Limit(
    "{size} values of {what} for {channels} output channels",
    lambda size, what, channels: channels and size in (1, channels),
)
_TYPES = Limit(
    "weights are {dtype}, their zero point {zero}", lambda dtype, zero: dtype == zero
)
_BIAS_TYPE = Limit("bias '{name}' is {dtype}; must be int32", lambda name, dtype: dtype == np.int32)
_BIAS_SHAPE = Limit(
    "bias '{name}' is {shape}; must be one per column",
    lambda name, shape: len(shape) < 2 or shape[-1] == prod(shape),
)
LIMITS = (_COUNT, _BIAS_SHAPE)
"""Limits of weights and biases that a model which ONNX Runtime takes may break."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights and what belongs to each output channel.

    Members
    -------
    codes : int8, in ONNX's shape.
    zero : int16, -128 to 127, one per output channel.
    scale : float32, one per output channel.
    bias : int32, in units of input scale * ``scale``, one per output channel.
    """

    codes: NDArray[np.int8]
    zero: NDArray[np.int16]
    scale: NDArray[np.float32]
    bias: NDArray[np.int32]

    @property
    def negative(self) -> "Weights":
        """The same with the products and the bias negated: ~w - ~z is -(w - z).

        Raises
        ------
        Refusal
            Where a bias is -2^31, which has no opposite.
        """
        _NEGATIVE.check(least=int(self.bias.min()))
        return Weights(~self.codes, ~self.zero, self.scale, -self.bias)


def per_channel(value: NDArray[Any], channels: int, what: str) -> NDArray[Any]:
    """Return one value per output channel from one for all or one for each."""
    _COUNT.check(size=value.size, what=what, channels=channels)
    return np.broadcast_to(value, (channels,))


def signed_weights(
    weights: NDArray[Any], zero: NDArray[Any]
) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
    """Return the same weights as int8 with their zero points.

    ONNX Runtime rewrites int8 weights as uint8 on some hosts; after this nothing depends on it.
    """
    CODES.check(what="its weight", dtype=weights.dtype)
    _TYPES.check(dtype=weights.dtype, zero=zero.dtype)
    if weights.dtype != np.uint8:
        return weights.astype(np.int8), zero.astype(np.int16)
    return (weights ^ np.uint8(128)).view(np.int8), zero.astype(np.int16) - 128


def bias_vector(
    context: Context, node: onnx.NodeProto, index: int, channels: int
) -> NDArray[np.int32]:
    """Return the int32 bias, zeros where there is none."""
    if index >= len(node.input) or not node.input[index]:
        return np.zeros(channels, np.int32)
    bias = context.constant(node, index, "bias")
    _BIAS_TYPE.check(name=node.input[index], dtype=bias.dtype)
    _BIAS_SHAPE.check(name=node.input[index], shape=bias.shape)
    return np.ascontiguousarray(per_channel(bias.reshape(-1), channels, "bias"))


def combined_scale(
    x: np.float32, weights: NDArray[np.float32], y: np.float32
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return Sx * Sw / Sy per channel: as ONNX Runtime has it, f(f(Sx * Sw) / Sy), each step
    rounded to float32; and as TFLite has it, in float64.

    A channel that was pruned, or whose weights training let vanish, has one below binary32's normal
    numbers. No int32 times any of them reaches half a code: the smallest normal one stands for
    them, with the same results.
    """
    with np.errstate(all="ignore"):
        scale: NDArray[np.float32] = np.float32(x) * weights / np.float32(y)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    check_scale(scale, "input scale * weight scale / output scale")
    return scale, np.float64(x) * weights.astype(np.float64) / np.float64(y)
