# SPDX-License-Identifier: Apache-2.0
"""Sums and products of two tensors as steps of the special function engine.

Rows of the result are shared out over the lanes, and what they meet of each operand with them: a
row, a byte, or what all lanes need. A long row is shared out by itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.lanes import Block, Lanes
from kiwicha.compiler.emit.pair_arithmetic import pair_arithmetic
from kiwicha.compiler.emit.residents import StoreConstant
from kiwicha.compiler.emit.rows import Cut, cut_rows, longest_block
from kiwicha.compiler.emit.steps import Span, Step
from kiwicha.compiler.graph.graph import PairNode
from kiwicha.compiler.schedule.broadcast import Meeting, Part, meetings
from kiwicha.errors import KiwichaError
from kiwicha.machine.fixed_pairs import with_multiplier

__all__ = ["pair_steps"]

_WORTH = 128  # bytes of a row in every lane that are worth an instruction


def pair_steps(
    node: PairNode,
    addresses: Mapping[str, int],
    builder: ProgramBuilder,
    store: StoreConstant,
    ready: int = 0,
) -> list[Step]:
    """Return the steps of a node, an instruction each.

    Parameters
    ----------
    ready : bytes of x that become ready together; 0 if all do at once.

    Raises
    ------
    KiwichaError
        When an operand is repeated in a way that SPECIAL cannot do; names the node.
    """
    try:
        return list(_Pairs(node, addresses, builder, store, ready).steps())
    except ValueError as error:
        if isinstance(error, KiwichaError):
            raise
        raise KiwichaError(f"{node.name} ({node.op}): {error}") from None


@dataclass(frozen=True)
class _Read:
    """Bytes of an operand, shared out over the lanes, or the same for all."""

    address: int
    size: int
    stride: int
    walked: int
    everywhere: bool

    def load(self, lanes: Lanes, keep: Block | None) -> Block:
        key = None if keep is None else keep.key
        if self.everywhere:
            return lanes.spread(self.address, self.size, keep=key)
        return lanes.load(self.address, self.size, self.stride, self.walked, keep=key)


class _Pairs:
    """One node: its tables and fields, and where its operands are."""

    def __init__(
        self,
        node: PairNode,
        addresses: Mapping[str, int],
        builder: ProgramBuilder,
        store: StoreConstant,
        ready: int,
    ) -> None:
        self.node, self.config, self.ready = node, builder.config, ready
        self.lanes = Lanes(builder, store)
        self.x, self.y = addresses[node.x.name], addresses[node.y.name]
        if node.constant is None:
            self.z = addresses[node.z.name]
        else:
            self.z = store(node.z.to_memory(node.constant).view(np.uint8))
        self.fields, self.tables, self.multiplier = pair_arithmetic(node)

    def steps(self) -> Iterator[Step]:
        """Yield the node's instructions in an order that is correct."""
        for meeting in meetings(self.node):
            cut = self._rows(meeting)
            if cut is None:
                yield from self._shared_out(meeting)
            else:
                for first in range(0, meeting.rows, cut.together):
                    rows = min(cut.together, meeting.rows - first)
                    yield self._several(meeting, cut, first, rows)

    def _rows(self, meeting: Meeting) -> Cut | None:
        """Return how to give several rows to each lane; None where not worth while."""
        config, length = self.config, meeting.length
        beat = config.beat_bytes
        if meeting.rows == 1 or length >= config.special.lanes * _WORTH:
            return None
        apart = any(part.byte and not part.row for part in (meeting.x, meeting.z))
        places = (length, self.y + meeting.y, self.x + meeting.x.start, self.z + meeting.z.start)
        aligned = not any(place % beat for place in places)
        # Where no lane holds as many rows as are whole beats of an operand's bytes, one lane has
        # all rows: a long row is better shared out by itself.
        room = longest_block(config, 2, aligned)[0]
        if apart and beat * length > room and length >= 2 * beat * config.special.lanes:
            return None
        quantum = self.ready // length if self.ready % length == 0 else 0
        return cut_rows(
            config, meeting.rows, length, operands=2, aligned=aligned, quantum=quantum,
            unit=beat if apart else None, roomy=True,
        )

    def _several(self, meeting: Meeting, cut: Cut, first: int, rows: int) -> Step:
        """Rows from ``first`` on, some in each lane."""
        length, most = cut.length, min(cut.rows, rows)

        def read(base: int, part: Part) -> _Read:
            size = part.extent(rows, length)
            stride, walked = part.extent(cut.rows, length), part.extent(most, length)
            return _Read(base + part.at(first, length), size, stride, walked, part.row)

        fields = {
            "rows": cut.rows, "length": length, "total": rows,
            **_repeats("x", meeting.x.row, meeting.x.byte),
            **_repeats("z", meeting.z.row, meeting.z.byte),
        }
        x, z = read(self.x, meeting.x), read(self.z, meeting.z)
        return self._step(x, z, self.y + meeting.y + first * length, rows * length, cut, fields)

    def _shared_out(self, meeting: Meeting) -> Iterator[Step]:
        """A part of one row in each lane."""
        beat, length = self.config.beat_bytes, meeting.length
        bases = (self.y + meeting.y, self.x + meeting.x.start, self.z + meeting.z.start)
        aligned = not any(place % beat for place in (*bases, length if meeting.rows > 1 else 0))
        quantum = self.ready // beat if self.ready < length else 0
        cut = cut_rows(
            self.config, -(-length // beat), beat, operands=2, aligned=aligned, quantum=quantum,
            roomy=True,
        )
        assert cut is not None  # a beat fits a quarter of any memory
        pieces = range(0, length, cut.together * beat)
        # Parts of an operand stay on chip for all rows, unless x comes row by row.
        order = [(turn, start) for start in pieces for turn in range(meeting.rows)]
        for turn, start in sorted(order) if self.ready else order:
            size = min(cut.together * beat, length - start)
            total = -(-size // beat)
            walked = min(cut.rows, total) * beat

            def read(
                base: int, part: Part, turn: int = turn, start: int = start, size: int = size,
                walked: int = walked,
            ) -> _Read:
                place = base + part.at(turn, length) + (0 if part.byte else start)
                return _Read(place, 1 if part.byte else size, cut.stride, walked, part.byte)

            fields = {
                "rows": cut.rows, "length": beat, "total": total,
                **_repeats("x", meeting.x.byte, meeting.x.byte),
                **_repeats("z", meeting.z.byte, meeting.z.byte),
            }
            x, z = read(self.x, meeting.x), read(self.z, meeting.z)
            target = self.y + meeting.y + turn * length + start
            yield self._step(x, z, target, size, cut, fields)

    def _step(
        self, x: _Read, z: _Read, target: int, size: int, cut: Cut, fields: dict[str, int]
    ) -> Step:
        lanes, node = self.lanes, self.node
        busiest = min(cut.rows, fields["total"])
        first, second = (z, x) if node.z_first else (x, z)
        if node.z_first:
            swap = {"x": "z", "z": "x"}
            fields = {
                swap.get(name[0], name[0]) + name[1:] if name[1:2] == "_" else name: value
                for name, value in fields.items()
            }

        def emit() -> None:
            table, entries = lanes.table(*self.tables)
            # What all lanes have stays where it is, beside all else.
            if first.everywhere:
                a = first.load(lanes, None)
                b = second.load(lanes, a)
            else:
                b = second.load(lanes, None)
                a = first.load(lanes, b)
            result = lanes.result(target, busiest * fields["length"])
            whole = {
                **self.fields, **fields, "table": table, "x": a.offset, "z": b.offset,
                "y": result.offset,
            }
            if self.multiplier is not None:
                whole = with_multiplier(whole, self.multiplier)
            lanes.builder.special(
                whole,
                busiest,
                [a.covered, b.covered, entries],
                result.covered,
            )
            lanes.write(result, target, size, cut.stride)

        reads: list[Span] = [(x.address, x.address + x.size)]
        if node.constant is None:
            reads.append((z.address, z.address + z.size))
        return Step(tuple(reads), (target, target + size), emit)


def _repeats(name: str, row: bool, byte: bool) -> dict[str, int]:
    return {f"{name}_row": int(row), f"{name}_byte": int(byte)}
