# SPDX-License-Identifier: Apache-2.0
"""Boxes of tensors as contractions: runs of bytes that lie alike in two tensors, one after the
other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from kiwicha.compiler.graph.graph import MoveNode, Piece, PoolNode, Tensor
from kiwicha.compiler.schedule.contraction import Contraction, Place
from kiwicha.compiler.schedule.estimate import run_cycles
from kiwicha.compiler.schedule.footprint import minimum_pass
from kiwicha.compiler.schedule.mapping import TALLEST, contraction
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["move_contractions"]


_SHORT = 8  # column tiles of a pixel that keep the accumulators' room for enough of them


@dataclass(frozen=True)
class _Axis:
    """``length`` elements, and the bytes from one to the next in what is read and written."""

    length: int
    x: int
    y: int


def move_contractions(
    node: MoveNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> list[Contraction]:
    """Return the pieces of a node, each as rows of pixels whose channels are its runs of bytes.

    Raises
    ------
    KiwichaError
        When a scale has no encoding in the machine's mode.
    """
    made = []
    for piece in node.pieces:
        pool = PoolNode(
            node.name, node.op, piece.x, node.y, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1),
            piece.scale, piece.scale64, piece.low, piece.high,
        )
        x_first = _offset(piece.x, piece.source.first) + addresses[piece.x.name]
        y_first = _offset(node.y, piece.target.first) + addresses[node.y.name]
        for x, y in _places(_axes(piece, node.y), config):
            work = contraction(
                pool, replace(x, address=x.address + x_first),
                replace(y, address=y.address + y_first), config, piece.scale, piece.scale64,
                weights=None, weight_zero=0, bias=0, reduction=pool.reduction,
            )
            made.append(_read_whole(work, piece.x, addresses[piece.x.name], config))
    return made


def _read_whole(
    work: Contraction, tensor: Tensor, start: int, config: AcceleratorConfig
) -> Contraction:
    """Return the same with the bytes between the runs read too, where that is faster than runs of
    their own."""
    x = work.x
    skipped = (x.address - start) % x.row_bytes
    inside = x.address - skipped + x.height * x.row_bytes <= start + tensor.size
    slow = x.row_bytes >= run_cycles(config, x.channels) * config.beat_bytes
    if x.is_dense or x.width > 1 or slow or not inside:
        return work
    whole = replace(x, address=x.address - skipped, channels=x.row_bytes, pitch=0)
    return replace(work, x=whole, skipped=skipped)


def _strides(tensor: Tensor) -> Sequence[int]:
    strides = tensor.strides
    assert strides is not None, f"{tensor.name} has no order of axes"
    return strides


def _offset(tensor: Tensor, place: Sequence[int]) -> int:
    """Return the byte of an element."""
    return sum(step * index for step, index in zip(_strides(tensor), place, strict=True))


def _axes(piece: Piece, result: Tensor) -> list[_Axis]:
    """Return the axes of a box, outermost first, those joined that make one run in both."""
    axes = [
        _Axis(length, x * x_step, y * y_step)
        for length, x_step, y_step, x, y in zip(
            piece.source.shape, piece.source.step, piece.target.step, _strides(piece.x),
            _strides(result), strict=True,
        )
        if length > 1
    ]
    joined: list[_Axis] = []
    for axis in sorted(axes, key=lambda axis: (axis.y, axis.x), reverse=True):
        if joined and joined[-1].x == axis.length * axis.x and joined[-1].y == axis.length * axis.y:
            joined[-1] = replace(axis, length=joined[-1].length * axis.length)
        else:
            joined.append(axis)
    return joined


def _places(axes: list[_Axis], config: AcceleratorConfig) -> Iterator[tuple[Place, Place]]:
    """Yield where to read and to write, from the first byte of the box on: the longest axis as
    rows, a place for each step along the others."""
    run = 1
    if axes and axes[-1].x == axes[-1].y == 1:
        run = axes.pop().length
    rows = max(axes, key=lambda axis: axis.length, default=_Axis(1, run, run))
    axes = [axis for axis in axes if axis is not rows]
    channels = _channels(run, rows.length, config)
    width = run // channels
    if rows.length == 1:
        rows, width = _Axis(width, channels, channels), 1
    for place in product(*(range(axis.length) for axis in axes)):
        x, y = (
            sum(index * getattr(axis, side) for index, axis in zip(place, axes, strict=True))
            for side in "xy"
        )
        for first in range(0, rows.length, TALLEST):
            height = min(TALLEST, rows.length - first)
            yield (
                Place(x + first * rows.x, 1, height, width, channels, rows.x),
                Place(y + first * rows.y, 1, height, width, channels, rows.y),
            )


def _channels(run: int, rows: int, config: AcceleratorConfig) -> int:
    """Return into how long pixels to cut runs: those that the array passes on in the fewest
    cycles; of these a short run as it is, which may be read with others, else the shortest."""
    lanes = min(config.rows, config.columns)

    def cost(channels: int) -> tuple[int, bool, int]:
        pixels = rows * run // channels
        cycles = -(-channels // lanes) * max(pixels, minimum_pass(config, lanes))
        return cycles, channels != run or run > _SHORT * lanes, channels

    small = [length for length in range(1, int(run**0.5) + 1) if run % length == 0]
    return min((c for length in small for c in (length, run // length)), key=cost)
