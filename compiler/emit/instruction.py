# SPDX-License-Identifier: Apache-2.0
"""An instruction before its tokens are known, and the runs of bytes that LOAD and STORE move."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.cost.update import UPDATE_LATENCY, update_beats, update_cycles
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Engine, Opcode, WeightFormat

__all__ = ["Instruction", "Transfer"]


@dataclass(frozen=True)
class Transfer:
    """Runs of bytes between memory and chip; see the fields of LOAD and STORE."""

    address: int
    local: int
    length: int
    segments: int = 1
    pitch: int = 0
    local_pitch: int = 0

    def memory_range(self) -> Range:
        """Bounding range in memory."""
        span = (self.segments - 1) * self.pitch + self.length
        return Range(Space.MEMORY, self.address, self.address + span)

    def local_range(self, space: Space, beat: int) -> Range:
        """Bounding range on chip, whole beats."""
        span = (self.segments - 1) * self.local_pitch + self.length
        start = self.local // beat * beat
        return Range(space, start, -(-(self.local + span) // beat) * beat)

    def blocks(self, size: int) -> int:
        """Aligned blocks of ``size`` bytes that the runs touch in memory, run by run.

        Of a beat: the beats that cross the memory port. Of a burst: the bursts, which are cut at
        such blocks.
        """
        first = self.address + self.pitch * np.arange(self.segments, dtype=np.int64)
        return int(((first + self.length - 1) // size - first // size + 1).sum())


@dataclass
class Instruction:
    """One instruction before its tokens are known.

    ``cycles`` is what the engine spends on it once it starts, ``latency`` what passes between
    that and its completion; both feed the performance model only. ``dense_cycles`` and
    ``dense_bytes`` are what a LOAD of compressed weights would spend and read if they were dense,
    ``cycles`` and ``bytes_read`` for all else. Of ``cycles`` the last ``early`` ones are none that
    the engine's next instruction would wait for if it has such ones, too (SOFTMAX).
    """

    opcode: Opcode
    fields: dict[str, Any]
    engine: Engine
    layer: int
    cycles: int
    latency: int
    bytes_read: int = 0
    bytes_written: int = 0
    dense_cycles: int = 0
    dense_bytes: int = 0
    early: int = 0

    def __post_init__(self) -> None:
        self.dense_cycles = self.dense_cycles or self.cycles
        self.dense_bytes = self.dense_bytes or self.bytes_read

    @classmethod
    def update(
        cls, config: AcceleratorConfig, fields: dict[str, Any], layer: int
    ) -> "Instruction":
        """Return an UPDATE."""
        read, written = update_beats(config, fields)
        return cls(
            Opcode.UPDATE, fields, Engine.UPDATE, layer, update_cycles(config, fields),
            UPDATE_LATENCY, read * config.beat_bytes, written * config.beat_bytes,
        )

    def dense(self) -> "Instruction":
        """Return it as it would be if no weights were compressed."""
        if self.dense_bytes == self.bytes_read and self.dense_cycles == self.cycles:
            return self
        fields = {**self.fields, "format": WeightFormat.DENSE}
        return replace(
            self, fields=fields, cycles=self.dense_cycles, bytes_read=self.dense_bytes
        )
