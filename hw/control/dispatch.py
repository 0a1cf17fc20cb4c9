# SPDX-License-Identifier: Apache-2.0
"""Routes the words of a program to the queues of the engines that they are for."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out

from hw.config import AcceleratorConfig
from hw.control.fault import FaultSignature
from hw.control.queue import Queue
from hw.isa import END, ENGINES, INSTRUCTIONS, WORD_BITS, ErrorCode, Opcode

__all__ = ["DISPATCH_NUMBER", "PROGRAM_WORD", "Dispatch", "Router"]

PROGRAM_WORD = data.StructLayout({"word": WORD_BITS, "address": 64})
"""A word of a program and the byte address in memory that it came from."""

DISPATCH_NUMBER = ENGINES
"""What stands for the engine number in an ILLEGAL_FIELD fault of an END instruction."""


class Router(Component):
    """Sends each instruction's words, in order, to the output of its engine.

    The opcode in the low bits of an instruction's first word says which engine and how many words.
    Routing is combinational from ``i`` to ``o``: no latency, one word a cycle; an output that is
    not ready holds up the words of all. After END, or an illegal word, no word is taken any more
    until reset.

    Parameters
    ----------
    lengths
        Words of each opcode's instruction; the four engines' opcodes.

    Members
    -------
    i : In(stream.Signature(PROGRAM_WORD))
        The program.
    o : Out(stream.Signature(64)).array(4)
        Per engine.
    ended : Out(1)
        High from the cycle after END was taken.
    error : Out(FaultSignature)
        ILLEGAL_OPCODE with the word's address, or ILLEGAL_FIELD with DISPATCH_NUMBER for an END
        with any other bit set (``wait`` and ``signal`` included: END has no engine).
    """

    def __init__(self, lengths: dict[Opcode, int]) -> None:
        for opcode, length in lengths.items():
            if not 1 <= length <= 64:
                raise ValueError(f"length of {opcode.name} is {length}; legal: 1 to 64")
        self.lengths = dict(lengths)
        super().__init__({
            "i": In(stream.Signature(PROGRAM_WORD)),
            "o": Out(stream.Signature(WORD_BITS)).array(ENGINES),
            "ended": Out(1),
            "error": Out(FaultSignature),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = self.i.payload.word
        remaining = Signal(range(max(self.lengths.values())))
        engine, current = Signal(range(ENGINES)), Signal(range(ENGINES))
        words_after = Signal.like(remaining)
        known, halted = Signal(), Signal()
        with m.Switch(data.View(END, word).opcode):
            for number, (code, length) in enumerate(self.lengths.items()):
                with m.Case(code):
                    m.d.comb += [known.eq(1), current.eq(number), words_after.eq(length - 1)]
        with m.If(remaining != 0):
            m.d.comb += [known.eq(1), current.eq(engine), words_after.eq(remaining - 1)]

        offered = Signal()
        m.d.comb += offered.eq(self.i.valid & ~halted)
        for number, port in enumerate(self.o):
            m.d.comb += [
                port.valid.eq(offered & known & (current == number)),
                port.payload.eq(word),
            ]
            with m.If(known & (current == number)):
                m.d.comb += self.i.ready.eq(port.ready & ~halted)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [remaining.eq(words_after), engine.eq(current)]

        m.d.sync += self.error.valid.eq(0)
        with m.If(offered & ~known):
            m.d.sync += halted.eq(1)
            end = data.View(END, word)
            with m.If(end.opcode != Opcode.END):
                m.d.sync += [
                    self.error.valid.eq(1),
                    self.error.payload.code.eq(ErrorCode.ILLEGAL_OPCODE),
                    self.error.payload.address.eq(self.i.payload.address),
                ]
            with m.Elif(Cat(end.wait, end.signal, end.reserved0).any()):
                m.d.sync += [
                    self.error.valid.eq(1),
                    self.error.payload.code.eq(ErrorCode.ILLEGAL_FIELD),
                    self.error.payload.address.eq(DISPATCH_NUMBER),
                ]
            with m.Else():
                # The one word that only the router takes.
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += self.ended.eq(1)
        return m


class Dispatch(Component):
    """Router with a queue for each engine.

    Latency two cycles from a word's transfer to its engine's output.

    Parameters
    ----------
    cfg
        ``queue_words`` words per engine.

    Members
    -------
    i, o, ended, error
        As ``Router``; words wait in the queues, so ``o`` goes on after ``ended``.
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
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lengths: dict[Opcode, int] = {
            opcode: layout.size // WORD_BITS
            for opcode, layout in INSTRUCTIONS.items()
            if opcode != Opcode.END
        }
        m.submodules.router = router = Router(lengths)
        wiring.connect(m, wiring.flipped(self.i), router.i)
        wiring.connect(m, wiring.flipped(self.error), router.error)
        m.d.comb += self.ended.eq(router.ended)
        queues = [Queue(WORD_BITS, self.cfg.queue_words) for _ in range(ENGINES)]
        for number, (queue, routed, port) in enumerate(zip(queues, router.o, self.o, strict=True)):
            m.submodules[f"queue_{number}"] = queue
            wiring.connect(m, routed, queue.i)
            wiring.connect(m, queue.o, wiring.flipped(port))
        m.d.comb += self.empty.eq(Cat(queue.empty for queue in queues).all())
        return m
