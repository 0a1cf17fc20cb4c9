# SPDX-License-Identifier: Apache-2.0
"""Runs a compiled graph layer by layer on the golden operators, without program or machine.

Takes any object with the members of `compiler.graph.Graph`; knows nothing else of the compiler.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden.conv import conv2d
from golden.matmul import matmul
from golden.pool import max_pool2d
from golden.requantize import requantize
from hw.config import RequantizeMode
from hw.scales import encode_scale

__all__ = ["evaluate", "outputs"]


def evaluate(
    graph: Any,
    inputs: Mapping[str, NDArray[Any]],
    mode: RequantizeMode | str = RequantizeMode.ONNX,
) -> dict[str, NDArray[Any]]:
    """Return every tensor of the graph by name, in ONNX order and its own type.

    Parameters
    ----------
    inputs : graph inputs by name.
    mode : rounding of the requantizer.
    """
    tensors = {value.name: np.asarray(inputs[value.name]) for value in graph.inputs}
    for edge in graph.quantize:
        tensors[edge.tensor.name] = edge(tensors[edge.source])
    for node in graph.nodes:
        tensors[node.y.name] = _RUN[node.kind](node, tensors[node.x.name], mode)
    return {name: array for name, array in tensors.items() if array.dtype.itemsize == 1}


def outputs(graph: Any, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the graph outputs, dequantized where they are float."""
    found = {edge.target: edge(tensors[edge.tensor.name]) for edge in graph.dequantize}
    return {v.name: found[v.name] if v.name in found else tensors[v.name] for v in graph.outputs}


def _finish(
    node: Any, acc: NDArray[np.int32], mode: RequantizeMode | str, channel: tuple[int, ...]
) -> NDArray[Any]:
    """Requantize with per-channel parameters shaped ``channel``, in the type of the output."""
    multiplier, shift = encode_scale(mode, node.scale)
    bias = np.reshape(getattr(node, "bias", 0), channel)
    values = requantize(
        acc, np.reshape(multiplier, channel), np.reshape(shift, channel),
        node.y.zero_point, node.low, node.high, mode, bias=bias,
    )  # fmt: skip
    return values.astype(node.y.dtype).reshape(node.y.shape)


def _conv(node: Any, x: NDArray[Any], mode: RequantizeMode | str) -> NDArray[Any]:
    acc = conv2d(
        x.reshape(node.x.image), node.weights, x_zero=node.x.zero_point,
        weight_zero=node.weight_zero, groups=node.groups, strides=node.strides, pads=node.pads,
        dilations=node.dilations,
    )  # fmt: skip
    return _finish(node, acc, mode, (-1, 1, 1))


def _matmul(node: Any, x: NDArray[Any], mode: RequantizeMode | str) -> NDArray[Any]:
    acc = matmul(
        x.reshape(-1, len(node.weights)), node.weights, x_zero=node.x.zero_point,
        weight_zero=node.weight_zero,
    )  # fmt: skip
    return _finish(node, acc, mode, (-1,))


def _pool(node: Any, x: NDArray[Any], mode: RequantizeMode | str) -> NDArray[Any]:
    real = x.astype(np.int32) - node.x.zero_point
    if node.kernel != (1, 1) or node.strides != (1, 1):
        real = max_pool2d(
            real.reshape(node.x.image), node.kernel, strides=node.strides, pads=node.pads,
            dilations=node.dilations,
        )  # fmt: skip
    return _finish(node, real, mode, ())


def _view(node: Any, x: NDArray[Any], _mode: RequantizeMode | str) -> NDArray[Any]:
    return x.reshape(node.y.shape) if node.axes is None else x.transpose(node.axes)


_RUN = {"conv": _conv, "matmul": _matmul, "max": _pool, "view": _view}
