# SPDX-License-Identifier: Apache-2.0
"""Fields of RANGE and SHIFT, and of all modes where a machine has these, and binary32 values, too:
legal or not, for all instructions at once."""

import pytest
from amaranth.hdl import Assert, Cat, Const, Cover, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from kiwicha.hw.vector import drain_check
from kiwicha.hw.vector.drain_check import illegal_fields
from kiwicha.machine.isa import VECTOR, VectorMode

from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted
from ..vector.shift_cases import TRAINING
from ..vector.test_drain import machine

MORE = {"dynamic": True, "functions": {"tables": 2}, "statistics": {"elements": 256}}
REAL = {**MORE, "real": {"bytes": 512}}


class FieldsSpec(wiring.Component):
    """What `golden.drain_check` refuses, said once more, and numbers of more than nine bits."""

    asked: In(VECTOR)

    def __init__(self, **more: object) -> None:
        self.cfg = machine(**TRAINING, **more)
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.first = FirstCycle()
        cfg, asked, wrong = self.cfg, self.asked, Signal()
        known = {mode: asked.mode == mode for mode in VectorMode}
        known[VectorMode.BLOCK] = Const(0)
        if not cfg.dynamic:
            known[VectorMode.MEASURE] = known[VectorMode.QUANTIZE] = Const(0)
        if not cfg.real:
            known[VectorMode.REAL] = Const(0)
        ranges, shifts = known[VectorMode.RANGE], known[VectorMode.SHIFT]
        writes_real = known[VectorMode.REAL]
        dynamic = known[VectorMode.MEASURE] | known[VectorMode.QUANTIZE] | writes_real
        real = dynamic if cfg.real else Const(0)
        measures = known[VectorMode.MEASURE] | ranges
        requantizes = known[VectorMode.REQUANTIZE]
        uncounted = measures | writes_real
        counted = asked.statistics & ~uncounted if cfg.statistics.elements else Const(0)
        looked_up = asked.function & requantizes if cfg.functions else Const(0)
        masks = shifts & asked.residual & asked.relu
        adds, operand = (requantizes | shifts | real) & asked.residual, real & asked.residual
        m.d.comb += wrong.eq(Cat(
            ~Cat(known.values()).any(),
            (asked.slot != 0) & ~(dynamic | ranges),
            (asked.target != 0) & ~(dynamic | ranges | shifts),
            asked.relu & ~(dynamic | (ranges & asked.settle) | masks),
            asked.settle & ~measures,
            asked.begin & ~(measures | counted),
            asked.residual & ~adds,
            asked.sums & ~(adds & ~masks),
            asked.function & ~(looked_up | real),
            (asked.table != 0) & ~(looked_up & (asked.table < 2)),
            asked.statistics & ~counted,
            asked.only & ~counted,
            (asked.channel != 0) & ~(counted & asked.only & (asked.channel < asked.channels)),
            (asked.scales != 0) & ~(operand & (asked.scales[:2] == 0))
            & ~(ranges & asked.settle & (asked.scales <= 4)),
            (asked.tiles != 0) | (asked.tile_entries != 0),
            (asked.channels == 0) | (asked.channels > cfg.columns),
            (asked.pixels == 0) | (asked.lines == 0),
            ranges & asked.settle & ((asked.high < 1) | (asked.high > 7)),
            shifts & (asked.zero_point != 0) & (asked.zero_point != 1),
            asked.low > asked.high,
            *((each < -256) | (each > 255) for each in (asked.zero_point, asked.low, asked.high)),
        ).any())
        m.d.comb += [
            Assert(illegal_fields(cfg, asked).any() == wrong),
            Cover(~wrong & masks & (asked.target == 3)),
            Cover(~wrong & shifts & asked.sums & asked.zero_point),
            Cover(~wrong & ranges & asked.relu & (asked.high == 7) & (asked.zero_point == -200)),
            Cover(~wrong & ranges & (asked.scales == 4)),
            Cover(wrong & ranges & asked.settle & (asked.scales == 5)),
            Cover(wrong & ranges & asked.settle & (asked.high == 8)),
        ]
        if cfg.real:
            m.d.comb += [
                Cover(~wrong & writes_real & asked.sums & asked.function & (asked.scales == 508)),
                Cover(~wrong & known[VectorMode.MEASURE] & asked.settle & operand & asked.relu),
                Cover(wrong & known[VectorMode.QUANTIZE] & operand & (asked.scales == 6)),
            ]
        return m


@pytest.mark.parametrize("more", [{}, MORE, REAL], ids=["alone", "more", "real"])
def test_proved(more):
    assert_proved(FieldsSpec(**more), depth=2)
    assert_covered(FieldsSpec(**more), depth=2)


def test_a_field_that_is_not_checked(monkeypatch):
    real = drain_check._wrong_shifts
    monkeypatch.setattr(drain_check, "_wrong_shifts", lambda *given: real(*given)[:-1])
    assert_refuted(FieldsSpec(), depth=2)
