# SPDX-License-Identifier: Apache-2.0
"""Routes the words of a program to the queues of the engines that they are for."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.control.engines import machine_engines
from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.hw.parts.queue import Queue
from kiwicha.hw.parts.slice import RegisterSlice
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import (
    END,
    ENGINES,
    INSTRUCTION_WORDS,
    WORD_BITS,
    Engine,
    ErrorCode,
    Opcode,
)

__all__ = ["DISPATCH_NUMBER", "PROGRAM_WORD", "Dispatch", "Router"]

PROGRAM_WORD = data.StructLayout({"word": WORD_BITS, "address": 64})
"""A word of a program and the byte address in memory that it came from."""

DISPATCH_NUMBER = ENGINES
"""What stands for the engine number in an ILLEGAL_FIELD fault of an END instruction."""


class Router(Component):
    """Sends each instruction's words, in order, to the output of its engine.

    The opcode in the low bits of an instruction's first word says which engine and how many words.
    Latency one cycle, one word a cycle; an output that is not ready holds up the words of all. END
    or an illegal word is the last word that is taken until reset.

    Parameters
    ----------
    lengths : words of an instruction of each engine that the machine has.
    full_slice : kind of the register slice in front of the outputs.

    Members
    -------
    i : In(stream.Signature(PROGRAM_WORD))
        The program.
    o : Out(stream.Signature(64)).array(ENGINES)
        Per engine; never valid for one that the machine has not.
    ended : Out(1)
        High from the cycle after END was taken.
    empty : Out(1)
        No word waits here.
    error : Out(FaultSignature)
        Two cycles after the word's transfer: ILLEGAL_OPCODE with the word's address, also for an
        engine that the machine has not. ILLEGAL_FIELD with the instruction's engine for one that
        waits for, or signals, an engine that the machine has not; with DISPATCH_NUMBER for an END
        with any other bit set (``wait`` and ``signal`` included: END has no engine).
    """

    def __init__(
        self, lengths: Mapping[Engine, int], full_slice: bool = True
    ) -> None:
        for engine, length in lengths.items():
            if not 1 <= length <= 64:
                raise ValueError(f"length of {engine.name} is {length}; legal: 1 to 64")
        self.lengths = dict(lengths)
        self.full_slice = full_slice
        super().__init__({
            "i": In(stream.Signature(PROGRAM_WORD)),
            "o": Out(stream.Signature(WORD_BITS)).array(ENGINES),
            "ended": Out(1),
            "empty": Out(1),
            "error": Out(FaultSignature),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        routed_word = data.StructLayout({"word": WORD_BITS, "engine": ENGINES})
        m.submodules.out = out = RegisterSlice(routed_word, self.full_slice)
        word = self.i.payload.word
        remaining = Signal(range(max(self.lengths.values())))
        engine, current = Signal(range(ENGINES)), Signal(range(ENGINES))
        words_after = Signal.like(remaining)
        known, refused, halted = Signal(), Signal(), Signal()
        header = data.View(END, word)
        absent = sum(1 << number for number in Engine if number not in self.lengths)
        with m.Switch(header.opcode):
            for number, length in self.lengths.items():
                with m.Case(Opcode[number.name]):
                    m.d.comb += [
                        known.eq(1),
                        refused.eq(((header.wait | header.signal) & absent) != 0),
                        current.eq(number),
                        words_after.eq(length - 1),
                    ]
        with m.If(remaining != 0):
            m.d.comb += [
                known.eq(1),
                refused.eq(0),
                current.eq(engine),
                words_after.eq(remaining - 1),
            ]

        taken, routed = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(out.i.ready & ~halted),
            taken.eq(self.i.valid & self.i.ready),
            routed.eq(known & ~refused),
            out.i.valid.eq(self.i.valid & ~halted & routed),
            out.i.payload.word.eq(word),
            self.empty.eq(~out.o.valid),
        ]
        with m.If(taken):
            m.d.sync += [remaining.eq(words_after), engine.eq(current)]
        ready = Signal(ENGINES)
        for number in self.lengths:
            port = self.o[number]
            m.d.comb += [
                out.i.payload.engine[number].eq(current == number),
                port.valid.eq(out.o.valid & out.o.payload.engine[number]),
                port.payload.eq(out.o.payload.word),
                ready[number].eq(port.ready),
            ]
        m.d.comb += out.o.ready.eq((ready & out.o.payload.engine).any())

        # What is reported, a cycle later and without an enable: it counts for a cycle only.
        faulty, unknown, number = Signal(), Signal(), Signal(range(DISPATCH_NUMBER + 1))
        address = Signal.like(self.i.payload.address)
        m.d.sync += [
            faulty.eq(0),
            unknown.eq(~known & (header.opcode != Opcode.END)),
            number.eq(Mux(known, current, DISPATCH_NUMBER)),
            address.eq(self.i.payload.address),
        ]
        m.d.sync += [
            self.error.valid.eq(faulty),
            self.error.payload.code.eq(
                Mux(unknown, ErrorCode.ILLEGAL_OPCODE, ErrorCode.ILLEGAL_FIELD)
            ),
            self.error.payload.address.eq(Mux(unknown, address, number)),
        ]
        with m.If(taken & ~routed):
            m.d.sync += halted.eq(1)
            fields = Cat(header.wait, header.signal, header.reserved0).any()
            with m.If(known | (header.opcode != Opcode.END) | fields):
                m.d.sync += faulty.eq(1)
            with m.Else():
                m.d.sync += self.ended.eq(1)
        return m


class Dispatch(Component):
    """Router with a queue for each engine that the machine has.

    Latency four cycles from a word's transfer to its engine's output.

    Parameters
    ----------
    cfg : ``queue_words`` words per engine; ``special.lanes`` says whether there is SPECIAL.

    Members
    -------
    i, o, ended, error : as ``Router``; words wait in the queues, so ``o`` goes on after ``ended``.
    empty : Out(1)
        No queue holds a word.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(PROGRAM_WORD)),
            "o": Out(stream.Signature(WORD_BITS)).array(ENGINES),
            "ended": Out(1),
            "empty": Out(1),
            "error": Out(FaultSignature),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lengths = {
            engine: INSTRUCTION_WORDS[Opcode[engine.name]]
            for engine in machine_engines(self.cfg)
        }
        m.submodules.router = router = Router(lengths, "slice" in self.cfg.pipeline)
        wiring.connect(m, wiring.flipped(self.i), router.i)
        wiring.connect(m, wiring.flipped(self.error), router.error)
        m.d.comb += self.ended.eq(router.ended)
        queues = {
            engine: Queue.of_machine(self.cfg, WORD_BITS, self.cfg.queue_words)
            for engine in lengths
        }
        for engine, queue in queues.items():
            m.submodules[f"queue_{engine.name.lower()}"] = queue
            wiring.connect(m, router.o[engine], queue.i)
            wiring.connect(m, queue.o, wiring.flipped(self.o[engine]))
        m.d.comb += self.empty.eq(
            router.empty & Cat(queue.empty for queue in queues.values()).all()
        )
        return m
