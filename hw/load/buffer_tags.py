# SPDX-License-Identifier: Apache-2.0
"""A scratchpad whose lines have tags, which say how the numbers in them are quantized."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.ram import Ram
from kiwicha.hw.parts.slice import RegisterSlice
from kiwicha.machine.line_tags import LONGEST_SHIFT, TagFormat

__all__ = ["TAG", "BufferTags", "line_write", "tagged_run"]

#: A tag: the exponent, the bits of a code less one, and what the exponent is.
TAG = data.StructLayout({"exponent": signed(8), "width": 3, "format": TagFormat})


def line_write(line: int, lines: int, requantize: bool) -> data.StructLayout:
    """Return a write to one line: all of it, or with ``requantize`` bytes ``head`` to ``tail``;
    ``fresh`` says that the rest of the line is void."""
    part = {"head": range(line), "tail": range(line), "fresh": 1} if requantize else {}
    return data.StructLayout({
        "line": range(lines), "tag": TAG, "data": data.ArrayLayout(signed(8), line), **part,
    })


def tagged_run(line: int) -> data.StructLayout:
    """Return ``line`` bytes from any address on: the first ``border`` of them lie in a line whose
    tag is ``lower``, the others, if there are any, in the next one, of tag ``upper``."""
    return data.StructLayout({
        "lanes": data.ArrayLayout(signed(8), line),
        "border": range(1, line + 1),
        "lower": TAG,
        "upper": TAG,
    })


class BufferTags(Component):
    """Quantized buffer control, after Cambricon-Q: `golden.buffer_tags` says what is written.

    Even and odd lines lie in memories of their own, so that a run of a line's length is read in one
    cycle wherever it begins; it wraps at the end. One run a cycle, the first two cycles after its
    address was taken. A read sees the writes that were taken ``write_latency`` or more cycles ago
    and no later ones; it means nothing when one of ``write_latency`` - 1 cycles ago meets it.

    A write that has to read a line's old contents holds a ``read`` off in its cycle, and waits, up
    to two cycles, while one of the two writes before it is under way to the same line. All others
    are taken at once. No reset of what is stored.

    Parameters
    ----------
    line : bytes of a line, a power of two, 2 to 128.
    lines : a power of two, at least 4.
    requantize : whether a write may cover a part of a line and have another exponent than it.
    write_latency : 1 cycle, or 3 with ``requantize``.

    Members
    -------
    write : In(stream.Signature(line_write(line, lines, requantize)))
        Always ready without ``requantize``. With it, ``ready`` depends on the payload.
    mixed : Out(1)
        Two cycles after a write to a part of a line was taken: its width or format is not the
        line's, or its exponent differs and is not of 2, and it has not been written. Only with
        ``requantize``.
    read : In(stream.Signature(range(line * lines)))
        Byte address of lane 0. ``ready`` sees ``o.ready`` and ``write`` of the same cycle.
    o : Out(stream.Signature(tagged_run(line)))

    Raises
    ------
    ValueError
        For a line or lines out of range.
    """

    def __init__(self, line: int, lines: int, *, requantize: bool = False) -> None:
        if line not in (2, 4, 8, 16, 32, 64, 128):
            raise ValueError(f"line is {line}; legal: a power of two, 2 to 128")
        if lines < 4 or lines & (lines - 1):
            raise ValueError(f"lines is {lines}; legal: a power of two, at least 4")
        self.line = line
        self.lines = lines
        self.requantize = requantize
        self.write_latency = 3 if requantize else 1
        self._write = line_write(line, lines, requantize)
        super().__init__({
            "write": In(stream.Signature(self._write, always_ready=not requantize)),
            **({"mixed": Out(1)} if requantize else {}),
            "read": In(stream.Signature(range(line * lines))),
            "o": Out(stream.Signature(tagged_run(line))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        banks = [self._bank(m, parity) for parity in (0, 1)]
        # Whether this cycle's reads are for a write, and the line that it reads.
        fetch = Signal()
        self._read(m, banks, fetch)
        if self.requantize:
            self._requantize(m, banks, fetch)
        else:
            write = self.write.payload
            whole = self.write.valid.replicate(self.line)
            _store(m, banks, write.line, whole, write.data.as_value(), write.tag.as_value())
        return m

    def _bank(self, m: Module, parity: int) -> tuple[Ram, Ram]:
        """Return the codes and the tags of every second line."""
        depth = self.lines // 2
        codes = Ram(8 * self.line, depth, granularity=8, registered=False)
        tags = Ram(TAG.size, depth, registered=False)
        m.submodules[f"codes_{parity}"] = codes
        m.submodules[f"tags_{parity}"] = tags
        return codes, tags

    def _read(self, m: Module, banks: Sequence[tuple[Ram, Ram]], fetch: Value) -> None:
        """Cycle 1: the memories. Cycle 2: the run, into a slice that always has room for it."""
        bits = exact_log2(self.line)
        number, offset = self.read.payload[bits:], self.read.payload[:bits]
        taken, left = Signal(), Signal()
        held = Signal(range(3))
        m.d.comb += [
            left.eq(self.o.valid & self.o.ready),
            self.read.ready.eq(~fetch & ((held != 2) | left)),
            taken.eq(self.read.valid & self.read.ready),
        ]
        m.d.sync += held.eq(held + taken - left)
        # The even line of the two is the next one where the run begins in an odd one.
        even = (number + number[0])[1 : len(number)]
        for bank, row in zip(banks, (even, number[1:]), strict=True):
            for memory in bank:
                m.d.comb += [
                    memory.read.eq(fetch | taken),
                    memory.read_address.eq(Mux(fetch, self.write.payload.line[1:], row)),
                ]
        s1_valid, s1_odd = Signal(), Signal()
        s1_offset = Signal(bits)
        m.d.sync += [s1_valid.eq(taken), s1_odd.eq(number[0]), s1_offset.eq(offset)]
        m.submodules.slice = slice_ = RegisterSlice(tagged_run(self.line))
        wiring.connect(m, slice_.o, wiring.flipped(self.o))
        codes = Mux(s1_odd, Cat(banks[1][0].read_data, banks[0][0].read_data),
                    Cat(banks[0][0].read_data, banks[1][0].read_data))
        run, tags = slice_.i.payload, [bank[1].read_data for bank in banks]
        m.d.comb += [
            slice_.i.valid.eq(s1_valid),
            run.lanes.as_value().eq(_bytes_from(m, codes, s1_offset, self.line)),
            run.border.eq(self.line - s1_offset),
            run.lower.as_value().eq(Mux(s1_odd, tags[1], tags[0])),
            run.upper.as_value().eq(Mux(s1_odd, tags[0], tags[1])),
        ]

    def _requantize(self, m: Module, banks: Sequence[tuple[Ram, Ram]], fetch: Signal) -> None:
        """Cycle 1: the line's old contents. Cycle 2: which codes move how far. Cycle 3: write."""
        write = self.write.payload
        s1_valid, s1_part, s2_valid = Signal(), Signal(), Signal()
        s1, s2_line = Signal(self._write), Signal.like(write.line)
        part, met = Signal(), Signal()
        whole = (write.head == 0) & (write.tail == self.line - 1)
        m.d.comb += [
            part.eq(~write.fresh & ~whole),
            met.eq((s1_valid & (s1.line == write.line)) | (s2_valid & (s2_line == write.line))),
            self.write.ready.eq(~(part & met)),
            fetch.eq(self.write.valid & part & ~met),
        ]
        m.d.sync += [s1_valid.eq(self.write.valid & self.write.ready), s1_part.eq(part),
                     s1.eq(write)]

        old_codes, old_tag = Signal(data.ArrayLayout(signed(8), self.line)), Signal(TAG)
        (even, even_tag), (odd, odd_tag) = banks
        m.d.comb += [
            old_codes.as_value().eq(Mux(s1.line[0], odd.read_data, even.read_data)),
            old_tag.as_value().eq(Mux(s1.line[0], odd_tag.read_data, even_tag.read_data)),
        ]
        difference = Signal(signed(9))
        mixed, old_moves, new_moves = Signal(), Signal(), Signal()
        other = (s1.tag.width != old_tag.width) | (s1.tag.format != old_tag.format)
        unlike = (difference != 0) & (s1.tag.format != TagFormat.POWER)
        m.d.comb += [
            difference.eq(s1.tag.exponent - old_tag.exponent),
            mixed.eq(s1_valid & s1_part & (other | unlike)),
            old_moves.eq(s1_part & (difference > 0)),
            new_moves.eq(s1_part & (difference < 0)),
        ]
        distance = Mux(new_moves, -difference, difference)[:9]
        covered = Cat((s1.head <= k) & (s1.tail >= k) for k in range(self.line))
        s2_codes = Signal.like(old_codes)
        s2_moves, s2_written = Signal(self.line), Signal(self.line)
        s2_amount = Signal(range(LONGEST_SHIFT + 1))
        s2_tag = Signal(TAG)
        m.d.sync += [
            self.mixed.eq(mixed),
            s2_valid.eq(s1_valid & ~mixed),
            s2_line.eq(s1.line),
            s2_tag.eq(Mux(new_moves, old_tag, s1.tag)),
            s2_amount.eq(Mux(distance > LONGEST_SHIFT, LONGEST_SHIFT, distance)),
            s2_written.eq(covered | old_moves.replicate(self.line)),
            s2_moves.eq(Mux(old_moves, ~covered, new_moves.replicate(self.line))),
            *(
                s2_codes[k].eq(Mux(covered[k], s1.data[k], old_codes[k]))
                for k in range(self.line)
            ),
        ]
        results = Signal(data.ArrayLayout(8, self.line))
        m.d.comb += [
            results[k].eq(Mux(s2_moves[k], _shifted(s2_codes[k], s2_amount), s2_codes[k]))
            for k in range(self.line)
        ]
        enable = s2_written & s2_valid.replicate(self.line)
        _store(m, banks, s2_line, enable, results.as_value(), s2_tag.as_value())


def _store(
    m: Module, banks: Sequence[tuple[Ram, Ram]], line: Value, enable: Value, codes: Value,
    tag: Value,
) -> None:
    """Write the bytes that are enabled, and the tag if any is, to a line in its bank."""
    for parity, (memory, tags) in enumerate(banks):
        here = line[0] == parity
        m.d.comb += [
            memory.write.eq(enable & here.replicate(len(enable))),
            memory.write_address.eq(line[1:]),
            memory.write_data.eq(codes),
            tags.write.eq(enable.any() & here),
            tags.write_address.eq(line[1:]),
            tags.write_data.eq(tag),
        ]


def _bytes_from(m: Module, codes: Value, offset: Value, count: int) -> Value:
    """Return ``count`` bytes from byte ``offset`` on, the farthest moves first, of as few bytes as
    those behind them may need."""
    for bit in reversed(range(len(offset))):
        left = 8 * (count + (1 << bit) - 1)
        level = Signal(left, name=f"moved_{bit}")
        m.d.comb += level.eq(Mux(offset[bit], codes[8 << bit :][:left], codes[:left]))
        codes = level
    return codes


def _shifted(code: Value, amount: Value) -> Value:
    """Return an int8 shifted right by up to 8 bits, rounded half to even."""
    wide = Cat(Const(0, 8), code).as_signed() >> amount
    up = wide[7] & (wide[:7].any() | wide[8])
    return (wide[8:16] + up)[:8]
