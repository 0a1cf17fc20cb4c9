# SPDX-License-Identifier: Apache-2.0
"""Constant operands of convolutions and matrix products in the form the graph keeps them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import Refusal, check_scale
from kiwicha.compiler.ops.context import Context

__all__ = ["Weights", "bias_vector", "combined_scale", "per_channel", "signed_weights"]


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
        if np.any(self.bias == np.iinfo(np.int32).min):
            raise Refusal(f"a bias is {np.iinfo(np.int32).min} and alpha negative")
        return Weights(~self.codes, ~self.zero, self.scale, -self.bias)


def per_channel(value: NDArray[Any], channels: int, what: str) -> NDArray[Any]:
    """Return one value per output channel from one for all or one for each."""
    if not channels or value.size not in (1, channels):
        raise Refusal(f"{value.size} values of {what} for {channels} output channels")
    return np.broadcast_to(value, (channels,))


def signed_weights(
    weights: NDArray[Any], zero: NDArray[Any]
) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
    """Return the same weights as int8 with their zero points.

    ONNX Runtime rewrites int8 weights as uint8 on some hosts; after this nothing depends on it.
    """
    if weights.dtype not in (np.int8, np.uint8):
        raise Refusal(f"weights are {weights.dtype}; must be int8 or uint8")
    if zero.dtype != weights.dtype:
        raise Refusal(f"weights are {weights.dtype}, their zero point {zero.dtype}")
    offset = 128 if weights.dtype == np.uint8 else 0
    return (weights.astype(np.int16) - offset).astype(np.int8), zero.astype(np.int16) - offset


def bias_vector(
    context: Context, node: onnx.NodeProto, index: int, channels: int
) -> NDArray[np.int32]:
    """Return the int32 bias, zeros where there is none."""
    if index >= len(node.input) or not node.input[index]:
        return np.zeros(channels, np.int32)
    bias = context.constant(node, index, "bias")
    if bias.dtype != np.int32:
        raise Refusal(f"bias '{node.input[index]}' is {bias.dtype}; must be int32")
    if bias.ndim > 1 and bias.shape[-1] != bias.size:
        raise Refusal(f"bias '{node.input[index]}' is {bias.shape}; must be one per column")
    return np.ascontiguousarray(per_channel(bias.reshape(-1), channels, "bias"))


def combined_scale(
    x: np.float32, weights: NDArray[np.float32], y: np.float32
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return Sx * Sw / Sy per channel: as ONNX Runtime has it, f(f(Sx * Sw) / Sy), each step
    rounded to float32; and as TFLite has it, in float64."""
    with np.errstate(all="ignore"):
        scale: NDArray[np.float32] = np.float32(x) * weights / np.float32(y)
    check_scale(scale, "input scale * weight scale / output scale")
    return scale, np.float64(x) * weights.astype(np.float64) / np.float64(y)
