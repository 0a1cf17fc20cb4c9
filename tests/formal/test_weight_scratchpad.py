# SPDX-License-Identifier: Apache-2.0
"""The skewed weight scratchpad: no two bytes of a write meet in a bank, and every one is found."""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from kiwicha.hw.compute.weight_scratchpad import WeightScratchpad
from kiwicha.hw.parts.writes import WriteKind, weight_write
from kiwicha.machine.config import AcceleratorConfig

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted, join_ports
from ..support.slow import slow

ROWS = 200
SHAPES = [(beat, 1 << power) for beat in (8, 16, 32) for power in range(7)]


def meeting(beat, pitch, skew):
    """Return the first row in which bytes of a row or from which those of a column meet in a bank.

    Byte b of super-row s lies in bank (b + s mod ``skew``) mod banks.
    """
    banks = max(beat, pitch)

    def bank(row, column):
        super_row, byte = divmod(row * pitch + column, banks)
        return (byte + super_row % skew) % banks

    for row in range(ROWS):
        columns = ([bank(row + k, column) for k in range(beat)] for column in range(pitch))
        side_by_side = [bank(row, column) for column in range(pitch)]
        if any(len(set(group)) < len(group) for group in (*columns, side_by_side)):
            return row
    return None


@pytest.mark.parametrize(("beat", "pitch"), SHAPES)
def test_bytes_do_not_meet(beat, pitch):
    assert meeting(beat, pitch, skew=pitch) is None


def test_other_skews_meet():
    # Turning on until a super-row is back where it was fails where a column begins amid one.
    assert meeting(8, 4, skew=8) == 1
    assert meeting(8, 8, skew=1) == 0


def machine(columns):
    return AcceleratorConfig(
        rows=1, columns=columns, axi_data_width=64, weight_bytes=256, requantize_lanes=1,
        transposer=True,
    )


class ByteSpec(wiring.Component):
    """One byte, any one: a read finds what was written there three or more cycles before it."""

    def __init__(self, unit: WeightScratchpad) -> None:
        self.unit = unit
        cfg = unit.cfg
        super().__init__({
            "write": In(stream.Signature(weight_write(cfg), always_ready=True)),
            "watched_row": In(range(cfg.weight_bytes // cfg.weight_pitch)),
            "watched_column": In(range(cfg.weight_pitch)),
            "row": In(range(cfg.weight_bytes // cfg.weight_pitch)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.unit
        m.submodules.first = first = FirstCycle()
        join_ports(m, self, dut)
        watched = Cat(self.watched_column, self.watched_row)
        place = Signal.like(watched, reset_less=True)
        m.d.sync += place.eq(watched)
        with m.If(first.started):
            m.d.comb += Assume(watched == place)
        index, hit, down = self._hit(m, watched)

        held, stages = Signal(8), [Signal(8, name=f"held_{k}") for k in range(5)]
        hits, crossed = Signal(2), Signal()
        with m.If(hit & first.started):
            m.d.sync += [
                held.eq(self.write.payload.data[index]),
                hits.eq(hits + 1),
                crossed.eq(down & (index > 4)),
            ]
        # What is read in cycle t - 3 is seen in cycle t: all that was written up to t - 6, and
        # nothing since; what is written in t - 5 meets it in the bank.
        for older, newer in zip(stages, [held, *stages], strict=False):
            m.d.sync += older.eq(newer)
        recent = Signal(6)
        read = [Signal.like(self.row, name=f"row_{k}") for k in range(3)]
        age = Signal(range(8))
        m.d.sync += [
            recent.eq(Cat(hit & first.started, recent)),
            read[0].eq(self.row),
            read[1].eq(read[0]),
            read[2].eq(read[1]),
            age.eq(age + (age != 7)),
        ]
        looked = first.started & (age > 3) & (read[2] == self.watched_row)
        seen = dut.lanes[self.watched_column]
        with m.If(looked & ~recent[4]):
            m.d.comb += Assert(seen == stages[4])
        found = looked & ~recent.any() & (seen == 0x5A)
        m.d.comb += [
            Cover(found & crossed & (hits == 1)),
            Cover(found & ~crossed & (hits == 2)),
        ]
        return m

    def _hit(self, m: Module, watched: Cat) -> tuple[Signal, Signal, Signal]:
        """Assume a legal write; return which of its bytes is the watched one, if one is."""
        cfg, asked = self.unit.cfg, self.write.payload
        rows, pitch = cfg.weight_bytes // cfg.weight_pitch, cfg.weight_pitch
        down = asked.kind == WriteKind.COLUMN
        m.d.comb += [
            Assume(asked.kind != 3),
            Assume((asked.kind != WriteKind.ROW) | (asked.column + asked.live < pitch)),
            Assume(~down | (asked.row + asked.live < rows)),
            Assume((asked.kind != WriteKind.BEAT) | (Cat(asked.column, asked.row)[:3] == 0)),
        ]
        offset, index, hit = Signal(8), Signal(3), Signal()
        start = Cat(asked.column, asked.row)
        m.d.comb += [
            offset.eq(Mux(down, self.watched_row - asked.row, watched - start)),
            index.eq(offset),
            hit.eq(
                self.write.valid
                & (~down | (asked.column == self.watched_column))
                & (offset <= Mux(asked.kind == WriteKind.BEAT, Const(7), asked.live))
            ),
        ]
        return index, hit, down


class Uncrossed(WeightScratchpad):
    """Broken on purpose: the bytes of a column stay in the order of their rows."""

    def _placed(self, m, lanes, width, down, turn, unit):
        return super()._placed(m, lanes, width, Const(0, 1), turn, unit)


class Short(WeightScratchpad):
    """Broken on purpose: a column that runs over as many rows as there are banks comes back."""

    def _placed(self, m, lanes, width, down, turn, unit):
        kept = lanes & int("01" * 8, 2) if width == 2 else lanes
        return super()._placed(m, kept, width, down, turn, unit)


@slow("2-9")
@pytest.mark.parametrize(("columns", "depth"), [(2, 9), (4, 8), (8, 8)])
def test_proved(columns, depth):
    # A write is seen from cycle 7 on, what the write after it does to it from cycle 8 on.
    assert_proved(ByteSpec(WeightScratchpad(machine(columns))), depth=depth)


@pytest.mark.parametrize("columns", [4, 8])
def test_covered(columns):
    assert_covered(ByteSpec(WeightScratchpad(machine(columns))), depth=12)


@pytest.mark.parametrize(("broken", "columns"), [(Uncrossed, 4), (Short, 4), (Short, 8)])
def test_broken_is_refuted(broken, columns):
    assert_refuted(ByteSpec(broken(machine(columns))), depth=9)
