# SPDX-License-Identifier: Apache-2.0
"""Copies as work for the array: runs of bytes through the identity, bytes picked by a matrix of
zeros and ones, and transpositions; each where it takes the fewest cycles."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kiwicha.compiler.graph.graph import MoveNode, Piece, PoolNode
from kiwicha.compiler.schedule.contraction import Contraction, Matrix, Place
from kiwicha.compiler.schedule.mapping import TALLEST, contraction
from kiwicha.compiler.schedule.nest import nest_of
from kiwicha.compiler.schedule.pixels import ONCE, Pixels, images_of
from kiwicha.compiler.schedule.transposition import Cut, Transposed, transposed
from kiwicha.compiler.schedule.within import Within
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Reduction, WeightFormat

__all__ = ["Move", "move_works"]


@dataclass(frozen=True, eq=False)
class Move:
    """A part of a copy.

    Members
    -------
    cut : of a transposition, whose ``work`` has the lines for its matrix and no ``x`` yet.
    """

    work: Contraction
    cut: Cut | None = None


def move_works(
    node: MoveNode,
    addresses: Mapping[str, int],
    config: AcceleratorConfig,
    within: Mapping[str, Within] | None = None,
    absorbed: Collection[Piece] = (),
) -> list[Move]:
    """Return the pieces of a node as work for the array.

    Parameters
    ----------
    within : where tensors are that lie inside others.
    absorbed : pieces that are where they belong already.

    Raises
    ------
    KiwichaError
        When a scale has no encoding in the machine's mode.
    """
    made: list[Move] = []
    for piece in node.pieces:
        if piece in absorbed:
            continue
        maker = _Maker(node, piece, addresses, config, within or {})
        nest = nest_of(piece, node.y, within or {})
        cost, images = images_of(nest, config)
        other = transposed(nest, config)
        if other is not None and other[0] < cost:
            made += maker.matrices(other[1])
        else:
            made += (move for each in images for move in maker.images(each))
    return made


class _Maker:
    """Places the work of one piece in memory."""

    def __init__(
        self,
        node: MoveNode,
        piece: Piece,
        addresses: Mapping[str, int],
        config: AcceleratorConfig,
        within: Mapping[str, Within],
    ) -> None:
        self.piece, self.config = piece, config
        self.pool = PoolNode(
            node.name, node.op, piece.x, node.y, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1),
            piece.scale, piece.scale64, piece.low, piece.high,
        )
        self.x, self.y = addresses[piece.x.name], addresses[node.y.name]
        self.size = piece.x.size
        if piece.x.name in within:
            self.size = int(within[piece.x.name].places(np.array(self.size - 1))) + 1

    def matrices(self, found: Transposed) -> Iterator[Move]:
        """Yield transpositions."""
        columns, rows = found.lines.length, found.inside.length
        pitch, signed = found.lines.x_step or 0, self.piece.x.dtype == np.int8
        for x, y in found.starts():
            work = self._contraction(
                Place(0, 1, rows, 1, self.config.rows),
                Place(self.y + y, 1, rows, 1, columns, found.inside.y_step or 0),
                weights=None,
            )
            matrix = Matrix(self.x + x, WeightFormat.COLUMNS, pitch, signed)
            zero = np.full(columns, self.piece.x.zero_point, np.int32)
            yield Move(
                replace(work, matrix=matrix, weight_zero=zero, x_zero=0, x_signed=False), found.cut
            )

    def images(self, found: Pixels) -> Iterator[Move]:
        """Yield images, no taller than the machine counts."""
        if (skips := self._skips(found)) is None:  # no room to read whole pixels
            once = found.height.length == 1 and found.width.x_step
            found = replace(found, width=ONCE, **(
                {"height": found.width} if once else {"turns": (found.width, *found.turns)}
            ))
            skips = self._skips(found)
        assert skips is not None
        width, height, size = found.width, found.height, found.inner.length
        x_pitch, y_pitch = height.x_step or 0, height.y_step or 0
        step = width.y_step if width.length > 1 and width.y_step != size else 0
        columns = width.length if width.x_step else 1
        for (x, y), skipped in zip(found.starts(), skips, strict=True):
            for first in range(0, height.length, TALLEST):
                rows = min(TALLEST, height.length - first)
                source = Place(
                    self.x + x + found.first - skipped + first * x_pitch, 1,
                    rows if x_pitch else 1, columns, found.read, x_pitch,
                )
                target = Place(
                    self.y + y + first * y_pitch, 1, rows, width.length, size,
                    y_pitch or (step or 0) * width.length, step or 0,
                )
                strides = int(x_pitch > 0 or rows == 1), int(columns == width.length)
                work = self._contraction(
                    source, target, strides=strides, weights=self._weights(found, skipped),
                )
                yield Move(replace(work, skipped=skipped if found.is_run else 0))

    def _contraction(self, x: Place, y: Place, **more: object) -> Contraction:
        piece = self.piece
        return contraction(
            self.pool, x, y, self.config, piece.scale, piece.scale64, weight_zero=0, bias=0,
            reduction=Reduction.SUM, **more,  # type: ignore[arg-type]
        )

    def _skips(self, found: Pixels) -> list[int] | None:
        """Return how many bytes before its own each image's pixels are read from, so that nothing
        outside the tensor is; None where that is not possible."""
        over = (found.width.length - 1) * (found.width.x_step or 0)
        over += (found.height.length - 1) * (found.height.x_step or 0) + found.read
        skips = []
        for x, _ in found.starts():
            first = x + found.first
            room = found.read - found.span
            skipped = first % found.read
            if skipped > room:
                skipped = max(0, first + over - self.size)
            if skipped > min(room, first) or first - skipped + over > self.size:
                return None
            skips.append(skipped)
        return skips

    def _weights(self, found: Pixels, skipped: int) -> np.ndarray | None:
        """Return what picks the bytes of a pixel; None where the identity does."""
        if found.is_run:
            return None
        size = found.inner.length
        weights = np.zeros((size, 1, 1, found.read), np.int8)
        weights[np.arange(size), 0, 0, found.inner.x - found.first + skipped] = 1
        return weights
