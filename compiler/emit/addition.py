# SPDX-License-Identifier: Apache-2.0
"""Sums of two tensors as steps of the special function engine.

In memory x is a sequence of periods: stretches of bytes that are added to one stretch of z each.
Of a long period the lanes have a part each, and so they have of z. Of a short one every lane has
several, and z as often, so that all lanes have work.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import gcd

import numpy as np

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.lanes import Block, Lanes
from kiwicha.compiler.emit.residents import StoreConstant
from kiwicha.compiler.emit.rows import cut_rows, longest_block
from kiwicha.compiler.emit.steps import Span, Step
from kiwicha.compiler.graph.graph import AddNode
from kiwicha.compiler.schedule.onchip import align_up
from kiwicha.errors import KiwichaError
from kiwicha.machine.isa import SpecialOperation
from kiwicha.machine.tables import add_tables

__all__ = ["add_steps"]

_WORTH = 128  # elements of a lane that are worth an instruction
_PIECES = 4  # so that loading, computing and storing overlap


@dataclass(frozen=True)
class _Periods:
    """``count`` periods of ``length`` bytes of x from byte ``x`` on, all added to those of z from
    byte ``z`` on."""

    x: int
    z: int
    length: int
    count: int


def add_steps(
    node: AddNode,
    addresses: Mapping[str, int],
    builder: ProgramBuilder,
    store: StoreConstant,
    ready: int = 0,
) -> list[Step]:
    """Return the steps of a sum, an instruction each.

    Parameters
    ----------
    ready : bytes of x that become ready together; 0 if all do at once.

    Raises
    ------
    KiwichaError
        When z is repeated in a way that SPECIAL cannot do; names the node.
    """
    try:
        emitter = _Adder(node, addresses, builder, store, ready)
        return list(emitter.steps())
    except ValueError as error:
        if isinstance(error, KiwichaError):
            raise
        raise KiwichaError(f"{node.name} ({node.op}): {error}") from None


def _periods(node: AddNode) -> list[_Periods]:
    """Return what of z each byte of x is added to, in memory order."""
    places = node.places
    breaks = np.flatnonzero(np.diff(places) != 1)
    length = int(breaks[0]) + 1 if breaks.size else places.size
    if places.size % length:
        raise ValueError(f"'{node.z.name}' is not repeated along whole axes")
    lines = places.reshape(-1, length)
    if (lines != lines[:, :1] + np.arange(length)).any():
        raise ValueError(f"'{node.z.name}' is not repeated along whole axes")
    found, x = [], 0
    for z, same in groupby(lines[:, 0].tolist()):
        count = len(list(same))
        found.append(_Periods(x, z, length, count))
        x += count * length
    return found


class _Adder:
    """One sum: its tables and fields, which operand is SPECIAL's first, and its constants."""

    def __init__(
        self,
        node: AddNode,
        addresses: Mapping[str, int],
        builder: ProgramBuilder,
        store: StoreConstant,
        ready: int,
    ) -> None:
        self.node, self.config, self.store, self.ready = node, builder.config, store, ready
        self.lanes = Lanes(builder, store)
        self.x, self.y = addresses[node.x.name], addresses[node.y.name]
        self.constant: np.ndarray | None = None
        if node.constant is None:
            self.z = addresses[node.z.name]
        else:
            self.constant = node.z.to_memory(node.constant).view(np.uint8)
            self.z = store(self.constant)
        first, second = (node.z, node.x) if node.z_first else (node.x, node.z)
        *self.tables, shift = add_tables(
            float(first.scale), first.zero_point, first.dtype,
            float(second.scale), second.zero_point, second.dtype,
            float(node.y.scale), node.y.zero_point,
        )
        self.fields = {
            "operation": SpecialOperation.ADD, "low": node.low, "high": node.high,
            "x_signed": int(first.dtype == np.int8), "z_signed": int(second.dtype == np.int8),
            "shift": shift,
        }

    def steps(self) -> Iterator[Step]:
        """Yield the sum's instructions in an order that is correct."""
        for part in _periods(self.node):
            yield from self._repeated(part) or self._shared_out(part)

    def _repeated(self, part: _Periods) -> list[Step]:
        """Several periods in each lane; nothing where that is not possible or not worth while."""
        beat, lanes = self.config.beat_bytes, self.config.special.lanes
        address, size = self.z + part.z, part.count * part.length
        times = beat // gcd(part.length, beat)
        whole = part.length * times  # begins and ends with a beat
        if self.constant is None and (times > 1 or address % beat):
            return []
        aligned = not any(place % beat for place in (self.x + part.x, self.y + part.x))
        room = longest_block(self.config, 2, aligned)[0]
        if part.count == 1 or part.length >= lanes * _WORTH or whole > room:
            return []
        wanted = max(2 * _WORTH, -(-(self.ready or size // _PIECES) // lanes))
        stride = max(1, min(room, wanted, -(-size // lanes)) // whole) * whole
        if self.constant is not None:
            period = self.constant[part.z : part.z + part.length]
            values = np.tile(period, stride // part.length)
            load = partial(self._constant, values)
        else:
            load = partial(self.lanes.repeat, address, whole, stride // whole)
        together = stride * lanes
        return [
            self._step(part.x + start, min(together, size - start), stride, load, None)
            for start in range(0, size, together)
        ]

    def _constant(self, values: np.ndarray) -> Block:
        return self.lanes.repeat(self.store(values), values.size, 1)

    def _shared_out(self, part: _Periods) -> Iterator[Step]:
        """A part of one period in each lane."""
        beat = self.config.beat_bytes
        places = (part.length, self.x + part.x, self.y + part.x, self.z + part.z)
        aligned = not any(place % beat for place in places)
        total = -(-part.length // beat)
        quantum = self.ready // beat if self.ready < part.length else 0
        cut = cut_rows(self.config, total, beat, operands=2, aligned=aligned, quantum=quantum)
        assert cut is not None  # a beat fits a quarter of any memory
        size = cut.together * beat
        pieces = [(start, min(size, part.length - start)) for start in range(0, part.length, size)]
        # Parts of z stay on chip for all periods, unless x comes period by period.
        order = [(turn, *piece) for piece in pieces for turn in range(part.count)]
        for turn, start, length in sorted(order) if self.ready else order:
            z = self.z + part.z + start
            walked = min(cut.stride, align_up(length, beat))
            load = partial(self.lanes.load, z, length, cut.stride, walked)
            x = part.x + turn * part.length + start
            reads = None if self.constant is not None else (z, z + length)
            yield self._step(x, length, cut.stride, load, reads)

    def _step(
        self, x: int, size: int, stride: int, load: Callable[[], Block], reads: Span | None
    ) -> Step:
        lanes, beat = self.lanes, self.config.beat_bytes
        start, target, total = self.x + x, self.y + x, -(-size // beat)
        walked = min(stride // beat, total) * beat

        def emit() -> None:
            table, entries = lanes.table(*self.tables)
            other = load()
            own = lanes.load(start, size, stride, walked, keep=other.key)
            first, second = (other, own) if self.node.z_first else (own, other)
            result = lanes.result(target, walked)
            lanes.builder.special(
                {
                    **self.fields, "table": table, "rows": stride // beat, "length": beat,
                    "total": total, "x": first.offset, "z": second.offset, "y": result.offset,
                },
                min(stride // beat, total),
                [own.covered, other.covered, entries],
                result.covered,
            )
            lanes.write(result, target, size, stride)

        operands = ((start, start + size), *(() if reads is None else (reads,)))
        return Step(operands, (target, target + size), emit)
