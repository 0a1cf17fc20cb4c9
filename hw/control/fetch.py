# SPDX-License-Identifier: Apache-2.0
"""Reads the program from memory, ahead of its use, and hands it out word by word."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.control.dispatch import DISPATCH_NUMBER, PROGRAM_WORD
from kiwicha.hw.parts.axi import REQUEST, read_beat
from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.hw.parts.queue import Queue
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import WORD_BITS, ErrorCode
from kiwicha.machine.latency import program_chunk

__all__ = ["FETCH_NUMBER", "Fetch"]

FETCH_NUMBER = DISPATCH_NUMBER + 1
"""What stands for the engine number in an ILLEGAL_FIELD fault of the program registers."""

_CHUNKS = 2
_WORD_BYTES = WORD_BITS // 8


class _Progress:
    """How far the program is, counted from its start: all is 0 after reset, nothing is loaded."""

    def __init__(self, beat_bytes: int, chunk_beats: int, room: int) -> None:
        bits = 33 - exact_log2(beat_bytes)
        self.total = Signal(bits)  #: beats of the program
        self.chunks = Signal(bits - exact_log2(chunk_beats))  #: asked for
        self.active, self.final, self.finished = Signal(), Signal(), Signal()
        self.complete = Signal()  #: everything was asked for
        self.reserved = Signal(range(room + 1))  #: beats of the buffer, used or to be
        self.freed = Signal()
        self.tail = Signal(range(max(2, beat_bytes // _WORD_BYTES)))  #: last word of the last beat


class Fetch(Component):
    """Requests the program in chunks, only as many beats as its own buffer has room for.

    Read data therefore never waits here: ``data.ready`` is always high. Whole beats are read, so
    the last one may reach up to a beat less a word beyond the program. Words come out at one a
    cycle while memory keeps up; two chunks of 128 bytes (or one burst) are in flight or buffered.

    Parameters
    ----------
    cfg : ``axi_data_width``, ``axi_address_width`` and ``axi_burst_beats``.

    Members
    -------
    go : In(1)
        Pulse: fetch the program at ``address`` (a multiple of the beat), ``length`` bytes long (a
        multiple of 8). Only once after each reset; both stay as they are from then on.
    request : Out(stream.Signature(REQUEST))
        Runs of beats to read.
    data : In(stream.Signature(read_beat(cfg)))
        The beats read.
    words : Out(stream.Signature(PROGRAM_WORD))
        The program.
    ended : In(1)
        END was taken: request nothing more. High from the cycle after that word's transfer.
    stop : In(1)
        Request nothing more; a request already offered stays.
    busy : Out(1)
        A request is offered or beats are due.
    error : Out(FaultSignature)
        PROGRAM_END, with the address after the program, when all words were taken and ``ended``
        is low; ILLEGAL_FIELD with FETCH_NUMBER for an address or length that is not aligned.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.chunk_beats = program_chunk(cfg)
        super().__init__({
            "go": In(1),
            "address": In(cfg.axi_address_width),
            "length": In(32),
            "request": Out(stream.Signature(REQUEST)),
            "data": In(stream.Signature(read_beat(cfg))),
            "words": Out(stream.Signature(PROGRAM_WORD)),
            "ended": In(1),
            "stop": In(1),
            "busy": Out(1),
            "error": Out(FaultSignature),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat_bytes = self.cfg.beat_bytes
        room = max(2, _CHUNKS * self.chunk_beats)
        m.submodules.buffer = buffer = Queue.of_machine(self.cfg, self.cfg.axi_data_width, room)
        progress = _Progress(beat_bytes, self.chunk_beats, room)
        self._begin_and_end(m, progress)
        self._request_chunks(m, progress, buffer, room)
        self._hand_out_words(m, progress, buffer)
        return m

    def _begin_and_end(self, m: Module, now: _Progress) -> None:
        """Read the program's place from registers; say when all of it was asked for and taken."""
        beat_bits = exact_log2(self.cfg.beat_bytes)
        chunk_bits = exact_log2(self.chunk_beats)
        words = self.length[3:]
        misaligned = (self.address[:beat_bits] != 0) | (self.length[:3] != 0)
        # What the length says, from registers: nothing begins in the cycle after `go`.
        beats = words
        if self.cfg.beat_bytes > _WORD_BYTES:
            beats = self.length[beat_bits:] + words[: beat_bits - 3].any()
        even, begin = Signal(), Signal()
        m.d.sync += [
            now.total.eq(beats),
            even.eq(beats[:chunk_bits] == 0),
            now.tail.eq(words - 1),
            begin.eq(self.go & ~misaligned),
        ]
        exhausted = Signal()
        m.d.comb += [
            now.complete.eq(now.finished | (now.final & even)),
            exhausted.eq(now.complete & (now.reserved == 0) & ~self.words.valid),
        ]
        # Without an enable: what is reported counts for a cycle only.
        error = self.error.payload
        m.d.sync += [
            self.error.valid.eq(0),
            error.code.eq(Mux(now.active, ErrorCode.PROGRAM_END, ErrorCode.ILLEGAL_FIELD)),
            error.address.eq(Mux(now.active, self.words.payload.address, FETCH_NUMBER)),
        ]
        with m.If(self.go & misaligned):
            m.d.sync += self.error.valid.eq(1)
        with m.If(begin):
            m.d.sync += now.active.eq(1)
        with m.If(now.active & exhausted):
            m.d.sync += now.active.eq(0)
            with m.If(~self.ended):
                m.d.sync += self.error.valid.eq(1)

    def _request_chunks(self, m: Module, now: _Progress, buffer: Queue, room: int) -> None:
        """Ask for a chunk if the buffer has room: from its request until its last word leaves."""
        beat_bits = exact_log2(self.cfg.beat_bytes)
        chunk_bits = exact_log2(self.chunk_beats)
        due = Signal(range(room + 1))
        chunk = Signal(range(self.chunk_beats + 1))
        asked, arrived, awaiting = Signal(), Signal(), Signal()
        m.d.comb += [
            chunk.eq(Mux(now.final, now.total[:chunk_bits], self.chunk_beats)),
            asked.eq(
                now.active
                & ~now.complete
                & (now.reserved <= room - self.chunk_beats)
                & ~self.request.valid
                & ~self.ended
                & ~self.stop
            ),
            arrived.eq(self.data.valid & awaiting),
        ]
        # No two chunks are asked for one right after the other, so this is in time.
        m.d.sync += now.final.eq(now.chunks == now.total[chunk_bits:])
        base = self.address[beat_bits:]
        with m.If(asked):
            m.d.sync += [
                self.request.valid.eq(1),
                self.request.payload.address[beat_bits : self.cfg.axi_address_width].eq(
                    Cat(base[:chunk_bits], base[chunk_bits:] + now.chunks)
                ),
                self.request.payload.beats.eq(chunk),
                now.chunks.eq(now.chunks + 1),
                now.finished.eq(now.final),
            ]
        with m.Elif(self.request.ready):
            m.d.sync += self.request.valid.eq(0)
        granted = Signal(range(self.chunk_beats + 1))
        with m.If(asked):
            m.d.comb += granted.eq(chunk)
        m.d.sync += [
            due.eq(due + granted - arrived),
            awaiting.eq(asked | (due > 1) | ((due == 1) & ~arrived)),
            now.reserved.eq(now.reserved + granted - now.freed),
        ]
        m.d.comb += [
            buffer.i.valid.eq(arrived),
            buffer.i.payload.eq(self.data.payload.data),
            self.data.ready.eq(1),
            self.busy.eq(self.request.valid | awaiting),
        ]

    def _hand_out_words(self, m: Module, now: _Progress, buffer: Queue) -> None:
        """Block RAM is slow, and what routes a word is not fast either: a register between them."""
        per_beat = self.cfg.beat_bytes // _WORD_BYTES
        taken = Signal(32 - exact_log2(_WORD_BYTES))
        index = Signal(range(max(2, per_beat)))
        moved, last_beat = Signal(), Signal()
        m.d.comb += [
            moved.eq(buffer.o.valid & (~self.words.valid | self.words.ready)),
            last_beat.eq(now.complete & (now.reserved == 1)),
            now.freed.eq(moved & ((index == per_beat - 1) | (last_beat & (index == now.tail)))),
            buffer.o.ready.eq(now.freed),
            self.words.payload.address.eq(
                Cat(Const(0, 3), self.address[3:] + taken)[: self.cfg.axi_address_width]
            ),
        ]
        with m.If(self.words.ready):
            m.d.sync += self.words.valid.eq(0)
        with m.If(self.words.valid & self.words.ready):
            m.d.sync += taken.eq(taken + 1)
        with m.If(moved):
            m.d.sync += [
                self.words.valid.eq(1),
                self.words.payload.word.eq(buffer.o.payload.word_select(index, WORD_BITS)),
                index.eq(index + 1),
            ]
        if per_beat == 1:
            m.d.sync += index.eq(0)
