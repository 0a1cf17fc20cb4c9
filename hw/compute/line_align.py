# SPDX-License-Identifier: Apache-2.0
"""Exponents of the activation scratchpad's lines, and lanes of several lines in one unit."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.ram import Ram
from kiwicha.machine.line_tags import LONGEST_SHIFT, tag_banks

__all__ = ["LineAlign"]


class LineAlign(Component):
    """Keeps an exponent for each line of ``beat`` bytes, and brings a run's lanes to one unit.

    After the quantized buffer control of Cambricon-Q (ISCA 2021), aligned: what is quantized
    together fills whole lines. A run may begin anywhere and cover several lines; each lane is what
    its own line says (`golden.line_align`). Exponents of consecutive lines lie in banks of their
    own. Lanes ``latency`` cycles later than without; one run a cycle; no back-pressure, no reset
    of what is stored.

    Parameters
    ----------
    rows : lanes, 1 to 128.
    beat : bytes of a line, a power of two, at least 2.
    lines : a power of two, at least twice `machine.line_tags.tag_banks`.
    bytes_after : cycles from ``address`` to ``bytes``, at least 4.
    latency : 2 cycles.

    Members
    -------
    write : In(stream.Signature({line, exponents}, always_ready=True))
        The exponents of ``beat`` lines from ``line`` on, a multiple of ``beat``; they are there for
        addresses from the next cycle on. In a cycle, and the one before, in which a run is asked
        for its exponents are not to be written.
    address : In(range(beat * lines))
        Byte address of lane 0; runs wrap at the end.
    begin : In(1)
        ``on`` and ``unit`` count from this cycle's address on; at least 2 cycles apart from it
        nothing else is looked at.
    on, unit : In(1), In(signed(8))
        Whether lanes are brought to units of 2^unit; else they are as they are.
    bytes : In(ArrayLayout(8, rows))
    lanes : Out(ArrayLayout(8, rows))
    """

    latency = 2

    def __init__(self, rows: int, beat: int, lines: int, bytes_after: int) -> None:
        self.banks = tag_banks(rows, beat)
        if lines & (lines - 1) or lines < 2 * self.banks:
            raise ValueError(f"lines is {lines}; legal: a power of two, at least {2 * self.banks}")
        if bytes_after < 4:
            raise ValueError(f"bytes_after is {bytes_after}; legal: at least 4")
        self.rows, self.beat, self.lines, self.bytes_after = rows, beat, lines, bytes_after
        write = data.StructLayout({
            "line": range(lines), "exponents": data.ArrayLayout(signed(8), beat),
        })
        super().__init__({
            "write": In(stream.Signature(write, always_ready=True)),
            "address": In(range(beat * lines)),
            "begin": In(1),
            "on": In(1),
            "unit": In(signed(8)),
            "bytes": In(data.ArrayLayout(8, rows)),
            "lanes": Out(data.ArrayLayout(8, rows)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        low, inside = exact_log2(self.banks), exact_log2(self.beat)
        line = self.address[inside:]

        # Cycle 1: where each bank has one of the lines from the first on.
        on, unit = Signal(), Signal(signed(8))
        with m.If(self.begin):
            m.d.sync += [on.eq(self.on), unit.eq(self.unit)]
        first, offset = Signal(low), Signal(inside)
        depth = range(self.lines // self.banks)
        word, following = Signal(depth), Signal(depth)
        m.d.sync += [first.eq(line[:low]), offset.eq(self.address[:inside]),
                     word.eq(line[low:]), following.eq(line[low:] + 1)]

        # Cycle 2: the banks.
        found = [self._bank(m, bank, Mux(first > bank, following, word))
                 for bank in range(self.banks)]
        s2_first, s2_offset = Signal(low), Signal(inside)
        m.d.sync += [s2_first.eq(first), s2_offset.eq(offset)]

        # Cycle 3: how far the codes of each line move, in the order of lines.
        count = (self.rows - 2) // self.beat + 2 if self.rows > 1 else 1
        turned: Value = Cat(found)
        for place, bit in enumerate(s2_first):
            turned = Mux(bit, turned.rotate_right(8 << place), turned)
        moves = Signal(data.ArrayLayout(5, count))
        s3_offset = Signal(inside)
        m.d.sync += s3_offset.eq(s2_offset)
        for place in range(count):
            apart = unit - turned.word_select(place, 8).as_signed()
            m.d.sync += moves[place].eq(Mux(on, _amount(apart), LONGEST_SHIFT))

        # Cycle 4: of each lane. It lies in the line of the same lane of an aligned run, or behind.
        chosen: Value = Signal(data.ArrayLayout(5, self.rows)).as_value()
        for lane in range(self.rows):
            place, byte = divmod(lane, self.beat)
            move: Value = moves[place]
            if byte:
                behind = s3_offset >= self.beat - byte
                move = Mux(behind, moves[place + 1], move)
            m.d.sync += chosen[5 * lane : 5 * lane + 5].eq(move)
        for cycle in range(5, self.bytes_after + 1):
            later = Signal.like(chosen, name=f"moves_{cycle}")
            m.d.sync += later.eq(chosen)
            chosen = later

        # A cycle after the bytes came: moved. Another: rounded, saturated.
        for lane in range(self.rows):
            wide = Signal(signed(16 + LONGEST_SHIFT), name=f"moved{lane}")
            code = self.bytes[lane].as_signed()
            m.d.sync += [
                wide.eq(code << chosen[5 * lane : 5 * lane + 5]),
                self.lanes[lane].eq(_rounded(wide)),
            ]
        return m

    def _bank(self, m: Module, bank: int, address: Value) -> Value:
        """Return what a bank has read."""
        low, inside = exact_log2(self.banks), exact_log2(self.beat)
        write = self.write.payload
        ram = Ram(8, self.lines // self.banks, registered=False)
        m.submodules[f"bank{bank}"] = ram
        m.d.comb += [
            ram.read.eq(1),
            ram.read_address.eq(address),
            ram.write.eq(self.write.valid & (write.line[inside:low] == bank // self.beat)),
            ram.write_address.eq(write.line[low:]),
            ram.write_data.eq(write.exponents[bank % self.beat]),
        ]
        return ram.read_data


def _amount(apart: Value) -> Value:
    """Return by how many bits codes with eight bits behind their point, all of them 0, move to the
    left when they were to move right by ``apart`` less: 0 to 16."""
    amount = Mux(apart < -LONGEST_SHIFT, -LONGEST_SHIFT, apart)
    amount = Mux(apart > LONGEST_SHIFT, LONGEST_SHIFT, amount)
    return (LONGEST_SHIFT - amount)[:5]


def _rounded(wide: Value) -> Value:
    """Return a number with eight bits behind its point in int8, half to even, saturated."""
    whole = wide[LONGEST_SHIFT:].as_signed()
    up = wide[7] & (wide[:7].any() | wide[8])
    over = ~whole[-1] & whole[7:-1].any()
    under = whole[-1] & ~whole[7:-1].all()
    # What is rounded up from 127 stays there; -129 and a half is -130.
    near = Mux(up & (whole != 127), whole + 1, whole)[:8]
    return Mux(over, Const(0x7F, 8), Mux(under & ~(up & (whole == -129)), Const(0x80, 8), near))
