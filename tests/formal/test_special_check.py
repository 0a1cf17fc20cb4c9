# SPDX-License-Identifier: Apache-2.0
"""SPECIAL's check lets through what is legal and fits, and nothing else."""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from kiwicha.hw.special.special_check import REPEATS, SpecialCheck
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SPECIAL, ErrorCode, SpecialOperation

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted

CFG = AcceleratorConfig(special={"lanes": 2, "bytes": 256, "entries": 512})
FIXED = CFG.replace(requantize_mode="tflite")
LEARNS = CFG.replace(residual={"tables": 2}, transposer=True, training={"classes": 16})
SMALL = 16


class CheckSpec(wiring.Component):
    """One instruction, any but for its rows and length below ``SMALL``, and the plain formulas.

    ``fixed`` says that sums and products are in fixed point: 31 bits above their places are the
    multiplier's, which the job of a machine of that kind has. ``loss`` says that there are errors
    of logits.
    """

    i: In(stream.Signature(SPECIAL))
    ready: In(1)

    def __init__(
        self, told: AcceleratorConfig = CFG, fixed: bool | None = None, loss: bool | None = None
    ) -> None:
        self.dut = SpecialCheck(told)
        self.loss = bool(told.training) if loss is None else loss
        self.fixed = told.fixed_pairs if fixed is None else fixed
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        m.submodules.first = first = FirstCycle()
        wiring.connect(m, wiring.flipped(self.i), dut.i)
        m.d.comb += dut.o.ready.eq(self.ready)
        asked, job = Signal(SPECIAL), dut.o.payload
        taken, answered = Signal(), Signal()
        m.d.comb += [
            Assume(self.i.payload.rows < SMALL),
            Assume(self.i.payload.length < SMALL),
            Assume(~(taken & self.i.valid)),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [asked.eq(self.i.payload), taken.eq(1)]

        rows, length = asked.rows[:4], asked.length[:4]
        used = Signal(8)
        bounds = [asked.zero_point, asked.low, asked.high]
        is_pair = (asked.operation == SpecialOperation.ADD) | (
            asked.operation == SpecialOperation.MUL
        )
        is_normalize = asked.operation == SpecialOperation.NORMALIZE
        is_loss = asked.operation == SpecialOperation.CROSS_ENTROPY if self.loss else Const(0, 1)
        legal = [asked.z_byte == is_loss, *(~asked[name] for name in REPEATS if name != "z_byte")]
        is_fixed = is_pair if self.fixed else Const(0, 1)
        place = {
            name: Mux(is_fixed, asked[name] & 0xFFFFF, asked[name]) for name in ("x", "y", "z")
        }
        illegal, outside = Signal(), Signal()
        entries = 256 * asked.table + Mux(is_normalize, length, 256)
        lane_rows = Mux(asked.total < rows, asked.total[:4], rows)
        read = {
            name: Mux(asked[f"{name}_row"], 1, lane_rows) * Mux(asked[f"{name}_byte"], 1, length)
            for name in "xz"
        }
        m.d.comb += [
            used.eq(lane_rows * length),
            illegal.eq(
                Cat(
                    asked.operation > 4 + self.loss,
                    asked.reserved0 != 0,
                    ~Cat(legal).all() & ~is_pair,
                    is_loss & (asked.table > 3),
                    (asked.x_zero != 0) & ~asked.uncentred,
                    asked.uncentred & ~is_normalize,
                    rows == 0,
                    length == 0,
                    asked.total == 0,
                    asked.total > 2 * rows,
                    asked.low > asked.high,
                    *((bound < -256) | (bound > 255) for bound in bounds),
                    is_normalize & ((asked.shift < 0) | (asked.shift > 31)),
                    (asked.operation == SpecialOperation.MUL) & (asked.shift > 119),
                    is_fixed & ((asked.shift < -31) | (asked.shift > 30)),
                    is_fixed & (asked.y >= 1 << 27),
                ).any()
            ),
            outside.eq(
                (place["x"] + read["x"] > CFG.special.bytes)
                | (place["y"] + used > CFG.special.bytes)
                | ((is_pair | is_loss) & (place["z"] + read["z"] > CFG.special.bytes))
                | (~is_loss & (entries > CFG.special.entries))
            ),
        ]
        with m.If(dut.o.valid & first.started):
            m.d.sync += answered.eq(1)
            m.d.comb += [
                Assert(taken & ~illegal & ~outside),
                Assert(job.results == used),
                Assert(job.rows * length == used),
                Assert(job.full == Cat(asked.total >= rows, asked.total == 2 * rows)),
                Assert(job.edge[0] == (asked.total < rows)),
                Assert(job.edge[1] == ((asked.total > rows) & (asked.total < 2 * rows))),
                Assert(~job.edge[0] | (job.edge_rows == asked.total)),
                Assert(~job.edge[1] | (job.edge_rows == asked.total - rows)),
                *(
                    Assert(job[name] == asked[name])
                    for name in ("operation", "uncentred", "length", "low", "shift", "x_zero")
                ),
                Assert(is_loss | (job.table == asked.table)),
                *(Assert(job[name] == place[name]) for name in "xy"),
                Assert(Mux(is_fixed, job.z[:20], job.z) == place["z"]),
            ]
            if self.fixed and "multiplier" in dict(job.shape()):
                parts = (asked.x >> 20) + ((asked.z >> 20) << 12) + ((asked.y >> 20) << 24)
                m.d.comb += [
                    Assert(~is_fixed | (job.multiplier == parts)),
                    Cover(is_fixed & (job.multiplier == (1 << 31) - 1) & (job.shift == -31)),
                ]
            if "slot" in dict(job.shape()):
                m.d.comb += [
                    Assert(~is_loss | (job.slot == asked.table)),
                    Cover(is_loss & (job.slot == 3) & (length == 10) & (rows == 3)),
                ]
        with m.If(dut.error.valid & first.started):
            m.d.sync += answered.eq(1)
            code = Mux(illegal, ErrorCode.ILLEGAL_FIELD, ErrorCode.SCRATCHPAD_RANGE)
            m.d.comb += [
                Assert(taken & ~answered & (illegal | outside)),
                Assert(dut.error.payload.code == code),
            ]
        m.d.comb += [
            Cover(dut.o.valid & (job.rows == 5) & (job.edge_rows == 3) & is_pair),
            Cover(dut.o.valid & (place["x"] + used == CFG.special.bytes) & job.full[1]),
            Cover(dut.error.valid & outside & ~illegal & is_normalize),
            Cover(dut.o.valid & job.uncentred & (job.x_zero == -128)),
        ]
        return m


@pytest.mark.parametrize("told", [CFG, FIXED, LEARNS], ids=["float", "fixed", "learns"])
def test_proved(told):
    assert_proved(CheckSpec(told), depth=14)


@pytest.mark.parametrize("told", [CFG, FIXED, LEARNS], ids=["float", "fixed", "learns"])
def test_covered(told):
    assert_covered(CheckSpec(told), depth=14)


@pytest.mark.parametrize("told", [CFG, FIXED], ids=["float", "fixed"])
def test_other_arithmetic_is_refuted(told):
    """The multiplier above a place is no part of it there, and nothing legal elsewhere."""
    assert_refuted(CheckSpec(told, fixed=not told.fixed_pairs), depth=14)


@pytest.mark.parametrize("told", [CFG, LEARNS], ids=["float", "learns"])
def test_other_operations_are_refuted(told):
    assert_refuted(CheckSpec(told, loss=not told.training), depth=14)


@pytest.mark.parametrize("wrong", [{"special": {"bytes": 512}}, {"special": {"entries": 1024}}])
def test_wrong_size_is_refuted(wrong):
    assert_refuted(CheckSpec(CFG.replace(**wrong)), depth=14)
