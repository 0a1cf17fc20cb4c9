# SPDX-License-Identifier: Apache-2.0
"""Runs a compiled graph layer by layer on the golden operators, without program or machine.

Takes any object with the members of `compiler.graph.graph.Graph`; knows nothing else of the
compiler.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden.add import sums as added
from kiwicha.golden.add import to_integers
from kiwicha.golden.away import rounded_away
from kiwicha.golden.conv import conv2d, far_pads
from kiwicha.golden.conv_transpose import conv_transpose2d
from kiwicha.golden.dynamic import (
    added_values,
    linear_values,
    quantize_values,
    real_octets,
)
from kiwicha.golden.dynamic_nodes import (
    dynamic_product,
    dynamic_real,
    dynamic_scale,
    pooled_values,
    quantized_by_range,
    real_values,
)
from kiwicha.golden.fixed_pair import FUNCTIONS as FIXED_PAIRS
from kiwicha.golden.matmul import matmul
from kiwicha.golden.mul import products
from kiwicha.golden.normalize import normalize
from kiwicha.golden.pool import max_pool2d, sum_pool2d
from kiwicha.golden.product import product
from kiwicha.golden.requantize import requantize
from kiwicha.golden.softmax import softmax
from kiwicha.golden.vector import quantized_pixels
from kiwicha.machine.isa import Reduction, SpecialOperation
from kiwicha.machine.modes import RequantizeMode, SoftmaxMode
from kiwicha.machine.pair_tables import multiply, multiply_add
from kiwicha.machine.records import SLOT_RECORD
from kiwicha.machine.scales import encode_scale

__all__ = ["evaluate", "outputs", "requantized", "run_node", "sums"]


def evaluate(
    graph: Any,
    inputs: Mapping[str, NDArray[Any]],
    mode: RequantizeMode | str = RequantizeMode.ONNX,
    softmax_mode: SoftmaxMode | str = SoftmaxMode.ONNX,
    random: tuple[int, int] = (0, 0),
) -> dict[str, NDArray[Any]]:
    """Return every tensor of the graph by name, in ONNX order and its own type.

    Parameters
    ----------
    inputs : graph inputs by name.
    mode : rounding of the requantizer.
    softmax_mode : arithmetic of the softmax.
    random : seed and step of the random words that round blocks.

    Raises
    ------
    OverflowError
        Where a tensor that is quantized dynamically has no finite range.
    """
    modes = _Modes(mode, softmax_mode, random)
    tensors = {value.name: np.asarray(inputs[value.name]) for value in graph.inputs}
    for edge in graph.quantize:
        tensors[edge.tensor.name] = edge(tensors[edge.source])
    for edge in graph.dynamic:
        tensors[edge.tensor.name], record = edge(tensors[edge.source])
        tensors[edge.record.name] = tensors.get(edge.record.name, np.zeros_like(record)) | record
    for node in graph.nodes:
        made = run_node(node, [tensors[tensor.name] for tensor in node.inputs], modes)
        results = made if isinstance(made, tuple) else (made,)
        tensors.update(zip((tensor.name for tensor in node.results), results, strict=True))
    return {name: array for name, array in tensors.items() if array.dtype.itemsize == 1}


def run_node(node: Any, operands: Sequence[NDArray[Any]], modes: Any = None) -> Any:
    """Return the result of a node, or several; ``modes`` : the machine's, or None."""
    usual = _Modes(RequantizeMode.ONNX, SoftmaxMode.ONNX, (0, 0))
    return _RUN[node.kind](node, *operands, usual if modes is None else modes)


def outputs(graph: Any, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the graph outputs, dequantized where they are float."""
    found = {
        edge.target: edge(*(tensors[tensor.name] for tensor in edge.tensors))
        for edge in graph.dequantize
    }
    return {v.name: found[v.name] if v.name in found else tensors[v.name] for v in graph.outputs}


@dataclass(frozen=True)
class _Modes:
    """Arithmetic of the machine."""

    requantize: RequantizeMode | str
    softmax: SoftmaxMode | str
    random: tuple[int, int]


def _finish(
    node: Any, acc: NDArray[np.int32], modes: _Modes, shape: tuple[int, ...]
) -> NDArray[Any]:
    """Requantize, to the output's type; ``shape`` is how parameters lie that are several."""
    if getattr(node, "away", False):
        return rounded_away(node, acc, shape)
    multiplier, shift = encode_scale(modes.requantize, node.scale, node.scale64)
    bias = getattr(node, "bias", 0)
    multiplier, shift, bias = (
        np.reshape(value, shape if np.size(value) > 1 else ())
        for value in (multiplier, shift, bias)
    )
    values = requantize(
        acc, multiplier, shift, node.y.zero_point, node.low, node.high, modes.requantize, bias=bias
    )
    return values.astype(node.y.dtype).reshape(node.y.shape)


def _accumulated(node: Any, x: NDArray[Any], x_zero: int) -> NDArray[np.int32]:
    """Return the sums of products, N x C x H x W or rows x columns."""
    if node.kind in ("conv", "dynamic_conv"):
        pads = node.pads if node.kind == "conv" else far_pads(node)
        return conv2d(
            x.reshape(node.x.image), node.weights, x_zero=x_zero,
            weight_zero=node.weight_zero, groups=node.groups, strides=node.strides,
            pads=pads, dilations=node.dilations,
        )
    rows = x.reshape(-1, len(node.weights))
    return matmul(rows, node.weights, x_zero=x_zero, weight_zero=node.weight_zero)


def sums(
    node: Any, x: NDArray[Any], record: NDArray[Any] | None = None
) -> NDArray[np.int32]:
    """Return what a linear layer adds up, a bias of its own included, in the order of its output,
    or rows x columns where scales are dynamic.

    Parameters
    ----------
    record : with the zero point of ``x``, of a layer with dynamic scales; None where it has its
        own.
    """
    if node.kind in ("dynamic", "dynamic_conv"):
        zero = node.x.zero_point
        if record is not None:
            zero = np.ascontiguousarray(record).view(SLOT_RECORD)["zero_point"][node.slot]
        total = _accumulated(node, x, int(zero))
        if node.kind == "dynamic_conv":
            return total.transpose(0, 2, 3, 1).reshape(-1, node.columns)
        return total
    channel = (-1, 1, 1) if node.kind == "conv" else (-1,)
    bias = np.reshape(node.bias, channel).astype(np.int64)
    total = _accumulated(node, x, node.x.zero_point) + bias
    return total.astype(np.int32).reshape(node.y.shape)


def requantized(
    node: Any, x: NDArray[Any], mode: RequantizeMode | str
) -> NDArray[Any]:
    """Return the codes of a convolution or matrix product."""
    return np.asarray(_RUN[node.kind](node, x, _Modes(mode, SoftmaxMode.ONNX, (0, 0))))


def _conv(node: Any, x: NDArray[Any], modes: _Modes) -> NDArray[Any]:
    return _finish(node, _accumulated(node, x, node.x.zero_point), modes, (-1, 1, 1))


def _conv_transpose(node: Any, x: NDArray[Any], modes: _Modes) -> NDArray[Any]:
    total = conv_transpose2d(
        x.reshape(node.x.image), node.weights, node.y.image[2:], x_zero=node.x.zero_point,
        weight_zero=node.weight_zero, groups=node.groups, strides=node.strides, pads=node.pads,
        dilations=node.dilations,
    )
    return _finish(node, total, modes, (-1, 1, 1))


def _matmul(node: Any, x: NDArray[Any], modes: _Modes) -> NDArray[Any]:
    return _finish(node, _accumulated(node, x, node.x.zero_point), modes, (-1,))


def _blocks(node: Any, *operands: Any) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    *tensors, modes = operands
    total = node.y.layout.apply(sums(node.linear, *tensors).reshape(node.y.shape))
    rows = total.reshape(-1, node.y.image[1])
    values, scales = quantized_pixels(node.config, rows, 0, rows.shape[1], *modes.random)
    return node.y.layout.invert(values.reshape(-1), node.y.shape), scales


def _pool(node: Any, x: NDArray[Any], modes: _Modes) -> NDArray[Any]:
    real = x.astype(np.int32) - node.x.zero_point
    if node.kernel != (1, 1) or node.strides != (1, 1) or any(node.pads):
        reduce = max_pool2d if node.reduction == Reduction.MAX else sum_pool2d
        real = reduce(
            real.reshape(node.x.image), node.kernel, strides=node.strides, pads=node.pads,
            dilations=node.dilations,
        )
    return _finish(node, real, modes, np.shape(node.scale))


def _move(node: Any, *operands: Any) -> NDArray[Any]:
    *tensors, modes = operands
    y, read = np.empty(node.y.shape, node.y.dtype), iter(tensors)
    for piece in node.pieces:
        x = next(read) if piece.values is None else piece.values
        multiplier, shift = encode_scale(modes.requantize, piece.scale, piece.scale64)
        y[piece.target.index] = requantize(
            x[piece.source.index].astype(np.int32) - piece.x.zero_point, multiplier, shift,
            node.y.zero_point, piece.low, piece.high, modes.requantize,
        )
    return y


def _view(node: Any, x: NDArray[Any], _modes: _Modes) -> NDArray[Any]:
    if node.y.size < x.size:
        return np.asarray(node.y.from_memory(
            node.x.to_memory(x)[node.start : node.start + node.y.size]
        ))
    return x.reshape(node.y.shape) if node.axes is None else x.transpose(node.axes)


def _join(node: Any, *operands: Any) -> NDArray[Any]:
    *tensors, _ = operands
    parts = [part.to_memory(x) for part, x in zip(node.parts, tensors, strict=True)]
    return np.asarray(node.y.from_memory(np.concatenate(parts)))


def _product(node: Any, x: NDArray[Any], z: NDArray[Any], modes: _Modes) -> NDArray[Any]:
    return _finish(node, product(x, z, node.x.zero_point, node.z.zero_point), modes, ())


def _matmul_stack(node: Any, x: NDArray[Any], modes: _Modes) -> NDArray[Any]:
    return _finish(node, product(x, node.weights, node.x.zero_point, node.weight_zero), modes, ())


def _table(node: Any, x: NDArray[Any], _modes: _Modes) -> NDArray[Any]:
    return np.asarray(node.table[x.view(np.uint8)].view(node.y.dtype))


def _operands(node: Any, x: NDArray[Any], rest: Any) -> list[tuple[NDArray[Any], Any]]:
    """Return both operands and their tensors, the operator's first one first."""
    pairs = [(x, node.x), (rest[0] if node.constant is None else node.constant, node.z)]
    return pairs[::-1] if node.z_first else pairs


def _pair(node: Any, x: NDArray[Any], *rest: Any) -> NDArray[Any]:
    (a, first), (b, second) = _operands(node, x, rest)
    early, last = (0, node.y.zero_point) if node.zero_last else (node.y.zero_point, 0)
    y = {"add": added, "mul": products}[node.kind](
        a, b, first.scale, first.zero_point, second.scale, second.zero_point, node.y.scale, early
    )
    return np.clip(y + last, node.low, node.high).astype(node.y.dtype)


def _tables(node: Any, x: NDArray[Any], *rest: Any) -> NDArray[Any]:
    (first, _), (second, _) = _operands(node, x, rest)
    a, b, shift = node.tables
    a, b = a[first.view(np.uint8)], b[second.view(np.uint8)]
    if node.operation == SpecialOperation.MUL:
        total = multiply(a, b, shift)
    else:
        total = multiply_add(a, 2.0**shift, b.view(np.float32))
    y = to_integers(total) + node.y.zero_point
    return np.clip(y, node.low, node.high).astype(node.y.dtype)


def _fixed_pair(node: Any, x: NDArray[Any], *rest: Any) -> NDArray[Any]:
    a, b = ((each, tensor.scale, tensor.zero_point) for each, tensor in _operands(node, x, rest))
    y = (node.y.scale, node.y.zero_point, node.low, node.high)
    return FIXED_PAIRS[node.function](a, b, y).astype(node.y.dtype)


def _softmax(node: Any, x: NDArray[Any], modes: _Modes) -> NDArray[Any]:
    y = node.y
    return softmax(x, node.x.scale, y.scale, y.zero_point, y.dtype, modes.softmax)


def _normalize(node: Any, x: NDArray[Any], _modes: _Modes) -> NDArray[Any]:
    y = node.y
    return normalize(
        x, node.gamma, node.beta, y.scale, y.zero_point, y.dtype,
        x_scale=node.x.scale, epsilon=node.epsilon,
        x_zero=node.x.zero_point if node.uncentred else None,
    )


def _dynamic(
    node: Any, x: NDArray[Any], *rest: Any
) -> NDArray[Any] | tuple[NDArray[Any], ...]:
    """The int32 sums or the values as bytes; or the quantized values, and the record with their
    scale."""
    given = [*rest[:-1]]  # the modes come last
    record = None if node.x_record is None else given[0]
    acc = sums(node, x, record)
    if node.target is None and not node.real:
        return np.ascontiguousarray(acc, "<i4").view(np.uint8).reshape(node.y.shape)
    slot = np.ascontiguousarray(record).view(SLOT_RECORD)[node.slot]
    v = linear_values(acc, slot["scale"], node.w_scale, node.bias, relu=False)
    addend = None if node.addend is None else real_values(given[-1]).reshape(v.shape)
    v = added_values(
        v, addend, slope=node.slope, offset=node.offset, gated=node.gated, bounds=node.bounds,
        relu=node.relu,
    )
    if node.kind == "dynamic_conv" and node.pool is not None:
        v = pooled_values(node, v)
    if node.real:
        return real_octets(v).reshape(node.y.shape)
    if node.kind == "dynamic_conv":
        images, channels, height, width = node.image
        height, width = (height, width) if node.pool is None else node.pooled
        v = v.reshape(images, height, width, channels).transpose(0, 3, 1, 2)
    v = v.reshape(node.y.shape)
    if node.fixed:
        return quantize_values(v, node.y.scale, node.y.zero_point).astype(np.uint8)
    return quantized_by_range(node, v)


_RUN: dict[str, Callable[..., Any]] = {
    "conv": _conv, "conv_transpose": _conv_transpose, "matmul": _matmul,
    "matmul_stack": _matmul_stack, "pool": _pool, "view": _view, "product": _product,
    "table": _table, "add": _pair, "mul": _pair, "tables": _tables, "fixed_pair": _fixed_pair,
    "softmax": _softmax, "normalize": _normalize, "dynamic": _dynamic, "dynamic_conv": _dynamic,
    "dynamic_product": dynamic_product, "dynamic_real": dynamic_real,
    "dynamic_scale": dynamic_scale, "blocks": _blocks,
    "move": _move, "join": _join,
}
