# SPDX-License-Identifier: Apache-2.0
"""COMPUTE's loops in hardware: im2col on the fly, one position a cycle."""

from functools import reduce
from operator import or_
from typing import Final

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.compute.loop_nest import LoopNest
from kiwicha.machine import isa

__all__ = ["STEP", "AddressGenerator"]

STEP: Final = data.StructLayout({
    "y": signed(16),  # image row
    "x": signed(24),  # byte in that row of lane 0
    "address": signed(24),  # scratchpad byte address of lane 0
    "entry": unsigned(16),  # accumulator entry
    "first": unsigned(1),  # overwrite the entry
    "begin": unsigned(1),  # first step of the instruction
    "switch": unsigned(1),  # first step of a pass
    "last": unsigned(1),  # last step of the instruction
    "maximum": unsigned(1),  # of the instruction
    "signal": unsigned(isa.ENGINES),
    "y_limit": unsigned(16),  # of the instruction; the image's bounds
    "x_limit": unsigned(24),
})
"""One vector on its way into the array."""

_START: Final = isa.LEVELS
_TAILS: Final = ("tail", "line_tail")


class AddressGenerator(Component):
    """Walks the seven loops of COMPUTE and says where each vector comes from and goes to.

    An instruction stays on ``i`` while it is executed and is taken afterwards; so the source is
    its register, and has to have the next one ready behind it. One step a cycle within a pass of
    at least ``max(interval, rows field)`` steps; shorter passes are stretched to that.
    From the last step of an instruction to the first of the next it takes ``gap`` cycles at best.
    A step appears at ``o`` ``latency`` - 1 cycles after the loops made it, ``latency`` after ``i``
    became valid. ``i.payload`` stays for at least 3 cycles after the last pass began and 1 after
    the last step was made.

    Parameters
    ----------
    rows : rows of the array, the largest legal ``rows`` field.
    gap : least cycles from the last step of an instruction to the first of the next, 4 to 7.
    interval : least cycles from the first step of a pass to that of the next, gap + 2 to 127.
    dynamic : whether the fields ``dynamic`` and ``slot`` are legal.
    depthwise : whether the fields ``filter``, ``tail`` and ``line_tail`` are; tails have as many
        bits as rows take.
    address_bits : bits that are kept of an address, which wraps.
    entry_bits, row_bits : bits that are kept of an accumulator entry and of a weight row. The
        highest one is set in all numbers that need it or more bits; the steps after such a number
        mean nothing.
    tags : whether the fields ``aligned`` and ``unit`` are legal.
    registered : whether what a step adds to the position is chosen in a cycle of its own.
    latency : 3 cycles, or 2 if it is not.

    Members
    -------
    i : In(stream.Signature(COMPUTE)).
    stop : In(1)
        No further step is made while high.
    tile : Out(stream.Signature(row_bits, always_ready=True))
        First weight row of a pass, one cycle before the pass's first step appears at ``o``.
    o : Out(stream.Signature(STEP, always_ready=True)).
    result : Out(1)
        With ``o``: the step has a result; only with ``depthwise``. Without one, ``entry`` is that
        of the next step that has.
    started : Out(1)
        High for one cycle when an instruction begins.
    illegal : Out(1)
        High from when an instruction with an illegal field was seen, for ever; no step of it
        leaves.
    """

    def __init__(
        self,
        rows: int,
        interval: int = 7,
        gap: int = 5,
        dynamic: bool = False,
        depthwise: bool = False,
        *,
        address_bits: int = 24,
        entry_bits: int = 16,
        row_bits: int = 24,
        registered: bool = True,
        tags: bool = False,
    ) -> None:
        if not 1 <= rows <= 128:
            raise ValueError(f"rows is {rows}; legal: 1 to 128")
        if not 4 <= gap <= 7:
            raise ValueError(f"gap is {gap}; legal: 4 to 7")
        if not gap + 2 <= interval <= 127:
            raise ValueError(f"interval is {interval}; legal: {gap + 2} to 127")
        self.rows = rows
        self.interval = interval
        self.gap = gap
        self.dynamic = dynamic
        self.depthwise = depthwise
        self.address_bits = address_bits
        self.entry_bits = entry_bits
        self.row_bits = row_bits
        self.registered = registered
        self.tags = tags
        self.latency = 2 + registered
        # The first row's product is as many vectors ahead of the last one's at most.
        self._tail_bits = max(1, (rows - 1).bit_length())
        super().__init__({
            "i": In(stream.Signature(isa.COMPUTE)),
            "stop": In(1),
            "tile": Out(stream.Signature(row_bits, always_ready=True)),
            "o": Out(stream.Signature(STEP, always_ready=True)),
            "started": Out(1),
            "illegal": Out(1),
            **({"result": Out(1)} if depthwise else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fields = self.i.payload
        m.submodules.nest = nest = (
            LoopNest(isa.LEVELS, 16, len(_TAILS), self._tail_bits)
            if self.depthwise
            else LoopNest(isa.LEVELS, 16)
        )
        m.d.comb += [nest.counts[k].eq(fields.levels[k].count) for k in range(isa.LEVELS)]
        counted: Value = Const(1, 1)
        if self.depthwise:
            m.d.comb += [nest.tail[k].eq(fields[name]) for k, name in enumerate(_TAILS)]
            counted = ~nest.beyond.any()
        carry = nest.carry

        # Cycle 0: one step of the loops. The bit in `move` says how this step was reached.
        running = Signal()
        at_pass = Signal()
        move = Signal(isa.LEVELS + 1)
        advance = Signal()
        may_begin, may_end = self._timer(m, advance & at_pass)
        m.d.comb += advance.eq(running & ~self.stop & (may_begin | ~at_pass))
        m.d.comb += nest.advance.eq(advance)
        with m.If(advance):
            m.d.sync += [
                at_pass.eq(carry[isa.LEVEL_REDUCTION]),
                move.eq(carry[:-1] & ~carry[1:]),
            ]

        # Running, then releasing the instruction, then resting. Without rest two cycles lie between
        # release and the next start, since the source needs one to bring the next instruction.
        releasing = Signal()
        rest = Signal(self.gap - 3)
        idle = Signal(init=1)
        finishes = advance & carry[isa.LEVELS]
        m.d.comb += [
            self.started.eq(self.i.valid & idle & ~self.illegal & ~self.stop),
            self.i.ready.eq(releasing & may_end),
            # As long as nothing runs: the instruction may come at any time.
            nest.start.eq(idle),
        ]
        m.d.sync += [
            rest.eq((rest << 1) | self.i.ready),
            idle.eq((idle | rest[-1]) & ~self.started),
        ]
        with m.If(finishes):
            m.d.sync += [running.eq(0), releasing.eq(1)]
        with m.Elif(self.i.ready):
            m.d.sync += releasing.eq(0)
        with m.If(self.started):
            m.d.sync += [running.eq(1), move.eq(1 << _START), at_pass.eq(1)]

        entry, first, tile = self._targets(m, idle, advance, at_pass, carry, counted)
        refused = self._check(m, running)

        # Cycle 1, or still 0: what this step adds to the position.
        domain = m.d.sync if self.registered else m.d.comb
        s1_valid = Signal()
        s1 = Signal(STEP)
        domain += [
            s1_valid.eq(advance),
            self.tile.valid.eq(advance & at_pass),
            self.tile.payload.eq(tile),
            s1.entry.eq(entry),
            s1.first.eq(first),
            s1.begin.eq(move[_START]),
            s1.switch.eq(at_pass),
            s1.last.eq(carry[isa.LEVELS]),
            s1.maximum.eq(fields.maximum),
            s1.signal.eq(fields.signal),
        ]
        # The next cycle: the position. The bounds are kept because `i` may move on before the last
        # step.
        s2 = self.o.payload
        m.d.sync += self.o.valid.eq(s1_valid & ~(self.illegal if self.registered else refused))
        for name, bits in (("y", 16), ("x", 24), ("address", self.address_bits)):
            jumps = [fields.levels[level][name][:bits] for level in range(isa.LEVELS)]
            position, jump = Signal(bits, name=name), Signal(bits, name=f"s1_{name}")
            domain += jump.eq(_select([*jumps, fields[name][:bits]], move))
            m.d.comb += s2[name].eq(position.as_signed())
            with m.If(s1_valid):
                m.d.sync += position.eq(position + jump)
            with m.If(self.started):
                m.d.sync += position.eq(0)
        if self.depthwise:
            s1_result = Signal()
            domain += s1_result.eq(counted)
            with m.If(s1_valid):
                m.d.sync += self.result.eq(s1_result)
        with m.If(s1_valid):
            for name in ("entry", "first", "begin", "switch", "last", "maximum", "signal"):
                m.d.sync += s2[name].eq(s1[name])
            with m.If(s1.begin):
                m.d.sync += [s2.y_limit.eq(fields.y_limit), s2.x_limit.eq(fields.x_limit)]
        return m

    def _timer(self, m: Module, begins: Signal) -> tuple[Signal, Signal]:
        """Return flags: the next pass may begin, the last pass's instruction may be given up."""
        may_begin = Signal(init=1)
        may_end = Signal(init=1)
        left = Signal(8)
        rows = self.i.payload.rows
        with m.If(begins):
            longest = Mux(rows > self.interval, rows, Const(self.interval, 8))
            m.d.sync += [left.eq(longest - 1), may_begin.eq(0), may_end.eq(0)]
        with m.Else():
            m.d.sync += [left.eq(left - ~may_begin), may_begin.eq(may_begin | (left == 1))]
            # From giving up an instruction to the next one's first step it takes gap - 1 cycles.
            m.d.sync += may_end.eq(may_end | (left == self.gap))
        return may_begin, may_end

    def _targets(
        self, m: Module, idle: Signal, advance: Signal, at_pass: Signal, carry: Signal,
        counted: Value,
    ) -> tuple[Signal, Signal, Signal]:
        """Return accumulator entry, overwrite flag and weight row of the step in cycle 0, which
        takes an entry if it is ``counted``."""
        fields = self.i.payload
        entry, base = Signal(self.entry_bits), Signal(self.entry_bits)
        first = Signal()
        tile = Signal(self.row_bits)
        start = _narrow(fields.accumulator, self.entry_bits)
        stride = _narrow(fields.weight_stride, self.row_bits)
        pass_ends = carry[isa.LEVEL_REDUCTION]
        channel_ends = carry[isa.LEVEL_CHANNEL]
        with m.If(idle):
            m.d.sync += [
                entry.eq(start),
                base.eq(start),
                first.eq(~fields.accumulate),
                tile.eq(_narrow(fields.weight, self.row_bits)),
            ]
        with m.Elif(advance):
            m.d.sync += entry.eq(Mux(pass_ends & ~channel_ends, base, entry + counted))
            with m.If(channel_ends):
                m.d.sync += [base.eq(entry + counted), first.eq(~fields.accumulate)]
            with m.Elif(pass_ends):
                m.d.sync += first.eq(0)
            with m.If(at_pass):
                m.d.sync += tile.eq(tile + stride)
        return entry, first, tile

    def _check(self, m: Module, running: Signal) -> Value:
        """Return whether ``illegal`` is high in the next cycle: it holds back a first step."""
        fields = self.i.payload
        faults = [level.count == 0 for level in (fields.levels[k] for k in range(isa.LEVELS))]
        faults += [fields.rows == 0, fields.rows > self.rows]
        slot = [] if self.dynamic else [fields.dynamic, fields.slot]
        faults.append(Cat(fields.reserved0, *slot).any())
        if self.depthwise:
            bits = self._tail_bits
            # Whoever has no lines with exponents has to refuse fields of theirs.
            begin = isa.COMPUTE["reserved1" if self.tags else "aligned"].offset
            faults.append(fields.as_value()[begin : isa.COMPUTE["levels"].offset].any())
            for level, name in enumerate(_TAILS):
                tail, count = fields[name], fields.levels[level].count
                least = ~count[bits:].any() & (tail[:bits] >= count[:bits])
                faults += [tail[bits:].any(), least]
        else:
            begin, end = (isa.COMPUTE[name].offset for name in ("filter", "levels"))
            if self.tags:
                end = isa.COMPUTE["aligned"].offset
                faults.append(fields.reserved1.any())
            faults.append(fields.as_value()[begin:end].any())
        fault = Signal(len(faults))
        m.d.sync += [bit.eq(value) for bit, value in zip(fault, faults, strict=True)]
        refused = self.illegal | (running & fault.any())
        m.d.sync += self.illegal.eq(refused)
        return refused


def _select(values: list[Value], chosen: Value) -> Value:
    """Return the value whose bit is set in ``chosen``: a LUT for two, and one for four of those."""
    terms = [value & bit.replicate(len(value)) for value, bit in zip(values, chosen, strict=True)]
    while len(terms) > 1:
        terms = [reduce(or_, terms[first : first + 2]) for first in range(0, len(terms), 2)]
    return terms[0]


def _narrow(value: Value, bits: int) -> Value:
    """Return ``value`` in so many bits, the highest of them set if it does not fit the others."""
    return Cat(value[: bits - 1], value[bits - 1 :].any())
