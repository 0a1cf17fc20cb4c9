# SPDX-License-Identifier: Apache-2.0
"""Single quantized operators with chosen zero points and scales: the corners of requantization.

Calibration never produces these; a runtime must still compute them. The graphs are in QOperator
form: QuantizeLinear, one operator, DequantizeLinear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["CORNERS", "OPERATORS", "Corner", "build_corner"]

OPSET, IR_VERSION = 17, 8
#: operator: (input shape, weight shape, axis of the weights that counts outputs)
OPERATORS: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    "QLinearConv": ((2, 3, 6, 5), (7, 3, 3, 3), 0),
    "QGemm": ((3, 40), (9, 40), 0),
    "QLinearMatMul": ((5, 40), (40, 18), 1),
}
_DTYPES: dict[str, Any] = {"u8": np.uint8, "s8": np.int8}


@dataclass(frozen=True, kw_only=True)
class Corner:
    """Parameters of one operator. Input codes and weights are uniform over their reach.

    Members
    -------
    activations, weights : "u8" or "s8"
    zero_points : of input, weights, output
    fill : the largest accumulator lands at this multiple of the output's range (> 1 saturates)
    spread : > 0 makes weight scales per channel, over a range of ``2**spread``
    powers_of_two : every scale is a power of two, so that many results are ties
    bias : largest magnitude of the int32 bias; 0 leaves it out
    depth : channels in, or K; 0 keeps the operator's default
    reach : largest distance of input codes and weights from their zero points
    """

    activations: str = "u8"
    weights: str = "s8"
    zero_points: tuple[int, int, int] = (128, 0, 128)
    fill: float = 1.0
    spread: int = 0
    powers_of_two: bool = False
    bias: int = 5000
    depth: int = 0
    reach: int = 255


CORNERS: dict[str, Corner] = {
    "typical": Corner(),
    "ties": Corner(powers_of_two=True, zero_points=(128, 0, 127), reach=12, bias=300),
    "ties_signed": Corner(powers_of_two=True, activations="s8", zero_points=(3, 0, -5), reach=12),
    "ties_per_channel": Corner(powers_of_two=True, spread=6, reach=20, bias=900),
    "saturating": Corner(fill=4.0),
    "scale_above_one": Corner(reach=1, bias=3),
    "scale_tiny": Corner(fill=1e-30),
    "scales_apart": Corner(spread=24, fill=3.0),
    "zero_points_low": Corner(weights="u8", zero_points=(0, 0, 0)),
    "zero_points_high": Corner(weights="u8", zero_points=(255, 255, 0)),
    "zero_points_mixed": Corner(weights="u8", zero_points=(255, 0, 255)),
    "zero_points_signed": Corner(activations="s8", zero_points=(-128, 127, 127)),
    "weights_asymmetric": Corner(zero_points=(7, -77, 20)),
    "bias_large": Corner(bias=2**30),
    "no_bias": Corner(bias=0),
    "deep": Corner(depth=1200, zero_points=(0, -128, 0)),  # sums above 2**24: fp32 rounds them
}


def _accumulate(x: NDArray[np.int64], w: NDArray[np.int64], operator: str) -> NDArray[np.int64]:
    """Exact sums, output channels last; only their extent is used, to choose the output scale."""
    if operator == "QLinearConv":
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = sliding_window_view(padded, w.shape[2:], axis=(2, 3))
        sums = np.einsum("nchwij,mcij->nhwm", windows, w, optimize=True)
    else:
        sums = x @ (w.T if operator == "QGemm" else w)
    return np.asarray(sums)


def _draw(rng: np.random.RandomState, shape: tuple[int, ...], dtype: Any, zero: int,
          reach: int) -> NDArray[np.int64]:
    """Codes of ``dtype`` within ``reach`` of the zero point."""
    info = np.iinfo(dtype)
    return rng.randint(max(info.min, zero - reach), min(info.max, zero + reach) + 1, shape)


def build_corner(operator: str, name: str) -> tuple[onnx.ModelProto, NDArray[np.float32]]:
    """Return (model, input) of one operator at one corner.

    Parameters
    ----------
    operator : key of `OPERATORS`; QLinearMatMul has no bias
    name : key of `CORNERS`
    """
    corner = CORNERS[name]
    rng = np.random.RandomState(crc32(f"{operator}/{name}".encode()))
    shape, weight, axis = OPERATORS[operator]
    if corner.depth:
        shape = (shape[0], corner.depth, *shape[2:])
        weight = tuple(corner.depth if i == 1 - axis else n for i, n in enumerate(weight))
    outputs = weight[axis]
    x_type, w_type = _DTYPES[corner.activations], _DTYPES[corner.weights]
    x_zero, w_zero, y_zero = corner.zero_points
    codes = _draw(rng, shape, x_type, x_zero, corner.reach)
    weights = _draw(rng, weight, w_type, w_zero, corner.reach)
    with_bias = bool(corner.bias) and operator != "QLinearMatMul"
    bias = rng.randint(-corner.bias, corner.bias + 1, outputs) * with_bias

    sums = _accumulate(codes - x_zero, weights - w_zero, operator) + bias
    one_sided = sums.min() >= 0 or sums.max() <= 0
    largest = float(np.abs(sums).max()) / (255 if one_sided else 127) / corner.fill
    x_scale, w_scale = np.float32(0.017), np.float32(0.013)
    if corner.powers_of_two:
        x_scale, w_scale = np.float32(2**-6), np.float32(2**-7)
        largest = 2 ** np.rint(np.log2(largest))
    w_scales: Any = w_scale
    if corner.spread:
        steps = np.linspace(-corner.spread, 0, outputs)
        w_scales = w_scale * np.exp2(np.rint(steps) if corner.powers_of_two else steps)
    tensors = {
        "x_scale": x_scale,
        "x_zero": x_type(x_zero),
        "w": weights.astype(w_type),
        "w_scale": np.asarray(w_scales, np.float32),
        "w_zero": np.full(outputs, w_zero, w_type) if corner.spread else w_type(w_zero),
        "y_scale": np.float32(float(x_scale) * float(w_scale) * largest),
        "y_zero": x_type(y_zero),
        **({"b": bias.astype(np.int32)} if with_bias else {}),
    }
    operands = ["xq", "x_scale", "x_zero", "w", "w_scale", "w_zero"]
    result, b = ["y_scale", "y_zero"], ["b"] if with_bias else []
    nodes: dict[str, tuple[list[str], dict[str, Any]]] = {
        "QLinearConv": ([*operands, *result, *b], {"pads": [1, 1, 1, 1]}),
        "QGemm": ([*operands, *(b or [""]), *result], {"transB": 1, "domain": "com.microsoft"}),
        "QLinearMatMul": ([*operands, *result], {}),
    }
    inputs, attributes = nodes[operator]
    final = (shape[0], outputs, *shape[2:])
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["xq"], name="enter"),
            helper.make_node(operator, inputs, ["yq"], name="op", **attributes),
            helper.make_node("DequantizeLinear", ["yq", "y_scale", "y_zero"], ["y"], name="leave"),
        ],
        f"{operator}_{name}",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, final)],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in tensors.items()],
    )
    model = helper.make_model(
        graph, producer_name="kiwicha", ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)],
    )
    return model, ((codes - x_zero) * x_scale).astype(np.float32)
