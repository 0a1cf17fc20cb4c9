# SPDX-License-Identifier: Apache-2.0
"""Image rows byte by byte beside each other: the bytes of a run, so many apart."""

from functools import reduce
from operator import add

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.format_rules import format_job
from kiwicha.hw.parts.writes import bank_write
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["InterleaveWriter", "run_layout"]


def run_layout(beat_bytes: int) -> data.StructLayout:
    """Return a beat of which bytes ``head`` to ``tail`` count; ``fresh`` begins a run, ``last``
    ends the instruction."""
    return data.StructLayout({
        "data": 8 * beat_bytes,
        "head": range(beat_bytes),
        "tail": range(beat_bytes),
        "fresh": 1,
        "last": 1,
    })


class InterleaveWriter(Component):
    """Writes byte i of a run to place ``local`` + i * ``extent``, as INTERLEAVED says.

    As many rows as there are, an odd number, never bring two bytes of a beat to the same bank: byte
    i goes to bank i * extent, moved on by the place of byte 0. So a beat is shuffled in one of a
    few ways, then turned.

    Latency: five cycles from a beat to its write. Throughput: a beat a cycle.

    Parameters
    ----------
    cfg : ``interleave.rows``, ``axi_data_width`` and ``activation_bytes``.

    Members
    -------
    job : In(stream.Signature(format_job(cfg)))
        Starts an instruction, whose beats follow on ``i``.
    i : In(stream.Signature(run_layout(beat_bytes)))
    write : Out(stream.Signature(bank_write(cfg), always_ready=True))
    done : Out(1)
        High for one cycle, that of the last write.
    outside : Out(1)
        High for one cycle, three after a beat that has a byte outside the memory came. It and what
        follows is not written until reset.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "job": In(stream.Signature(format_job(cfg))),
            "i": In(stream.Signature(run_layout(cfg.beat_bytes))),
            "write": Out(stream.Signature(bank_write(cfg), always_ready=True)),
            "done": Out(1),
            "outside": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        active, chosen = Signal(), Signal(len(self.cfg.interleave.rows))
        s1 = self._place(m, active, chosen)
        self._write(m, active, chosen, s1)
        return m

    def _place(self, m: Module, active: Signal, chosen: Signal) -> data.View:
        """Cycle 1: where is byte 0 of a beat? ``stray`` says that the run begins outside."""
        rows, beat = self.cfg.interleave.rows, self.cfg.beat_bytes
        place_bits = exact_log2(self.cfg.activation_bytes)
        job = self.job.payload
        line, pitch = Signal(signed(34)), Signal(signed(32))
        # Byte 0 of a run's first beat may lie before the memory, that of its last one behind it.
        s1 = Signal(data.StructLayout({
            "valid": 1, "part": self.i.payload.shape(), "base": signed(place_bits + 2), "stray": 1,
        }))
        taken = Signal()
        m.d.comb += [
            self.job.ready.eq(~active),
            self.i.ready.eq(active),
            taken.eq(self.i.valid & self.i.ready),
        ]
        before = self._before(chosen)
        step = _selected(chosen, [beat * each for each in rows])
        m.d.sync += s1.valid.eq(taken)
        with m.If(taken):
            m.d.sync += [
                s1.part.eq(self.i.payload),
                s1.base.eq(Mux(self.i.payload.fresh, line - before, s1.base + step)),
            ]
            with m.If(self.i.payload.fresh):
                m.d.sync += [line.eq(line + pitch), s1.stray.eq(line[place_bits:].any())]
        with m.If(self.job.valid & self.job.ready):
            m.d.sync += [
                active.eq(1),
                line.eq(Cat(job.low, job.row)),
                pitch.eq(Cat(job.low_pitch, job.row_pitch)),
                *(bit.eq(job.extent == each) for bit, each in zip(chosen, rows, strict=True)),
            ]
        return s1

    def _write(self, m: Module, active: Signal, chosen: Signal, s1: data.View) -> None:
        """Cycle 2: shuffle, and is the beat inside? Cycles 3 and 4: turn. Cycle 5: which words?"""
        rows, beat, banks = self.cfg.interleave.rows, self.cfg.beat_bytes, self.cfg.activation_banks
        bits, place_bits = exact_log2(banks), exact_log2(self.cfg.activation_bytes)
        far = (max(rows) * (beat - 1) // banks).bit_length()
        byte = data.StructLayout({"octet": 8, "live": 1, "words": max(1, far)})
        shuffled = Signal(data.ArrayLayout(byte, banks))
        half, turned = Signal.like(shuffled), Signal.like(shuffled)

        part, end = s1.part, Signal(signed(place_bits + 3))
        after = _selected(chosen, [_times(part.tail, each) for each in rows])
        going, wrong, failed, last = Signal(), Signal(), Signal(), Signal(3)
        m.d.comb += [
            end.eq(s1.base + after),
            self.outside.eq(going & wrong & ~failed),
        ]
        s2 = Signal(place_bits)
        m.d.sync += [
            going.eq(s1.valid),
            wrong.eq(s1.stray | end[place_bits:].any()),
            failed.eq(failed | (going & wrong)),
            s2.eq(s1.base),
            last.eq(Cat(s1.valid & part.last, last[:-1])),
        ]
        places = [{index * each % banks: index for index in range(beat)} for each in rows]
        for bank in range(banks):
            ways: list[Value] = []
            for each, place in zip(rows, places, strict=True):
                index = place.get(bank)
                way = Signal(byte, name=f"way_{bank}_{each}")
                if index is not None:
                    m.d.comb += [
                        way.octet.eq(part.data.word_select(index, 8)),
                        way.live.eq((part.head <= index) & (part.tail >= index)),
                        way.words.eq(index * each // banks),
                    ]
                ways.append(way.as_value())
            m.d.sync += shuffled[bank].as_value().eq(_selected(chosen, ways))

        valid = Signal(2)
        low, s3, s4 = -(-bits // 2), Signal(place_bits), Signal(place_bits)
        m.d.sync += [
            valid.eq(Cat(going & ~wrong & ~failed, valid[:-1])),
            s3.eq(s2),
            s4.eq(s3),
            half.as_value().eq(_turned(shuffled.as_value(), s2[:low], byte.size)),
            turned.as_value().eq(_turned(half.as_value(), s3[low:bits], byte.size << low)),
            self.write.valid.eq(valid[1]),
            self.done.eq(last[2] & valid[1]),
        ]
        for bank in range(banks):
            beside = self.write.payload[bank]
            m.d.sync += [
                beside.octet.eq(turned[bank].octet),
                beside.live.eq(turned[bank].live),
                beside.word.eq(self._word(s4, turned[bank].words, bits, bank)),
            ]
        with m.If(self.done):
            m.d.sync += active.eq(0)

    def _before(self, chosen: Signal) -> Value:
        """Return how far the first byte of a run lies behind byte 0 of its beat."""
        head = self.i.payload.head
        return _selected(chosen, [_times(head, each) for each in self.cfg.interleave.rows])

    def _word(self, place: Signal, words: Value, bits: int, bank: int) -> Value:
        """Return the word of a bank's byte: banks before that of byte 0 have gone around."""
        return place[bits:] + words + (place[:bits] > bank)


def _selected(chosen: Signal, values: list[Value] | list[int]) -> Value:
    """Return the value whose bit is set in ``chosen``."""
    result: Value = Value.cast(values[0])
    for bit, value in zip(list(chosen)[1:], values[1:], strict=True):
        result = Mux(bit, value, result)
    return result


def _times(value: Value, number: int) -> Value:
    """Return a product as a sum, which takes no multiplier."""
    terms = [value << bit for bit in range(number.bit_length()) if number >> bit & 1]
    return reduce(add, terms)


def _turned(value: Value, steps: Value, step: int) -> Value:
    """Return ``value`` rotated left by ``steps`` times ``step`` bits."""
    for place, bit in enumerate(steps):
        value = Mux(bit, value.rotate_left(step << place), value)
    return value
