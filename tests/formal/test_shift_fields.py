# SPDX-License-Identifier: Apache-2.0
"""Fields of RANGE and SHIFT, and of all modes where a machine has these: legal or not, for all
instructions at once."""

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


class FieldsSpec(wiring.Component):
    """What `golden.vector` refuses, said once more, and numbers of more than nine bits."""

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
        ranges, shifts = known[VectorMode.RANGE], known[VectorMode.SHIFT]
        dynamic = known[VectorMode.MEASURE] | known[VectorMode.QUANTIZE]
        measures = known[VectorMode.MEASURE] | ranges
        requantizes = known[VectorMode.REQUANTIZE]
        counted = asked.statistics & ~measures if cfg.statistics.elements else Const(0)
        looked_up = asked.function & requantizes if cfg.functions else Const(0)
        masks, adds = shifts & asked.residual & asked.relu, (requantizes | shifts) & asked.residual
        m.d.comb += wrong.eq(Cat(
            ~Cat(known.values()).any(),
            (asked.slot != 0) & ~(dynamic | ranges),
            (asked.target != 0) & ~(dynamic | ranges | shifts),
            asked.relu & ~(dynamic | (ranges & asked.settle) | masks),
            asked.settle & ~measures,
            asked.begin & ~(measures | counted),
            asked.residual & ~adds,
            asked.sums & ~(adds & ~masks),
            asked.function & ~looked_up,
            (asked.table != 0) & ~(looked_up & (asked.table < 2)),
            asked.statistics & ~counted,
            asked.only & ~counted,
            (asked.channel != 0) & ~(counted & asked.only & (asked.channel < asked.channels)),
            (asked.scales != 0) | (asked.tiles != 0) | (asked.tile_entries != 0),
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
            Cover(wrong & ranges & asked.settle & (asked.high == 8)),
        ]
        return m


@pytest.mark.parametrize("more", [{}, MORE], ids=["alone", "more"])
def test_proved(more):
    assert_proved(FieldsSpec(**more), depth=2)
    assert_covered(FieldsSpec(**more), depth=2)


def test_a_field_that_is_not_checked(monkeypatch):
    real = drain_check._wrong_shifts
    monkeypatch.setattr(drain_check, "_wrong_shifts", lambda *given: real(*given)[:-1])
    assert_refuted(FieldsSpec(), depth=2)
