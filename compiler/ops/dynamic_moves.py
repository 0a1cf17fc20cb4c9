# SPDX-License-Identifier: Apache-2.0
"""Pixels of binary32 values in memory, moved: Resize to the nearest one, Pad, Tile, Expand, Gather.

A pixel, or a row, is its numbers side by side, four bytes each, and bytes are moved as those of any
tensor are.
"""

from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import attributes, node_name
from kiwicha.compiler.graph.graph import Box, MoveNode, Piece, Shape
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.dynamic import MOVED
from kiwicha.compiler.ops.dynamic_real import Real, Reals, memory_order
from kiwicha.compiler.ops.pad import pad_constant, pads_of
from kiwicha.compiler.ops.pick import places_in

__all__ = ["MOVES", "move"]

MOVES = ("Expand", "Gather", "Pad", "Resize", "Tile")

_ONE = np.float32(1)


def move(reals: Reals, node: onnx.NodeProto) -> None:
    """Read such a node: its input is brought into memory, and whole pixels of it are copied.

    Raises
    ------
    Refusal
        For what is none of whole pixels, or of a value that lies otherwise; for numbers between
        pixels, or around them others than 0.
    """
    context, name = reals.context, node.input[0]
    real = reals.get(node, name)
    if real.plain and not real.image:
        real = replace(real, made=real.shape, views=())
    given, part = attributes(node), real.parts[0]
    low, high = part.bounds or (0, 0)
    what = "several values side by side" if len(real.parts) > 1 else ""
    moved = real.pool is not None or real.shape != real.made or real.last or not real.plain
    what = "moved or pooled before" if moved else what
    mode = given.get("mode", "nearest")
    if node.op_type == "Resize" and mode != "nearest":
        what = f"made by {mode} interpolation"
    if part.factor is not None:
        what = "normalized"
    if node.op_type == "Pad" and given.get("mode", "constant") == "constant":
        value = pad_constant(context, node)
        what = what if value == 0 and low <= 0 <= high else f"padded with {value:g} there"
    MOVED.check(op=node.op_type, name=name, what=what)
    places = _places(context, node, real.shape)
    rows = _rows(real, places)
    MOVED.check(op=node.op_type, name=name, what="" if rows is not None else "cut into channels")
    assert rows is not None
    x = part.x
    line = 4 * memory_order(real.shape, real.image)[-1]
    x = replace(x, shape=(x.size // line, line))
    y = replace(x, name=context.names.fresh(node.output[0], "real"), shape=(rows.size, x.shape[1]))
    octets, pieces = range(x.shape[1]), list[Piece]()
    for taken in (rows >= 0, rows < 0):
        target = np.flatnonzero(taken)
        if target.size:
            # Those around are any pixel, all of whose bytes are held to 0.
            source = np.maximum(rows[taken], 0)
            most = 0 if rows[taken][0] < 0 else 255
            here, there = (Box((tuple(line.tolist()), octets)) for line in (source, target))
            pieces.append(Piece(x, here, there, _ONE, np.float64(1), 0, most))
    context.emit(MoveNode(node_name(node), node.op_type, tuple(pieces), y))
    width = part.width * y.size // x.size
    reals.made[node.output[0]] = replace(
        real, parts=(replace(part, x=y, width=width),), made=places.shape, shape=places.shape,
    )


def _places(context: Context, node: onnx.NodeProto, shape: Shape) -> NDArray[np.int64]:
    """Return for each element of the result which one of the input it is, -1 for none."""
    if node.op_type != "Pad":
        return places_in(context, node, {node.input[0]: shape})
    pads, mode = pads_of(context, node, shape), attributes(node).get("mode", "constant")
    kept = tuple(slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(shape, pads, strict=True))
    grid = np.arange(np.prod(shape)).reshape(shape)[kept]
    around = [(max(0, before), max(0, after)) for before, after in pads]
    if mode == "constant":
        return np.pad(grid, around, constant_values=-1)
    return np.asarray(np.pad(grid, around, mode=mode))


def _rows(real: Real, places: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return which row of numbers each of the result is, -1 for none; None where some channels are
    taken from elsewhere than others."""
    order = [0, *range(2, places.ndim), 1] if real.image else [*range(places.ndim)]
    if places.ndim != len(real.shape) or places.size == 0:
        return None
    made = memory_order(real.shape, real.image)
    moved = places.transpose(order)
    at = np.unravel_index(np.maximum(moved, 0), real.shape)
    *outer, channel = (at[axis] for axis in order)
    row = np.where(moved < 0, -1, np.ravel_multi_index(outer, made[:-1]) if outer else 0)
    whole = (moved < 0) | (channel == np.arange(moved.shape[-1]))
    if moved.shape[-1] != made[-1] or not whole.all() or (row != row[..., :1]).any():
        return None
    return np.asarray(row[..., 0].reshape(-1))
