# SPDX-License-Identifier: Apache-2.0
"""Weights and bias of a product that is written in float, as integers: those of `linear`."""

from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit, check_scale
from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.graph.graph import Tensor
from kiwicha.compiler.ops.context import Context, Quantized
from kiwicha.compiler.ops.weights import Weights, signed_weights

__all__ = ["CONV_LIMITS", "LIMITS", "linear_weights"]

_INT32 = np.iinfo(np.int32)

_SUMS = Limit(
    "its sums may need more than 32 bits", lambda furthest: bool(np.all(furthest <= _INT32.max))
)
_ONE = Limit(
    "weight '{name}' has more than one {what} for an output channel",
    lambda name, what, lines: bool(np.all(lines == lines[:, :1])),
)
_CONSTANT_BIAS = Limit("its bias is not a constant", lambda constant: constant)
_BIAS_SHAPE = Limit(
    "its bias is {shape}; must be one for each {one} ({columns})",
    lambda shape, one, columns: prod(shape) == 1 or shape[-1] == prod(shape) == columns,
)
_FINITE = Limit("its bias is not finite", lambda bias: bool(np.isfinite(bias).all()))
_BIAS_WIDTH = Limit(
    "its bias needs more than 32 bits in units of input scale * weight scale, {unit:.6g}",
    lambda unit, codes: bool(np.all(np.abs(codes) <= _INT32.max)),
)
_BIAS_UNIT = Limit(
    "its bias is no multiple of input scale * weight scale",
    lambda error, step: bool(np.all(error <= step / 2)),
)
CONV_LIMITS = (_SUMS, _ONE, _CONSTANT_BIAS)
"""Those of convolutions, whose bias ONNX Runtime quantizes where the model does not."""
LIMITS = (*CONV_LIMITS, _BIAS_SHAPE, _FINITE, _BIAS_WIDTH, _BIAS_UNIT)


def linear_weights(
    context: Context, node: onnx.NodeProto, x: Tensor, weight: Quantized, axis: int,
    target: Tensor, bias_name: str,
) -> Weights:
    """Return the weights as integers with zero point, scale and bias of each output channel.

    Parameters
    ----------
    axis : of the output channels: 0 of a convolution, 1 of a matrix product.
    bias_name : of a constant, empty where there is no bias.

    Raises
    ------
    Refusal
        Where sums may need more than 32 bits, or bias or scales cannot be expressed.
    """
    given = attributes(node) if axis else {}
    alpha, beta = (np.float32(given.get(name, 1.0)) for name in ("alpha", "beta"))
    scale, zero = _each(weight.scale, axis, node, "scale"), _each(weight.zero, axis, node, "zero")
    codes, zero_point = signed_weights(weight.codes, zero)
    scale = (np.abs(alpha) * scale).astype(np.float32)
    check_scale(scale, "alpha * weight scale")
    bias = np.zeros(len(scale), np.int32)
    if bias_name and beta:
        one = "column" if axis else "channel"
        real = np.float64(beta) * _columns(context, bias_name, one, len(scale))
        real = -real if alpha < 0 else real  # in units of the weights before they are negated
        bias = _codes(real, np.float64(x.scale) * scale, np.float64(target.scale))
    info, lines = np.iinfo(x.dtype), np.moveaxis(codes, axis, 0).reshape(len(scale), -1)
    furthest = max(info.max - x.zero_point, x.zero_point - info.min)
    sums = np.abs(lines.astype(np.int64) - zero_point[:, None]).sum(axis=1) * furthest
    _SUMS.check(furthest=sums + np.abs(bias.astype(np.int64)))
    made = Weights(codes, zero_point, scale, bias)
    return made.negative if alpha < 0 else made


def _each(value: NDArray[Any], axis: int, node: onnx.NodeProto, what: str) -> NDArray[Any]:
    """Return the one value of each output channel."""
    lines = np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)
    _ONE.check(name=node.input[1], what=what, lines=lines)
    return np.ascontiguousarray(lines[:, 0])


def _columns(
    context: Context, name: str, one: str, columns: int
) -> NDArray[np.float64]:
    """Return the bias in float, one value for each output channel."""
    _CONSTANT_BIAS.check(constant=name in context.constants)
    value = context.constants[name]
    _BIAS_SHAPE.check(shape=value.shape, one=one, columns=columns)
    real = np.broadcast_to(value.reshape(-1).astype(np.float64), (columns,))
    _FINITE.check(bias=real)
    return real


def _codes(
    real: NDArray[np.float64], unit: NDArray[np.float64], y_scale: np.float64
) -> NDArray[np.int32]:
    """Return a bias as int32 multiples of ``unit``, which must be fine enough for one code."""
    codes = np.rint(real / unit)
    _BIAS_WIDTH.check(unit=unit.min(), codes=codes)
    _BIAS_UNIT.check(error=np.abs(codes * unit - real), step=y_scale)
    return codes.astype(np.int32)
