# SPDX-License-Identifier: Apache-2.0
"""Collects instructions, tracks what they touch, and ends in a program with its tokens set."""

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from kiwicha.compiler.emit.absorb import Absorbed
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.instruction import Instruction, Transfer
from kiwicha.compiler.emit.order import Order
from kiwicha.compiler.emit.scales import ScaleRun
from kiwicha.compiler.emit.statistics import RECORD_BYTES, Tally
from kiwicha.compiler.emit.vector_cost import vector_cost
from kiwicha.compiler.schedule.compress import PlacedWeights
from kiwicha.compiler.schedule.contraction import Addend
from kiwicha.compiler.schedule.footprint import minimum_pass
from kiwicha.compiler.schedule.onchip import Ring
from kiwicha.cost.performance import Timeline, predict
from kiwicha.cost.timing import (
    INTERLEAVE_CYCLES,
    READ_ROUND_TRIP,
    SPECIAL_LATENCY,
    STORE_LATENCY,
    check_cycles,
    format_cycles,
    softmax_cycles,
    special_cycles,
    special_gap,
)
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import encode
from kiwicha.machine.isa import (
    COUNTER_WORDS,
    LEVEL_REDUCTION,
    PARAMETER_BYTES,
    SLOT_BYTES,
    SLOTS,
    WORD_BITS,
    Engine,
    LoadTarget,
    Opcode,
    SpecialOperation,
    StoreSource,
    VectorMode,
    WeightFormat,
)
from kiwicha.machine.latency import compute_latency

__all__ = ["ProgramBuilder"]

_SPACES: dict[int, Space] = {
    LoadTarget.ACTIVATION: Space.ACTIVATION,
    LoadTarget.WEIGHT: Space.WEIGHT,
    LoadTarget.PARAMETER: Space.PARAMETER,
    LoadTarget.OPERAND: Space.OPERAND,
    LoadTarget.TABLE: Space.TABLE,
    LoadTarget.DYNAMIC: Space.SLOT,
    LoadTarget.FUNCTION: Space.FUNCTION,
    LoadTarget.ADDEND: Space.ADDEND,
    LoadTarget.SUMS: Space.SUMS,
    LoadTarget.REAL: Space.REAL,
}

_PAGE = 4096  # no burst crosses a multiple of it
_STATISTICS = Range(Space.STATISTICS, 0, 1)


@dataclass
class ProgramBuilder:
    """Instructions in a sequentially correct order, with the on-chip memories they share.

    Members
    -------
    absorbed : what lies inside something else.
    counted : layers whose results are counted.
    addends : by the name of a node, what its results are added to on their way out.
    tally : what counts the results of VECTORs that are appended, None where nobody does.
    siblings : by the name of a layer, how many follow each other that read the same on chip.
    function : table of 256 bytes that their results are looked up in, None for no function.
    """

    config: AcceleratorConfig
    layer: int = 0
    tally: Tally | None = None
    function: np.ndarray | None = None
    absorbed: Absorbed = field(default_factory=Absorbed)
    counted: Collection[str] = ()
    addends: Mapping[str, Addend] = field(default_factory=dict)
    siblings: Mapping[str, int] = field(default_factory=dict)
    stored: defaultdict[int, list[PlacedWeights]] = field(
        default_factory=lambda: defaultdict(list)
    )  # by layer
    scale_runs: defaultdict[int, list[ScaleRun]] = field(
        default_factory=lambda: defaultdict(list)
    )  # by layer

    def __post_init__(self) -> None:
        beat = self.config.beat_bytes
        self._order = Order(self.config)
        self.activations = Ring(self.config.activation_bytes, beat)
        self.weights = Ring(self.config.weight_bytes, max(beat, self.config.weight_pitch))
        group = self.config.parameter_lanes * PARAMETER_BYTES
        self.parameters = Ring(
            self.config.parameter_channels * PARAMETER_BYTES, max(beat, group)
        )
        self.outputs = Ring(self.config.output_bytes, beat)
        # Rings of offsets that are the same in every lane; tables in units of 256 entries, as are
        # those of VECTOR.
        self.operands = Ring(self.config.special.bytes, beat)
        self.special_results = Ring(self.config.special.bytes, beat)
        self.tables = Ring(self.config.special.entries // 256)
        self.functions = Ring(self.config.functions.tables)
        self.sums = Ring(self.config.residual.tables)
        self.reals = Ring(self.config.real.bytes, beat)
        self.bounds = Ring(int(self.config.real.functions))
        self._half = 0

    def next_accumulators(self) -> int:
        """Return the first entry of the accumulator half that was used longer ago."""
        self._half ^= 1
        return self._half * (self.config.accumulator_depth // 2)

    @property
    def instructions(self) -> list[Instruction]:
        """All that were appended, in the order that the program has."""
        self._order.finish()
        return self._order.instructions

    def filling(
        self, target: LoadTarget, key: Hashable, base: int, size: int
    ) -> AbstractContextManager[None]:
        """Say of the LOADs that follow that they fill ``size`` units of a ring from ``base`` on."""
        return nullcontext()

    def load(
        self,
        target: int,
        transfer: Transfer,
        *,
        form: WeightFormat = WeightFormat.DENSE,
        extent: int = 0,
        decoding: int = 0,
        dense: int = 0,
        touched: Range | None = None,
    ) -> None:
        """Append a LOAD.

        Parameters
        ----------
        form : how the bytes are stored.
        extent : bytes of a line, of matrices; rows beside each other.
        decoding, dense : of streams, cycles of the decoder and bytes of what it gives.
        touched : what is written on chip, where it is not the bytes that ``transfer`` says.
        """
        beat = self.config.beat_bytes
        beats = transfer.blocks(beat)
        cycles = self._read_cycles(transfer)
        if form in (WeightFormat.ROWS, WeightFormat.COLUMNS):
            size = transfer.segments * transfer.length
            cycles = max(cycles, format_cycles(self.config, form, extent, size))
        if form == WeightFormat.INTERLEAVED:
            cycles += INTERLEAVE_CYCLES
        cycles = max(cycles, decoding)
        plain = Transfer(transfer.address, transfer.local, dense)
        fields = {"target": target, "format": form, "extent": extent, **vars(transfer)}
        self._order.add(
            Instruction(
                Opcode.LOAD, fields, Engine.LOAD, self.layer, cycles, READ_ROUND_TRIP,
                bytes_read=beats * beat, dense_cycles=self._read_cycles(plain) if dense else 0,
                dense_bytes=plain.blocks(beat) * beat if dense else 0,
            ),
            [transfer.memory_range()],
            [touched or transfer.local_range(_SPACES[target], beat)],
        )

    def _read_cycles(self, transfer: Transfer) -> int:
        """Return the cycles of its beats, or of its bursts' share of the round trip."""
        beat = self.config.beat_bytes
        bursts = transfer.blocks(min(_PAGE, beat * self.config.axi_burst_beats))
        round_trips = bursts * READ_ROUND_TRIP // self.config.axi_outstanding
        return max(transfer.blocks(beat), round_trips)

    def compute(
        self, fields: dict[str, Any], cycles: int, reads: Sequence[Range], writes: Range
    ) -> None:
        """Append a COMPUTE that takes ``cycles`` in the array."""
        accumulating = [writes] if fields["accumulate"] else []
        # Its last pass may be stretched for the weights of the next one, behind its last step.
        steps = prod(level["count"] for level in fields["levels"][:LEVEL_REDUCTION])
        rest = max(0, minimum_pass(self.config, fields["rows"]) - steps)
        latency = compute_latency(self.config) - 1 - rest
        self._order.add(
            Instruction(Opcode.COMPUTE, fields, Engine.COMPUTE, self.layer, cycles, latency),
            [*reads, *accumulating],
            [writes],
        )

    def vector(
        self,
        fields: dict[str, Any],
        reads: Sequence[Range],
        writes: Sequence[Range],
        first: int = 0,
    ) -> None:
        """Append a VECTOR, or several where its results are counted and are too many.

        ``first`` is the layer's channel that is the instruction's first one.
        """
        if self.tally is None or fields["mode"] in (VectorMode.MEASURE, VectorMode.RANGE):
            self._vector(fields, reads, writes)
            return
        for full, part in self.tally.enter(fields, first):
            if full is not None:
                self.store_statistics(full)
            counted = [_STATISTICS] if "statistics" in part else []
            self._vector(part, reads, [*writes, *counted])

    def _vector(
        self, fields: dict[str, Any], reads: Sequence[Range], writes: Sequence[Range]
    ) -> None:
        cycles, latency = vector_cost(self.config, fields)
        self._order.add(
            Instruction(Opcode.VECTOR, fields, Engine.VECTOR, self.layer, cycles, latency),
            reads,
            writes,
        )

    def load_slots(self, address: int) -> None:
        """Append a LOAD of all slots of dynamic quantization."""
        touched = Range(Space.SLOT, 0, SLOTS)
        self.load(LoadTarget.DYNAMIC, Transfer(address, 0, SLOTS * SLOT_BYTES), touched=touched)

    def load_slot(self, address: int, slot: int) -> None:
        """Append a LOAD of one slot from its place in the record of all at ``address``; what else
        is in its beat is overwritten."""
        place = slot * SLOT_BYTES
        first = place // self.config.beat_bytes * self.config.beat_bytes
        last = max(place + SLOT_BYTES, first + self.config.beat_bytes)
        touched = Range(Space.SLOT, first // SLOT_BYTES, last // SLOT_BYTES)
        self.load(
            LoadTarget.DYNAMIC, Transfer(address + place, place, SLOT_BYTES), touched=touched
        )

    def store_slot(self, address: int, slot: int) -> None:
        """Append a STORE of one slot to its place in the record of all at ``address``."""
        place = slot * SLOT_BYTES
        self.store(
            Transfer(address + place, place, SLOT_BYTES),
            StoreSource.DYNAMIC,
            Range(Space.SLOT, slot, slot + 1),
        )

    def special(
        self, fields: dict[str, Any], rows: int, reads: Sequence[Range], writes: Range
    ) -> None:
        """Append a SPECIAL; ``rows`` is how many rows the busiest lane has."""
        operation, length = SpecialOperation(fields["operation"]), fields["length"]
        cycles = special_cycles(self.config, operation, rows, length)
        cycles += special_gap(self.config, operation)
        early = 0
        if operation == SpecialOperation.SOFTMAX:
            _, early = softmax_cycles(self.config, rows, length)
        lanes = -(-fields.get("total", rows) // rows)
        latency = SPECIAL_LATENCY + check_cycles(rows, lanes)
        self._order.add(
            Instruction(
                Opcode.SPECIAL, fields, Engine.SPECIAL, self.layer, cycles, latency, early=early
            ),
            reads,
            [writes],
        )

    def store(
        self,
        transfer: Transfer,
        source: StoreSource = StoreSource.OUTPUT,
        touched: Range | None = None,
    ) -> None:
        """Append a STORE; ``touched`` as in `load`."""
        beat = self.config.beat_bytes
        beats = transfer.blocks(beat)
        self._order.add(
            Instruction(
                Opcode.STORE,
                {"source": source, **vars(transfer)},
                Engine.STORE,
                self.layer,
                max(beats, 2 * transfer.segments),
                STORE_LATENCY,
                bytes_written=beats * beat,
            ),
            [touched or transfer.local_range(Space.OUTPUT, beat)],
            [transfer.memory_range()],
        )

    def update(
        self, fields: dict[str, Any], reads: Sequence[Range], writes: Sequence[Range]
    ) -> None:
        """Append an UPDATE."""
        self._order.add(Instruction.update(self.config, fields, self.layer), reads, writes)

    def store_statistics(self, address: int) -> None:
        """Append a STORE of what has been counted."""
        self.store(Transfer(address, 0, RECORD_BYTES), StoreSource.STATISTICS, _STATISTICS)

    def store_counters(self, address: int) -> None:
        """Append a STORE of the counter record, ordered after all earlier stores."""
        transfer = Transfer(address, 0, COUNTER_WORDS * WORD_BITS // 8)
        self._order.add(
            Instruction(
                Opcode.STORE,
                {"source": StoreSource.COUNTERS, **vars(transfer)},
                Engine.STORE,
                self.layer,
                transfer.blocks(self.config.beat_bytes),
                STORE_LATENCY,
                bytes_written=transfer.length,
            ),
            [],
            [transfer.memory_range()],
        )

    def words(self) -> np.ndarray:
        """Return the finished program, ``uint64`` words ending in END."""
        instructions, tokens = self.instructions, self._order.dependencies
        parts = [
            encode(instruction.opcode, **instruction.fields, wait=wait, signal=signal)
            for instruction, wait, signal in zip(
                instructions, tokens.wait, tokens.signal, strict=True
            )
        ]
        return np.concatenate([*parts, encode(Opcode.END)])

    def timeline(self, *, dense: bool = False) -> Timeline:
        """Return when each instruction starts and ends, by the performance model.

        With ``dense`` no weights are compressed.
        """
        instructions = self.instructions
        if not dense:
            return self._order.player.timeline()
        plain = [each.dense() for each in instructions]
        return predict(self.config, plain, self._order.dependencies.sources)
