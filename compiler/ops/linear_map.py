# SPDX-License-Identifier: Apache-2.0
"""Operators that are linear in their one varying operand, as products with their matrix.

ONNX Runtime itself says the matrix: what it makes of unit vectors. Its entries become whole numbers
of a unit, one for each column, several bytes of weights for each where one is too coarse; how far
the result may be from the float one is reckoned, not hoped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import Refusal, node_name
from kiwicha.compiler.frontend.session import open_session, runtime_message
from kiwicha.compiler.graph.graph import Box, Promise, Shape, Tensor
from kiwicha.compiler.graph.layout import ROW_MAJOR
from kiwicha.compiler.ops.chain import emit_chain
from kiwicha.compiler.ops.context import Context, FloatOp
from kiwicha.compiler.ops.limits import LAST
from kiwicha.compiler.ops.matmul import emit_matmul
from kiwicha.compiler.ops.part import emit_part
from kiwicha.compiler.ops.rows import as_rows, emit_views
from kiwicha.compiler.ops.view import View
from kiwicha.compiler.ops.weights import Weights
from kiwicha.errors import ModelError

__all__ = ["SIZE", "LinearMap", "emit_maps", "finish_map", "mapped_shape", "runtime_map"]

_HALF = 127
_COPIES = (1, 2, 4, 8)
"""Bytes of weights for an entry that are tried."""
_SEARCHED = 1 << 17
"""Entries of which a unit is searched."""
_FINE = 0.25
"""Codes that weights may be off before more bytes are taken."""
_NEAR = 0.95
"""Codes that two values may be apart before rounding and one after it; the rest is for the
roundings of float32."""
SIZE = Limit(
    "is a product with {entries} weights; the machine has at most 4194304 for it",
    lambda entries: entries <= 1 << 22,
)

_Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearMap:
    """Along some axes of a tensor: y = x @ matrix + offset, in real values.

    Members
    -------
    axes : those of x, in ascending order, that are one row.
    matrix : values of a row x values of the result.
    offset : one for each value of the result.
    shape : of the result of one row.
    """

    axes: tuple[int, ...]
    matrix: _Float
    offset: _Float
    shape: Shape

    @property
    def gain(self) -> float:
        """How much an error in every value of a row may grow."""
        return float(np.abs(self.matrix).sum(axis=0).max())

    def reach(self, x: Tensor) -> tuple[float, float]:
        """The least and the greatest value of the result, whatever codes ``x`` has."""
        info = np.iinfo(x.dtype)
        least, most = (float(x.scale) * (end - x.zero_point) for end in (info.min, info.max))
        up, down = np.maximum(self.matrix, 0).sum(axis=0), np.minimum(self.matrix, 0).sum(axis=0)
        low, high = least * up + most * down, most * up + least * down
        return float((low + self.offset).min()), float((high + self.offset).max())


def runtime_map(
    context: Context, node: onnx.NodeProto, shape: Shape, axes: tuple[int, ...],
    values: Mapping[str, NDArray[Any]] | None = None,
) -> LinearMap:
    """Return what ONNX Runtime makes of unit vectors along some axes.

    Parameters
    ----------
    shape : of the input, whose first axis is none of ``axes`` and may have any length.
    values : constants to take in the place of the node's.
    """
    row = tuple(shape[axis] for axis in axes)
    count = prod(row)
    given = {
        name: context.constant(node, place, "input")
        for place, name in enumerate(node.input) if name and place
    }
    given |= values or {}
    units = np.zeros((count + 1, count), np.float32)  # the last one is nothing
    units[range(count), range(count)] = 1
    whole = [n if axis in axes else 1 for axis, n in enumerate(shape)]
    whole[0] = count + 1
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node], "units", [helper.make_tensor_value_info(node.input[0], kind, whole)],
        [helper.make_empty_tensor_value_info(node.output[0])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in given.items()],
    )
    model = context.model
    try:
        session = open_session(
            helper.make_model(
                graph, ir_version=model.ir_version, opset_imports=model.opset_import
            ),
            context.settings,
        )
        (made,) = session.run(None, {node.input[0]: units.reshape(whole)})
    except ModelError as error:
        raise Refusal(str(error)) from None
    except Exception as error:  # the runtime's exception classes share no public base
        raise Refusal(f"ONNX Runtime cannot run it: {runtime_message(error)}") from None
    lines = np.asarray(made, np.float64).reshape(count + 1, -1)
    same = np.ndim(made) == len(shape)
    result = tuple(made.shape[axis] for axis in axes) if same else made.shape[1:]
    return LinearMap(axes, lines[:-1] - lines[-1], lines[-1], result)


def _between(x: Tensor, made: LinearMap) -> Tensor:
    """Return a tensor that holds all that a map may make of ``x``, without name and shape."""
    low, high = made.reach(x)
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32(max(high - low, float(x.scale)) / 255)
    zero = int(np.clip(np.rint(-low / float(scale)), 0, 255))
    return replace(x, dtype=np.dtype(np.uint8), scale=scale, zero_point=zero)


def _emit_map(
    context: Context, node: onnx.NodeProto, x: Tensor, made: LinearMap, target: Tensor,
    before: float, title: str, lost: float, lower: float,
) -> float:
    """Emit the product, and return how far the result may be from the real one before it is
    rounded, in codes.

    Parameters
    ----------
    target : the result; its shape follows: the axes that stay and, each in its place or else
        behind them, those of the map.
    before : in codes of ``x``, how far that may be off.
    lost, lower : as of `emit_maps`.
    """
    SIZE.check(entries=made.matrix.size)
    ratio = float(x.scale) / float(target.scale)
    info = np.iinfo(x.dtype)
    extent = max(info.max - x.zero_point, x.zero_point - info.min)
    for copies in _COPIES:
        unit, codes = _whole(made.matrix, copies)
        off = np.abs(made.matrix - codes * unit).sum(axis=0).max() * extent * ratio
        if off <= _FINE:
            break
    rows = as_rows(context, node, x, made.axes)
    depth = rows.shape[-1]
    if copies > 1:
        again = Box.whole(rows.shape).along(len(rows.shape) - 1, tuple(range(depth)) * copies)
        name = context.names.fresh(x.name, "again")
        rows = emit_part(context, node, rows, replace(rows, name=name), box=again)
    parts = np.concatenate(_parts(codes, copies))
    offset = made.offset / float(x.scale) - lower / ratio
    columns = parts.shape[1]
    bias = np.clip(np.rint(offset / unit), -(2.0**30), 2.0**30).astype(np.int32)
    weights = Weights(
        parts.astype(np.int8), np.zeros(columns, np.int16), unit.astype(np.float32), bias
    )
    kept = rows.shape[:-1]
    name = context.names.fresh(target.name, "rows")
    y = replace(target, name=name, shape=(*kept, columns), layout=ROW_MAJOR)
    named = onnx.NodeProto.FromString(node.SerializeToString())
    named.name = title
    off = float(off + before * ratio * made.gain)
    promise: Promise = "near" if off < _NEAR - lost else "golden"
    emit_matmul(context, named, rows, weights, y, label=node.op_type, promise=promise)
    steps: list[View] = [("reshape", (*kept, *made.shape))]
    if len(made.shape) == len(made.axes):  # each in the place of the one that it was
        order = (*(n for n in range(len(x.shape)) if n not in made.axes), *made.axes)
        steps.append(("transpose", tuple(int(n) for n in np.argsort(order))))
    emit_views(context, node, context.tensors[y.name], steps, target.name)
    return off


def _whole(matrix: _Float, copies: int) -> tuple[_Float, _Float]:
    """Return a unit for each column, and the entries in whole numbers of it: the unit that fits
    best of those that divide the greatest entry."""
    most = np.abs(matrix).max(axis=0)
    most[most == 0] = 1
    largest = _HALF * copies
    # All but the greatest of each column, as many as any has, are zeros.
    some = np.sort(np.abs(matrix), axis=0)[-int((matrix != 0).sum(axis=0).max(initial=1)) :]
    best, unit = np.full(len(most), np.inf), most / largest
    for step in range(largest, largest // 2 if some.size < _SEARCHED else largest - 1, -1):
        one = most / step
        error = np.abs(some - np.rint(some / one) * one).sum(axis=0)
        better = error < best - 1e-12
        best, unit = np.where(better, error, best), np.where(better, one, unit)
    return unit, np.rint(matrix / unit)


def _parts(codes: _Float, copies: int) -> list[_Float]:
    """Return as many arrays of int8 whose sum the codes are."""
    rest, made = codes, []
    for left in range(copies, 0, -1):
        made.append(np.rint(rest / left))
        rest = rest - made[-1]
    return made


def mapped_shape(shape: Shape, made: LinearMap) -> Shape:
    """Return the shape of what a map makes of a tensor."""
    kept = {axis: n for axis, n in enumerate(shape) if axis not in made.axes}
    if len(made.shape) != len(made.axes):
        return *kept.values(), *made.shape
    kept |= dict(zip(made.axes, made.shape, strict=True))
    return tuple(kept[axis] for axis in range(len(shape)))


def finish_map(
    context: Context, end: onnx.NodeProto, x: Tensor, operations: tuple[FloatOp, ...],
    target: Tensor, maps: Sequence[LinearMap],
) -> None:
    """Emit the maps of a float operation, one after the other, and the clips and views behind."""
    node, rest = operations[0].node, operations[1:]
    LAST.check(done=node.op_type, rest=[op for op in rest if op.kind not in ("clip", "view")])
    name = context.names.fresh(target.name, "mapped") if rest else target.name
    made = emit_maps(context, node, x, replace(target, name=name), maps)
    if rest:
        context.uses[name] = 1
        emit_chain(context, end, made, rest, target)


def emit_maps(
    context: Context, node: onnx.NodeProto, x: Tensor, target: Tensor, maps: Sequence[LinearMap],
    *, lost: float = 0, lower: float = 0,
) -> Tensor:
    """Emit maps one after the other, codes that hold every value between them.

    Parameters
    ----------
    lost : how far ONNX Runtime may be from the middle of what it rounds or cuts off, in codes.
    lower : by how many codes the result is lowered before it is rounded.
    """
    off, title = 0.0, node_name(node)
    for place, one in enumerate(maps):
        last = place == len(maps) - 1
        y = target
        if not last:
            y = replace(_between(x, one), name=context.names.fresh(target.name, "between"))
        named = title if last else context.names.fresh(title, "first")
        off = _emit_map(
            context, node, x, one, y, off, named, lost if last else 0, lower if last else 0
        )
        off += 0 if last else 0.5
        x = context.tensors[y.name]
    context.note(
        node, f"lowered by kiwicha: {node.op_type}, which ONNX Runtime computes in float, as a "
        f"product; before it is rounded at most {off:.2g} codes apart",
    )
    return x
