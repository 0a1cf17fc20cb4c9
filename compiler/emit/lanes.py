# SPDX-License-Identifier: Apache-2.0
"""SPECIAL's memories: blocks of operands and results shared out over the lanes, and tables."""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.instruction import Transfer
from kiwicha.compiler.emit.residents import StoreConstant
from kiwicha.compiler.schedule.onchip import align_up
from kiwicha.machine.isa import LoadTarget, StoreSource

__all__ = ["TABLE_UNIT", "Block", "Lanes"]

TABLE_UNIT = 256
"""Entries of the smallest table."""
_WORD = 4


@dataclass(frozen=True)
class Block:
    """A piece of memory in the lanes: lane l has the ``stride`` bytes from l * stride on.

    Members
    -------
    offset : of each lane's first byte in its memory.
    key : by which its ring knows it.
    """

    offset: int
    covered: Range
    key: Hashable


class Lanes:
    """Places blocks and tables in SPECIAL's memories, and moves them there and back."""

    def __init__(self, builder: ProgramBuilder, store: StoreConstant) -> None:
        self.builder, self.store, self.config = builder, store, builder.config
        self.beat = self.config.beat_bytes

    def _room(self, address: int, size: int) -> int:
        """Bytes of the whole beats that a block takes in a lane."""
        return align_up(address % self.beat + size, self.beat)

    def table(self, a: np.ndarray, b: np.ndarray | None = None) -> tuple[int, Range]:
        """Return the first unit of tables A and B, 32-bit entries, loaded if need be."""
        units = -(-a.size // TABLE_UNIT)
        parts = [part for part in (a, b) if part is not None]
        packed = np.zeros((len(parts), units * TABLE_UNIT), "<u4")
        for row, part in zip(packed, parts, strict=True):
            row[: part.size] = part.view(np.uint32)
        key = packed.tobytes()
        ring, size = self.builder.tables, units * TABLE_UNIT * _WORD
        if (unit := ring.find(key)) is not None:
            return unit, Range(Space.TABLE, unit, unit + units)
        unit = ring.place(key, units)
        touched = Range(Space.TABLE, unit, unit + units)
        address = self.store(packed.reshape(-1).view(np.uint8))
        whole = _WORD * self.config.special.entries
        # Entries beyond those of a short row are never looked at.
        used = align_up(a.size * _WORD, self.beat)
        transfer = Transfer(address, unit * TABLE_UNIT * _WORD, used, len(parts), size, whole)
        self.builder.load(LoadTarget.TABLE, transfer, touched=touched)
        return unit, touched

    def load(
        self, address: int, size: int, stride: int, walked: int, keep: Hashable = None
    ) -> Block:
        """Share ``size`` bytes out over the lanes, unless they are there already.

        ``stride`` is whole beats where more than one lane gets any. ``walked`` bytes a lane are
        operated on at the most, no less than lane 0 gets. ``keep`` is the key of a block that is
        not overwritten: both are at most a quarter of the memory.
        """
        key = (address, size, stride)
        block, new = self._place(key, walked, address, keep)
        if new:
            base, room = block.covered.start, block.covered.stop - block.covered.start
            with self.builder.filling(LoadTarget.OPERAND, key, base, room):
                for transfer in self._runs(address, block, size, stride):
                    self.builder.load(LoadTarget.OPERAND, transfer, touched=block.covered)
        return block

    def spread(self, address: int, size: int, keep: Hashable = None) -> Block:
        """Give every lane the same ``size`` bytes, unless they are there already; ``keep`` as in
        `load`."""
        block, new = self._place((address, size, "everywhere"), size, address, keep)
        if new:
            lanes, memory = self.config.special.lanes, self.config.special.bytes
            transfer = Transfer(address, block.offset, size, lanes, 0, memory)
            self.builder.load(LoadTarget.OPERAND, transfer, touched=block.covered)
        return block

    def result(self, address: int, size: int) -> Block:
        """Take room for results of ``size`` bytes a lane, aligned as they will be in memory."""
        room = self._room(address, size)
        base = self.builder.special_results.place(address, room)
        return Block(base + address % self.beat, Range(Space.RESULT, base, base + room), address)

    def write(self, block: Block, address: int, size: int, stride: int) -> None:
        """Store what the lanes computed as ``size`` bytes of memory."""
        for transfer in self._runs(address, block, size, stride):
            self.builder.store(transfer, StoreSource.RESULT, block.covered)

    def _place(
        self, key: Hashable, size: int, address: int, keep: Hashable = None
    ) -> tuple[Block, bool]:
        ring, room = self.builder.operands, self._room(address, size)
        base = ring.find(key)
        new = base is None
        if base is None:
            base = ring.place(key, room, keep)
        covered = Range(Space.OPERAND, base, base + room)
        return Block(base + address % self.beat, covered, key), new

    def _runs(self, address: int, block: Block, size: int, stride: int) -> list[Transfer]:
        """Return the transfers of a block: one for all full lanes, one for what is left."""
        memory = self.config.special.bytes
        full, rest = divmod(size, stride)
        runs = []
        if full:
            runs.append(Transfer(address, block.offset, stride, full, stride, memory))
        if rest:
            local = block.offset + full * memory
            runs.append(Transfer(address + full * stride, local, rest))
        return runs
