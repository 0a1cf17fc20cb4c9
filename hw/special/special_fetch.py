# SPDX-License-Identifier: Apache-2.0
"""From places to operands of the arithmetic: a lane's operand memory, row maxima and tables."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.special.cross_entropy import LOGIT
from kiwicha.hw.special.cross_entropy_walk import visit_layout
from kiwicha.hw.special.operand_memory import OperandMemory
from kiwicha.hw.special.row_maximum import RowMaximum
from kiwicha.hw.special.softmax_common import SLOTS
from kiwicha.hw.special.special_apply import element_layout
from kiwicha.hw.special.special_check import is_measured, special_job
from kiwicha.hw.special.special_measure import look_layout
from kiwicha.hw.special.table_memory import TableMemory
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SpecialOperation

__all__ = ["ELEMENT_OPERANDS", "ROW_OPERANDS", "SpecialFetch"]

ROW_OPERANDS = data.StructLayout({
    "slot": range(SLOTS),
    "first": 1,
    "last": 1,
    "x": signed(9),
    "a": 32,
})
"""A byte of a row that is measured, and its entry of table A."""
ELEMENT_OPERANDS = data.StructLayout({
    "slot": range(SLOTS),
    "x": signed(9),
    "negative": 1,
    "a": 32,
    "b": 32,
})
"""An element, its entries of tables A and B, and whether the byte of A's is a negative number."""


class SpecialFetch(Component):
    """Turns looks and elements into operands, one of each a cycle.

    The entries are those of the raw bytes (TABLE, ADD, MUL), of the distances from the row's
    maximum (SOFTMAX) or of the column (NORMALIZE). ``x`` is the byte as a number, uint8
    less 128, and less ``x_zero`` of the job.

    Parameters
    ----------
    cfg : sizes of the memories.
    lane : number of the lane.
    latency : 5, the cycles from ``look`` and ``element`` to the operands.
    maximum_latency : cycles from a row's last beat to the first byte that may be compared with it.

    Members
    -------
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats from LOAD; those for this lane's operands and for the tables are taken.
    job, ahead : In(special_job(cfg))
        Those of elements and looks, constant while anything of them is on its way. Where there are
        looks, both have the same operation.
    look, element : In(stream.Signature(..., always_ready=True))
        As ``look_layout`` and ``element_layout`` have it; what is not for this lane is dropped.
    row : Out(stream.Signature(ROW_OPERANDS, always_ready=True))
        The looks at single bytes.
    operands : Out(stream.Signature(ELEMENT_OPERANDS, always_ready=True))
        The elements.
    visit : In(stream.Signature(visit_layout(cfg), always_ready=True))
    logit : Out(stream.Signature(LOGIT, always_ready=True))
        Elements of CROSS_ENTROPY, two cycles later; only with ``training``.
    """

    def __init__(self, cfg: AcceleratorConfig, lane: int) -> None:
        self.cfg = cfg
        self.lane = lane
        self.latency = 5
        self._maximum = RowMaximum(cfg.beat_bytes, SLOTS)
        self.maximum_latency = self._maximum.latency
        loss = {
            "visit": In(stream.Signature(visit_layout(cfg), always_ready=True)),
            "logit": Out(stream.Signature(LOGIT, always_ready=True)),
        }
        super().__init__({
            **(loss if cfg.training else {}),
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "job": In(special_job(cfg)),
            "ahead": In(special_job(cfg)),
            "look": In(stream.Signature(look_layout(cfg), always_ready=True)),
            "element": In(stream.Signature(element_layout(cfg), always_ready=True)),
            "row": Out(stream.Signature(ROW_OPERANDS, always_ready=True)),
            "operands": Out(stream.Signature(ELEMENT_OPERANDS, always_ready=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, job = self.cfg, self.job
        look, element = self.look.payload, self.element.payload
        row, operands = self.row.payload, self.operands.payload
        softmax, normalize = Signal(), Signal()
        # Tables and signs of what the memory's two readers read.
        ahead = Signal(special_job(cfg))
        m.d.comb += ahead.eq(Mux(is_measured(job.operation), self.ahead.as_value(), job.as_value()))
        jobs = (ahead, job)
        m.submodules.operands = memory = OperandMemory(cfg, self.lane)
        m.submodules.tables = tables = TableMemory(cfg)
        m.submodules.maximum = maximum = self._maximum
        wiring.connect(m, memory.write, wiring.flipped(self.write))
        wiring.connect(m, tables.write, wiring.flipped(self.write))
        m.d.comb += [
            softmax.eq(job.operation == SpecialOperation.SOFTMAX),
            normalize.eq(job.operation == SpecialOperation.NORMALIZE),
        ]

        # Cycle 0: where to read. What is beside the data comes along.
        looked, walked = Signal(self.latency), Signal(self.latency)
        places: list[Value] = [Mux(softmax | normalize, look.place, element.x), element.z]
        if cfg.training:
            places = self._logits(m, memory, places)
        m.d.comb += [memory.place[reader].eq(places[reader]) for reader in range(2)]
        m.d.sync += [
            looked.eq((looked << 1) | (self.look.valid & ~look.beat & look.live[self.lane])),
            walked.eq((walked << 1) | (self.element.valid & element.live[self.lane])),
        ]
        bounds = _later(m, look.first, 5, "first"), _later(m, look.last, 5, "last")
        slots = _later(m, look.slot, 5, "look_slot"), _later(m, element.slot, 5, "slot")
        column = _later(m, element.column, 2, "column")[2]

        # Cycle 1: the beats; bytes become unsigned numbers of the same order.
        flips = [Cat(Const(0, 7), each.x_signed) for each in jobs]
        beat, beats = maximum.i.payload, Signal()
        m.d.sync += beats.eq(self.look.valid & look.beat)
        m.d.comb += [
            maximum.i.valid.eq(beats),
            beat.beat.eq(memory.beat[0] ^ flips[0].replicate(cfg.beat_bytes)),
            beat.low.eq(_later(m, look.low, 1, "low")[1]),
            beat.high.eq(_later(m, look.high, 1, "high")[1]),
            beat.slot.eq(slots[0][1]),
            beat.first.eq(bounds[0][1]),
            beat.last.eq(bounds[1][1]),
            *(maximum.slot[reader].eq(slots[reader][1]) for reader in range(2)),
        ]

        # Cycle 2: the bytes and the maxima. Cycle 3: which entries. Cycle 5: the entries.
        numbers: list[Value] = []
        of_column = Signal(range(cfg.special.entries), reset_less=True)
        m.d.sync += of_column.eq(Cat(column[:8], (job.table + column[8:])[: len(job.table)]))
        for reader in range(2):
            code, low = Signal(8, name=f"code_{reader}"), Signal(8, name=f"low_{reader}")
            byte = memory.byte[reader]
            m.d.comb += code.eq(byte ^ flips[reader])
            m.d.sync += low.eq(Mux(softmax, maximum.maximum[reader] - code, byte))
            index = Mux(normalize, of_column, Cat(low, jobs[reader].table))
            m.d.comb += tables.index[reader].eq(index)
            number = Signal(8, name=f"number_{reader}")
            m.d.comb += number.eq(code ^ 0x80)
            number = _later(m, number, 1, f"number_{reader}")[1].as_signed()
            centred = (number - jobs[reader].x_zero)[:9]
            numbers.append(_later(m, centred, 2, f"centred_{reader}")[2].as_signed())
        m.d.comb += [
            self.row.valid.eq(looked[-1]),
            row.slot.eq(slots[0][5]),
            row.first.eq(bounds[0][5]),
            row.last.eq(bounds[1][5]),
            row.x.eq(numbers[0]),
            row.a.eq(tables.entry[0]),
            self.operands.valid.eq(walked[-1]),
            operands.slot.eq(slots[1][5]),
            operands.x.eq(numbers[1]),
            operands.negative.eq(job.x_signed & numbers[0][-1]),
            operands.a.eq(tables.entry[0]),
            operands.b.eq(tables.entry[1]),
        ]
        return m

    def _logits(self, m: Module, memory: OperandMemory, places: list[Value]) -> list[Value]:
        """Give the bytes of visits to ``logit``; return where to read, ``places`` for all else."""
        visit, logit = self.visit.payload, self.logit.payload
        live = Signal(2)
        m.d.sync += live.eq(Cat(self.visit.valid & visit.live[self.lane], live))
        m.d.comb += [
            self.logit.valid.eq(live[-1]),
            logit.look.eq(_later(m, visit.look, 2, "look")[2]),
            logit.first.eq(_later(m, visit.first, 2, "visit_first")[2]),
            logit.x.eq(memory.byte[0]),
            logit.label.eq(memory.byte[1]),
        ]
        loss = self.job.operation == SpecialOperation.CROSS_ENTROPY
        visited = (visit.x, visit.z)
        return [Mux(loss, place, other) for place, other in zip(visited, places, strict=True)]


def _later(m: Module, value: Value, cycles: int, name: str) -> list[Value]:
    """Return ``value`` and what it was up to ``cycles`` cycles ago, without a reset."""
    values = [value]
    for cycle in range(1, cycles + 1):
        later = Signal(len(value), name=f"{name}_{cycle}", reset_less=True)
        m.d.sync += later.eq(values[-1])
        values.append(later)
    return values
