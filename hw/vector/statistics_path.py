# SPDX-License-Identifier: Apache-2.0
"""Statistics of what VECTOR writes: which results enter them, and the record that STORE reads."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.statistics.statistics import Statistics
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import STATISTICS_RECORD, VECTOR, VectorMode

__all__ = ["StatisticsPath", "count_results", "counts_layout", "counts_member", "result_layout"]

_FIELDS = ("statistics", "begin", "only", "channel")


def counts_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return what goes along with a step's results.

    Some of them are ``counted``: of the step's live ones those of lane ``lane``, or all unless
    ``only``. They are ``natural``: bytes from 0 to 255. ``begin``: statistics start anew with them.
    """
    lane = range(cfg.requantize_lanes)
    return data.StructLayout({"counted": 1, "only": 1, "lane": lane, "natural": 1, "begin": 1})


def counts_member(cfg: AcceleratorConfig) -> dict[str, object]:
    """Return ``counts`` as a member of a step's layout, or nothing without statistics."""
    return {"counts": counts_layout(cfg)} if cfg.statistics.elements else {}


def result_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return the results of one step: bytes, or the int32 ``words`` if ``wide``."""
    lanes = cfg.requantize_lanes
    return data.StructLayout({
        "bytes": data.ArrayLayout(8, lanes),
        "words": data.ArrayLayout(signed(32), lanes),
        "wide": 1,
        "live": range(lanes),
        "counts": counts_layout(cfg),
    })


class StatisticsPath(Component):
    """Says of each step which of its results count, and takes them when they are there.

    A step a cycle. ``latency``: cycles from results on ``i`` to the record with them.

    Parameters
    ----------
    cfg : ``statistics.elements``, ``requantize_lanes``.

    Members
    -------
    take : In(1); instruction : In(VECTOR)
        An instruction is taken. Its first step comes two cycles later at the earliest; the last one
        of the instruction before at most one cycle later.
    step, first, final : In(1)
        A step is made; it is the first one of its instruction, the last one of its pixel.
    counts : Out(counts_layout(cfg))
        Of that step, in the same cycle.
    i : In(always-ready stream of result_layout(cfg))
    record : Out(STATISTICS_RECORD)
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._unit = Statistics(cfg.requantize_lanes, cfg.statistics.elements)
        self.latency = 1 + self._unit.latency
        super().__init__({
            "take": In(1),
            "instruction": In(VECTOR),
            "step": In(1),
            "first": In(1),
            "final": In(1),
            "counts": Out(counts_layout(cfg)),
            "i": In(stream.Signature(result_layout(cfg), always_ready=True)),
            "record": Out(STATISTICS_RECORD),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.cfg.requantize_lanes
        self._count(m)

        # One register before the unit, because the bytes come from several modes.
        m.submodules.unit = unit = self._unit
        results, step = self.i.payload, unit.i.payload
        counts = results.counts
        m.d.sync += [
            unit.i.valid.eq(self.i.valid & (counts.counted | counts.begin)),
            step.begin.eq(counts.begin),
            step.present.eq(
                Cat(
                    counts.counted & (results.live >= k) & (~counts.only | (counts.lane == k))
                    for k in range(lanes)
                )
            ),
        ]
        for k in range(lanes):
            octet = results.bytes[k]
            byte = Cat(octet, octet[7] & ~counts.natural).as_signed()
            m.d.sync += step["values"][k].eq(Mux(results.wide, results.words[k], byte))
        for name, _ in unit.result.shape():
            if name != "histogram":
                m.d.comb += self.record[name].eq(unit.result[name])
        m.d.comb += [
            entry.eq(counter)
            for entry, counter in zip(self.record.histogram, unit.result.histogram, strict=True)
        ]
        return m

    def _count(self, m: Module) -> None:
        """Find the channel that counts, ``lanes`` channels of a pixel a step."""
        lanes = self.cfg.requantize_lanes
        layout = data.StructLayout({
            **{name: VECTOR[name].shape for name in _FIELDS}, "natural": 1
        })
        # The walker's last step of the instruction before is one cycle behind.
        taken, now = Signal(layout), Signal(layout)
        asked, mode = self.instruction, self.instruction.mode
        bytes_only = (mode == VectorMode.REQUANTIZE) | (mode == VectorMode.QUANTIZE)
        m.d.sync += now.eq(taken)
        with m.If(self.take):
            m.d.sync += [
                *(taken[name].eq(asked[name]) for name in _FIELDS),
                taken.natural.eq(bytes_only & (asked.high > 127)),
            ]
        # Channels of the pixel before the one that counts; none is left once it has gone by.
        fresh, passed = Signal(init=1), Signal()
        left, ahead = Signal.like(now.channel), Signal.like(now.channel)
        gone, here = Signal(), Signal()
        m.d.comb += [
            ahead.eq(Mux(fresh, now.channel, left)),
            gone.eq(passed & ~fresh),
            here.eq(~gone & (ahead < lanes)),
            self.counts.counted.eq(now.statistics & (~now.only | here)),
            self.counts.only.eq(now.only),
            self.counts.lane.eq(ahead),
            self.counts.natural.eq(now.natural),
            self.counts.begin.eq(now.statistics & now.begin & self.first),
        ]
        with m.If(self.step):
            m.d.sync += [fresh.eq(self.final), left.eq(ahead - lanes), passed.eq(gone | here)]


def count_results(
    m: Module, path: StatisticsPath, sums: wiring.PureInterface, mode: Value, written: Value,
    result: data.View,
) -> None:
    """Let what is written enter the statistics, in all modes; of RAW it is ``sums``."""
    raw, entering = mode == VectorMode.RAW, path.i
    m.d.comb += [
        entering.valid.eq(Mux(raw, sums.valid, written)),
        entering.payload.wide.eq(raw),
        entering.payload.words.eq(sums.payload.words),
        entering.payload.bytes.eq(result.write.data),
        entering.payload.live.eq(Mux(raw, sums.payload.live, result.write.live)),
        entering.payload.counts.eq(Mux(raw, sums.payload.counts, result.counts)),
    ]
