# SPDX-License-Identifier: Apache-2.0
"""Weights on chip: written by beats, rows or columns, read a row of the array at a time.

A machine with a transposer skews its byte banks, so that bytes that lie side by side, and those
that lie one above the other, are all in different ones; the arrangement is that of Budnik and
Kuck, The Organization and Use of Parallel Memories, 1971.
"""

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.ram import ram_class
from kiwicha.hw.parts.writes import WriteKind, weight_banks, weight_write
from kiwicha.hw.verilog.emit import shared
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["WeightScratchpad"]


class WeightScratchpad(Component):
    """``weight_banks`` bytes side by side, a super-row; a read and a write in each cycle.

    A read sees the writes of ``write_latency`` or more cycles ago and no later ones, but means
    nothing when a write of ``write_latency`` - 1 cycles ago meets it: in its row with a transposer,
    in its super-row without. Neither back-pressure nor reset.

    With a transposer, byte b of super-row s lies in bank (b + s mod weight_pitch) mod
    ``weight_banks``. So a super-row lies in different banks, and so do as many neighbouring bytes
    of one column as there are banks: the rotations of as many super-rows as they touch are all
    different, and the next one's is that of the first, whose place in the column it takes.

    Columns a to d of rows 0 to 7, with super-rows of two rows; a column, such as 0a to 7a, has a
    byte in each bank::

        bank          0   1   2   3   4   5   6   7
        super-row 0   0a  0b  0c  0d  1a  1b  1c  1d
        super-row 1   3d  2a  2b  2c  2d  3a  3b  3c
        super-row 2   5c  5d  4a  4b  4c  4d  5a  5b
        super-row 3   7b  7c  7d  6a  6b  6c  6d  7a

    Parameters
    ----------
    cfg : the machine.
    write_latency : cycles from a write to the first ``row`` that finds it: 3 with a transposer,
        else 1.
    read_latency : cycles from ``row`` to ``lanes``: 3, or 2 without registers behind block RAM.

    Members
    -------
    write : In(stream.Signature(weight_write(cfg), always_ready=True))
        A kind that the machine has not is a mistake.
    row : In(range(weight_bytes // weight_pitch))
        Row to read.
    lanes : Out(ArrayLayout(8, columns))
        Its bytes, ``read_latency`` cycles later.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._registered = "memory" in cfg.pipeline
        self.read_latency = 2 + self._registered
        self.write_latency = 3 if cfg.transposer else 1
        super().__init__({
            "write": In(stream.Signature(weight_write(cfg), always_ready=True)),
            "row": In(range(cfg.weight_bytes // cfg.weight_pitch)),
            "lanes": Out(data.ArrayLayout(8, cfg.columns)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.cfg.transposer:
            self._skewed(m)
        else:
            self._straight(m)
        return m

    def _straight(self, m: Module) -> None:
        """Add one memory as wide as a super-row."""
        beat, pitch, wide = self.cfg.beat_bytes, self.cfg.weight_pitch, weight_banks(self.cfg)
        beats, rows = exact_log2(wide // beat), exact_log2(wide // pitch)

        asked = self.write.payload
        content = asked.data.as_value()[: 8 * beat].replicate(1 << beats)
        enable = Const(1, 1) << (asked.column >> exact_log2(beat))[:beats]
        granularity = 8 * beat
        if self.cfg.sparse.formats:
            # Decoded rows may end anywhere, so every byte has an enable.
            granularity = 8
            by_row = asked.kind == WriteKind.ROW
            live = Cat(asked.live >= byte for byte in range(pitch))
            content = Mux(by_row, asked.data.as_value()[: 8 * pitch].replicate(1 << rows), content)
            enable = Mux(
                by_row,
                live << Cat(Const(0, exact_log2(pitch)), asked.row[:rows]),
                Cat(enable[index].replicate(beat) for index in range(1 << beats)),
            )
        memory = ram_class(self.cfg.cells)(
            8 * wide, self.cfg.weight_bytes // wide, granularity=granularity,
            registered=self._registered,
        )
        m.submodules.memory = memory
        m.d.comb += [
            memory.write.eq(Mux(self.write.valid, enable, 0)),
            memory.write_address.eq(asked.row >> rows),
            memory.write_data.eq(content),
            # Cycle 1: the super-row. Cycle 2: the register behind it.
            memory.read_address.eq(self.row >> rows),
        ]
        # The last cycle: the row in it.
        m.submodules.part = part = Delay(rows, memory.latency)
        m.d.comb += part.i.eq(self.row[:rows])
        with m.Switch(part.o):
            for index in range(1 << rows):
                with m.Case(index):
                    row = memory.read_data.word_select(index, 8 * pitch)
                    m.d.sync += self.lanes.as_value().eq(row)

    def _skewed(self, m: Module) -> None:
        """Add a memory for every byte of a super-row."""
        banks, pitch = weight_banks(self.cfg), self.cfg.weight_pitch
        depth = self.cfg.weight_bytes // banks
        bits, skew = exact_log2(banks), exact_log2(pitch)
        inside = bits - skew  # bits of a row's number within its super-row
        turned, marks, word = self._turn_writes(m)

        # Cycle 1: all banks read one super-row. Cycle 2: their registers. The last cycle: turn it
        # back, by the place of the row's first byte.
        read = []
        for index in range(banks):
            bank = ram_class(self.cfg.cells)(8, depth, registered=self._registered)
            m.submodules[f"bank{index}"] = shared(bank)
            m.d.comb += [
                bank.write.eq(marks[2 * index]),
                bank.write_address.eq(word(index)),
                bank.write_data.eq(turned.word_select(index, 8)),
                bank.read_address.eq(self.row >> inside),
            ]
            read.append(bank.read_data)
        rotation = Signal(skew)
        m.submodules.back = back = Delay(bits, self.read_latency - 1)
        m.d.comb += [
            rotation.eq(self.row >> inside),
            back.i.eq(-Cat(rotation, self.row[:inside])),
        ]
        m.d.sync += self.lanes.as_value().eq(_turned(m, Cat(read), 8, back.o, 1))

    def _turn_writes(self, m: Module) -> tuple[Signal, Signal, Callable[[int], Value]]:
        """Return what the banks write: their bytes, 2 marks each, and a function for the word.

        The first mark says that the bank writes; the second that a column has run over a multiple
        of ``weight_banks`` rows on the way to it, and with it over the high bits of the word.
        """
        banks, pitch = weight_banks(self.cfg), self.cfg.weight_pitch
        bits, skew = exact_log2(banks), exact_log2(pitch)
        inside = bits - skew
        asked = self.write.payload
        down = asked.kind == WriteKind.COLUMN
        super_row = asked.row >> inside
        live = Mux(asked.kind == WriteKind.BEAT, self.cfg.beat_bytes - 1, asked.live)
        over = [
            down & (asked.row[:bits] > banks - 1 - byte) if 0 < byte < self.cfg.beat_bytes else 0
            for byte in range(banks)
        ]
        marked = Cat(Cat(self.write.valid & (live >= byte), over[byte]) for byte in range(banks))

        # Cycle 1: a column to where its bytes' rows are, counted within as many rows as there are
        # banks; anything else to where it is in its super-row. Cycle 2: from the place in the
        # column to that in the super-row, then to the bank. When super-rows are rows, both turns
        # are by row + column, and are one.
        if inside:
            offset = Cat(asked.column, asked.row[:inside])
            first, second = Mux(down, asked.row[:bits], offset), Mux(down, asked.column, super_row)
            unit, later = 1, skew
        else:
            low = (bits + 1) // 2
            turn = Signal(bits)
            m.d.comb += turn.eq(asked.row + asked.column)
            first, second = turn[:low], turn[low:]
            unit, later = 1 << low, bits - low
        s1_bytes, s2_bytes = (Signal(8 * banks, reset_less=True) for _ in range(2))
        s1_marks, s2_marks = Signal(2 * banks), Signal(2 * banks)
        s1_down, s2_down = Signal(), Signal()
        s1_turn = Signal(later)
        s1_column, s2_column = Signal(skew), Signal(skew)
        s1_super_row = Signal.like(super_row)
        s2_super_row = Signal.like(super_row)
        high, following = s2_super_row[skew:], Signal(len(super_row))
        m.d.sync += [
            s1_bytes.eq(_turned(m, asked.data.as_value(), 8, first[:bits], 1)),
            s1_marks.eq(_turned(m, marked, 2, first[:bits], 1)),
            s1_down.eq(down),
            s1_turn.eq(second),
            s1_column.eq(asked.column),
            s1_super_row.eq(super_row),
            s2_bytes.eq(self._placed(m, s1_bytes, 8, s1_down, s1_turn, unit)),
            s2_marks.eq(self._placed(m, s1_marks, 2, s1_down, s1_turn, unit)),
            s2_down.eq(s1_down),
            s2_column.eq(s1_column),
            s2_super_row.eq(s1_super_row),
            following.eq(s1_super_row[skew:] + 1),
        ]
        # The low bits of a word say how far it is turned, which for a column's byte is from its
        # column to its bank.
        lows = [
            Mux(s2_down, (place - s2_column)[: len(s2_super_row[:skew])], s2_super_row[:skew])
            for place in range(pitch)
        ]

        def word(bank: int) -> Value:
            top = Mux(s2_marks[2 * bank + 1], following[: len(high)], high)
            return Cat(lows[bank % pitch], top)

        return s2_bytes, s2_marks, word

    def _placed(
        self, m: Module, lanes: Value, width: int, down: Value, turn: Value, unit: int
    ) -> Value:
        """Return lanes of ``width`` bits, those of a column transposed, turned to their banks."""
        banks, pitch = weight_banks(self.cfg), self.cfg.weight_pitch
        places = [place % pitch * (banks // pitch) + place // pitch for place in range(banks)]
        crossed = Cat(lanes.word_select(place, width) for place in places)
        chosen = Signal(len(lanes))
        m.d.comb += chosen.eq(Mux(down, crossed, lanes))
        return _turned(m, chosen, width, turn, unit)


def _turned(m: Module, lanes: Value, width: int, places: Value, unit: int) -> Value:
    """Return lanes of ``width`` bits moved up by ``places`` * ``unit``, those above the last one
    to the bottom.
    """
    for bit in range(len(places)):
        # A signal for every level: an expression would be written out anew wherever it is used.
        level = Signal(len(lanes), name=f"turned_{bit}")
        m.d.comb += level.eq(Mux(places[bit], lanes.rotate_left(width * unit << bit), lanes))
        lanes = level
    return lanes
