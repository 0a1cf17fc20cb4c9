# SPDX-License-Identifier: Apache-2.0
"""Accumulators: one bank of int32 entries per array column, in two halves.

The arithmetic is ``golden/accumulator.py``. While one half accumulates, the other one is read out.
"""

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.ram import ram_class
from kiwicha.hw.parts.stated import require_stated
from kiwicha.hw.verilog.emit import shared
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES
from kiwicha.machine.latency import accumulator_hazard, accumulator_latency

__all__ = ["AccumulatorBank", "Accumulators", "control_layout"]

_MAXIMUM_BITS = 10
_COPIED = 512
"""Entries of both halves that one block RAM holds: it is 512 x 36 in ECP5 and Xilinx."""


def control_layout(depth: int, depthwise: bool = False) -> data.StructLayout:
    """Return the layout of a control word for accumulators of ``depth`` entries.

    Members
    -------
    entry : which entry; its top bit tells the half.
    first : overwrite instead of combining with what the entry holds.
    maximum : keep the larger value instead of the sum; both have to fit in 10 bits.
    last : report ``signal`` when this word is written in every column.
    signal : a mask of engines.
    result : whether the entry is updated at all; only with ``depthwise``.
    """
    return data.StructLayout({
        "entry": exact_log2(depth),
        "first": 1,
        "maximum": 1,
        "last": 1,
        "signal": ENGINES,
        **({"result": 1} if depthwise else {}),
    })


class AccumulatorBank(wiring.Component):
    """The accumulators of one column: two memories, one adder, no control of its own.

    Either each memory is a half, updated or drained, or, where that takes no more block RAM, both
    hold everything: one is read to be updated, the other to be drained, and no multiplexer is
    needed.

    Control arrives from outside, in the cycle in which it is used, because all columns share one
    delay line. No register has a reset.

    Parameters
    ----------
    cfg : accumulator_depth (entries of both halves together), cells and pipeline are used.
    width : bits of an entry.
    copied : whether both memories hold everything.
    combine_after : 2 cycles, or 1 without registers behind block RAM.
    write_after : 2 cycles more, or 1 without a register before the adder.

    Members
    -------
    psum : arrives in cycle t.
    read : in cycle t: ``valid``, and the entry that is to be updated.
    combine : in cycle t + ``combine_after``: how, and in which half.
    write : in cycle t + ``write_after``: ``valid``, and the entry.
    drain_entry : entry to read in cycle t; obeyed by a half that ``read`` does not address.
    drain_data : its contents, in cycle t + ``combine_after``.
    """

    def __init__(self, cfg: AcceleratorConfig, width: int = 32, *, copied: bool = False) -> None:
        self.cfg = cfg
        self.depth = cfg.accumulator_depth
        self.width = width
        self.copied = copied
        self.combine_after = 1 + ("memory" in cfg.pipeline)
        self.write_after = self.combine_after + 1 + ("accumulator" in cfg.pipeline)
        entry = unsigned(exact_log2(self.depth))
        address = data.StructLayout({"entry": entry, "valid": 1})
        super().__init__({
            "psum": In(signed(width)),
            "read": In(address),
            "combine": In(data.StructLayout({"half": 1, "first": 1, "maximum": 1})),
            "write": In(address),
            "drain_entry": In(entry),
            "drain_data": Out(signed(width)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = signed(self.width)
        held = []
        total, stay = Signal(shape, reset_less=True), Signal(reset_less=True)
        entries = self.depth if self.copied else self.depth // 2
        places = exact_log2(entries)
        for half in range(2):
            # What a read returns that meets a write to its entry is never used (`hazard`).
            memory = ram_class(self.cfg.cells)(
                self.width, entries, registered="memory" in self.cfg.pipeline
            )
            m.submodules[f"half_{half}"] = memory
            # Cycle 0: read.
            if self.copied:
                m.d.comb += memory.read_address.eq(self.drain_entry if half else self.read.entry)
            else:
                updated = self.read.valid & (self.read.entry[-1] == half)
                m.d.comb += memory.read_address.eq(
                    Mux(updated, self.read.entry[:-1], self.drain_entry[:-1])
                )
            held.append(memory.read_data.as_signed())
            # The last cycle: write.
            chosen = Const(1) if self.copied else self.write.entry[-1] == half
            m.d.comb += [
                memory.write.eq(self.write.valid & chosen & ~stay),
                memory.write_address.eq(self.write.entry[:places]),
                memory.write_data.eq(total),
            ]

        # Combine: what an entry held becomes 0 where nothing is added to it, by its register's own
        # synchronous clear. Where it is larger and has to stay, nothing is written.
        m.submodules.psum_delay = psum = Delay(shape, self.combine_after)
        old = Signal(shape)
        larger = Signal()
        m.d.comb += [
            psum.i.eq(self.psum),
            old.eq(held[0] if self.copied else Mux(self.combine.half, held[1], held[0])),
            # The sign of the difference: a carry chain, without a test for equality behind it.
            larger.eq((_low(psum.o) - _low(old))[-1]),
        ]
        # The next cycle: add.
        m.submodules.operands = operands = Delay(
            data.StructLayout({"left": shape, "right": shape, "stay": 1}),
            self.write_after - self.combine_after - 1,
        )
        m.d.comb += [
            operands.i.left.eq(Mux(self.combine.first | self.combine.maximum, 0, old)),
            operands.i.right.eq(psum.o),
            operands.i.stay.eq(self.combine.maximum & ~self.combine.first & larger),
        ]
        m.d.sync += [
            total.eq(operands.o.left + operands.o.right),
            stay.eq(operands.o.stay),
        ]

        if self.copied:
            m.d.comb += self.drain_data.eq(held[1])
            return m
        # The half that is drained was chosen in cycle 0 by the top bit of the entry.
        m.submodules.drained = drained = Delay(1, self.combine_after)
        m.d.comb += [
            drained.i.eq(self.drain_entry[-1]),
            self.drain_data.eq(Mux(drained.o, held[1], held[0])),
        ]
        return m


def _low(value: Value) -> Value:
    return value[:_MAXIMUM_BITS].as_signed()


class Accumulators(wiring.Component):
    """int32 accumulators under the array: one entry of every column updated in each cycle.

    The control word of a vector enters with its psum of column 0 and follows the array's skew:
    column c is served c cycles later. An entry may be updated again ``hazard`` cycles later, not
    before. A half may be read while the control stream addresses the other half or nothing; what is
    read of a half that is being updated means nothing.

    Latency: ``done`` is reported ``columns`` + ``hazard`` - 1 cycles after the control word; what
    it reports may be read at once. ``read_data`` holds the entry that ``read_entry`` named
    ``read_latency`` cycles ago.

    Parameters
    ----------
    config : columns, accumulator_depth (entries a column, both halves together), cells, depthwise
        and pipeline are used.
    width : bits of an entry; less than 32 is for proofs.
    copied : whether a bank's memories both hold everything; where it is not said, they do up to
        512 entries, the same number of block RAMs.
    hazard : 5 cycles; one less without registers behind block RAM, and without those before the
        adder.
    read_latency : 2 cycles, or 1 without registers behind block RAM.

    Members
    -------
    control : In(always-ready stream of ``control_layout``).
    psum : In: the array's output, column c belonging to the control word of c cycles ago.
    done : Out(always-ready stream): the ``signal`` mask of a word with ``last``, in order.
    read_entry : In: entry to read, the same in all columns.
    read_data : Out: its contents, columns aligned.
    """

    def __init__(
        self, config: AcceleratorConfig, *, width: int = 32, copied: bool | None = None
    ) -> None:
        self.config = config
        self.columns = config.columns
        self.depth = config.accumulator_depth
        self.width = width
        self.copied = self.depth <= _COPIED if copied is None else copied
        self._banks = [
            AccumulatorBank(config, width, copied=self.copied) for _ in range(self.columns)
        ]
        self.hazard = self._banks[0].write_after + 1
        self.read_latency = self._banks[0].combine_after
        require_stated("the accumulators' hazard", self.hazard, accumulator_hazard(config))
        require_stated("their read", self.read_latency, accumulator_latency(config))
        sums = data.ArrayLayout(signed(width), self.columns)
        self._layout = control_layout(self.depth, config.depthwise)
        super().__init__({
            "control": In(stream.Signature(self._layout, always_ready=True)),
            "psum": In(sums),
            "done": Out(stream.Signature(ENGINES, always_ready=True)),
            "read_entry": In(exact_log2(self.depth)),
            "read_data": Out(sums),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # words[k] is the control word of k cycles ago.
        words, valids = [self.control.payload], [self.control.valid]
        for stage in range(1, self.columns + self.hazard):
            word = Signal(self._layout, name=f"word_{stage}", reset_less=True)
            valid = Signal(name=f"valid_{stage}")
            m.d.sync += [word.eq(words[-1]), valid.eq(valids[-1])]
            words.append(word)
            valids.append(valid)

        updates: list[Value] = list(valids)
        if self.config.depthwise:
            updates = [valid & word.result for valid, word in zip(valids, words, strict=True)]
        for column, bank in enumerate(self._banks):
            m.submodules[f"bank_{column}"] = shared(bank)
            combine, write = column + bank.combine_after, column + bank.write_after
            m.d.comb += [
                bank.psum.eq(self.psum[column]),
                bank.read.entry.eq(words[column].entry),
                bank.read.valid.eq(updates[column]),
                bank.combine.half.eq(words[combine].entry[-1]),
                bank.combine.first.eq(words[combine].first),
                bank.combine.maximum.eq(words[combine].maximum),
                bank.write.entry.eq(words[write].entry),
                bank.write.valid.eq(updates[write]),
                bank.drain_entry.eq(self.read_entry),
                self.read_data[column].eq(bank.drain_data),
            ]
        m.d.comb += [
            self.done.valid.eq(valids[-1] & words[-1].last),
            self.done.payload.eq(words[-1].signal),
        ]
        return m
