# SPDX-License-Identifier: Apache-2.0
"""The router passes every word of an instruction on exactly once, in order, to its engine."""

import pytest
from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from kiwicha.hw.control.dispatch import DISPATCH_NUMBER, PROGRAM_WORD, Router
from kiwicha.machine.isa import END, ENGINES, Engine, ErrorCode, Opcode

from ..support.following import FollowedWord
from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted, join_ports

ALL = {Engine.LOAD: 2, Engine.COMPUTE: 3, Engine.VECTOR: 1, Engine.SPECIAL: 4, Engine.STORE: 2}
PLAIN = {engine: length for engine, length in ALL.items() if engine is not Engine.SPECIAL}


class BrokenRouter(Router):
    """Broken on purpose."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        super().__init__(PLAIN)

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        word, out = self.i.payload.word, m.submodules.out
        if self.fault == "later words are read as opcodes":
            with m.If(word[:4] == Opcode.STORE):
                m.d.comb += out.i.payload.engine.eq(1 << Engine.STORE)
        elif self.fault == "word to two engines":
            m.d.comb += out.i.payload.engine[0].eq(1)
        elif self.fault == "goes on after end":
            m.d.comb += self.i.ready.eq(out.i.ready)
        elif self.fault == "end with fields":
            with m.If(self.i.valid & (word == (1 << 63 | Opcode.END))):
                m.d.sync += [self.error.valid.eq(0), self.ended.eq(1)]
        elif self.fault == "waits for what is not there":
            with m.If((word[:4] == Opcode.VECTOR) & data.View(END, word).wait[Engine.SPECIAL]):
                m.d.comb += out.i.valid.eq(self.i.valid)
        return m


class RouterSpec(wiring.Component):
    """Counts the words of the current instruction itself, and follows the word of a number that the
    solver chooses."""

    i: In(stream.Signature(PROGRAM_WORD))
    o: Out(stream.Signature(64)).array(ENGINES)
    chosen: In(4)

    def __init__(self, dut: Router) -> None:
        self.dut = dut
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        join_ports(m, self, dut)
        moved = Cat(port.valid & port.ready for port in dut.o)
        word, opcode = self.i.payload.word, self.i.payload.word[:4]
        taken = self.i.valid & dut.i.ready

        # The source keeps the stream rules.
        held, payload = Signal(), Signal(PROGRAM_WORD)
        m.d.sync += [held.eq(self.i.valid & ~dut.i.ready), payload.eq(self.i.payload)]
        with m.If(first.started & held):
            m.d.comb += [
                Assume(self.i.valid),
                Assume(Value.cast(self.i.payload) == Value.cast(payload)),
            ]

        left, owner, over = Signal(3), Signal(3), Signal()
        begins, known, legal = Signal(), Signal(), Signal()
        target = Signal(3)
        engines = dut.lengths
        named = data.View(END, word).wait | data.View(END, word).signal
        absent = [named[number] for number in range(ENGINES) if number not in engines]
        m.d.comb += [
            begins.eq(left == 0),
            target.eq(owner),
            known.eq(Cat(opcode == Opcode[engine.name] for engine in engines).any()),
            legal.eq(known & ~Cat(absent).any()),
        ]
        for engine in engines:
            with m.If(begins & (opcode == Opcode[engine.name])):
                m.d.comb += target.eq(engine)
        with m.If(taken & begins & legal):
            lengths = Array(engines.get(Engine(number), 1) for number in range(ENGINES))
            m.d.sync += [left.eq(lengths[target] - 1), owner.eq(target)]
        with m.Elif(taken & ~begins):
            m.d.sync += left.eq(left - 1)
        with m.If(taken & begins & ~legal):
            m.d.sync += over.eq(1)

        offered = Cat(port.valid for port in dut.o)
        m.submodules.followed = followed = FollowedWord(64 + ENGINES)
        m.d.comb += [
            followed.chosen.eq(self.chosen),
            followed.put.eq(taken & (~begins | legal)),
            followed.got.eq(moved.any()),
            followed.word.eq(Cat(word, (1 << target)[:ENGINES])),
        ]
        put, got = followed.puts, followed.gots

        bad = taken & begins & ~legal & ~over
        is_end = opcode == Opcode.END
        verdict = data.StructLayout({
            "illegal": 1, "absent": 1, "fields": 1, "number": 3, "address": 64,
        })
        found, before = Signal(verdict), Signal(verdict)
        m.d.sync += [
            before.illegal.eq(bad & ~is_end & ~known),
            before.absent.eq(bad & known),
            before.number.eq(target),
            before.fields.eq(bad & is_end & (word[4:] != 0)),
            before.address.eq(self.i.payload.address),
            found.eq(before),
        ]
        ended = Signal()
        with m.If(bad & is_end & (word[4:] == 0)):
            m.d.sync += ended.eq(1)

        with m.If(first.started):
            m.d.comb += Assert(dut.ended == ended)
            m.d.comb += Assert(~(over & taken))
            with m.If(offered.any()):
                m.d.comb += Assert(put != got)
                with m.If(followed.due):
                    m.d.comb += Assert(offered == followed.kept[64:])
            with m.Else():
                m.d.comb += Assert(put == got)
            m.d.comb += Assert(dut.empty == (put == got))
            for index, port in enumerate(dut.o):
                with m.If(port.valid):
                    m.d.comb += Assert(offered == 1 << index)
                    with m.If(followed.due):
                        m.d.comb += Assert(port.payload == followed.kept[:64])
                waiting = Signal(name=f"waiting_{index}")
                m.d.sync += waiting.eq(port.valid & ~port.ready)
                with m.If(waiting):
                    m.d.comb += Assert(port.valid)
            error = dut.error
            m.d.comb += Assert(error.valid == (found.illegal | found.absent | found.fields))
            with m.If(found.illegal):
                m.d.comb += [
                    Assert(error.payload.code == ErrorCode.ILLEGAL_OPCODE),
                    Assert(error.payload.address == found.address),
                ]
            with m.If(found.absent):
                m.d.comb += [
                    Assert(error.payload.code == ErrorCode.ILLEGAL_FIELD),
                    Assert(error.payload.address == found.number),
                ]
            with m.If(found.fields):
                m.d.comb += [
                    Assert(error.payload.code == ErrorCode.ILLEGAL_FIELD),
                    Assert(error.payload.address == DISPATCH_NUMBER),
                ]
            # A word in the middle of an instruction may look like anything, END included.
            m.d.comb += [
                Cover(taken & ~begins & is_end & (owner == 1)),
                *([Cover(found.absent)] if absent else []),
                Cover(found.illegal),
                Cover(found.fields),
                Cover(dut.ended & self.i.valid & legal),
                *(Cover(moved[engine] & held) for engine in engines),
            ]
        return m


@pytest.mark.parametrize("lengths", [ALL, PLAIN])
def test_proved(lengths):
    assert_proved(RouterSpec(Router(lengths)), depth=8)


@pytest.mark.parametrize("lengths", [ALL, PLAIN])
def test_covered(lengths):
    assert_covered(RouterSpec(Router(lengths)), depth=8)


@pytest.mark.parametrize(
    "fault",
    [
        "later words are read as opcodes",
        "word to two engines",
        "goes on after end",
        "end with fields",
        "waits for what is not there",
    ],
)
def test_broken_is_refuted(fault):
    assert_refuted(RouterSpec(BrokenRouter(fault)), depth=8)
