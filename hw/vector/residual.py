# SPDX-License-Identifier: Apache-2.0
"""Sums with a tensor in memory, made of results on their way to the output buffer."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.delay_line import DelayLine
from kiwicha.hw.parts.ram import ram_class
from kiwicha.hw.parts.stated import require_stated
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.vector.addend_memory import AddendMemory
from kiwicha.hw.vector.narrow import answered_write
from kiwicha.hw.vector.sum_round import SumRound
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SUM_BEATS, LoadTarget
from kiwicha.machine.latency import residual_latency

__all__ = ["Residual"]

_ENTRIES = 256
_BOUNDS = data.StructLayout({"low": signed(9), "high": signed(9)})


class Residual(Component):
    """Replaces every byte of a write by its sum with the operand at the same address.

    Each lane has two tables, one for its result and one for the operand, and adds up what it finds
    there (``SumRound``, which says how). Throughput: a write a cycle. Latency: ``latency``. Neither
    tables nor operands must be read while they are written.

    Parameters
    ----------
    cfg : ``residual.tables``, ``output_bytes``, ``axi_data_width``, ``requantize_lanes``.
    delay : cycles from a step's ``address`` to its write.

    Members
    -------
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats from LOAD; those for other targets are ignored.
    address : In(range(output_bytes))
        Where the write goes that comes ``delay`` cycles later.
    table : In(1)
        Which pair of tables; constant while anything is on its way.
    i : In(stream.Signature(answered_write(cfg), always_ready=True))
    o : Out(stream.Signature(answered_write(cfg), always_ready=True))
    positive : Out(requantize_lanes)
        Which operands of the write on ``i`` are positive, as int8; only with ``training.classes``.
    clamped : Out(requantize_lanes)
        Which sums of the write on ``o`` were beyond their bounds; likewise.
    """

    def __init__(self, cfg: AcceleratorConfig, delay: int) -> None:
        self.cfg = cfg
        self._registered = "memory" in cfg.pipeline
        self._addends = AddendMemory(cfg)
        self._before = delay - self._addends.latency
        self.latency = 1 + self._registered + SumRound.latency
        require_stated("a sum's latency", self.latency, residual_latency(cfg))
        written = stream.Signature(answered_write(cfg), always_ready=True)
        super().__init__({
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "address": In(range(cfg.output_bytes)),
            "table": In(1),
            "i": In(written),
            "o": Out(written),
            **({
                "positive": Out(cfg.requantize_lanes), "clamped": Out(cfg.requantize_lanes),
            } if cfg.training else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, asked = self.cfg, self.write.payload
        m.submodules.addends = addends = self._addends
        m.submodules.address = address = Delay(self.address.shape(), self._before)
        m.submodules.late = late = DelayLine(self.i.payload.shape(), self.latency)
        wiring.connect(m, addends.write, wiring.flipped(self.write))
        m.d.comb += [
            address.i.eq(self.address),
            addends.address.eq(address.o),
            late.i.valid.eq(self.i.valid),
            late.i.payload.eq(self.i.payload),
            self.o.valid.eq(late.o.valid),
            self.o.payload.eq(late.o.payload),
        ]
        if cfg.training:
            m.d.comb += self.positive.eq(Cat(z.any() & ~z[7] for z in addends.octets))

        written = Signal()
        place = asked.address[exact_log2(cfg.beat_bytes) :]
        entry, beyond, pair = place[:8], place[8], place[exact_log2(SUM_BEATS)]
        m.d.comb += written.eq(self.write.valid & (asked.target == LoadTarget.SUMS))
        bounds = Signal(data.ArrayLayout(_BOUNDS, 2))
        with m.If(written & beyond & (entry == 0)):
            m.d.sync += [
                bounds[pair].low.eq(asked.data[:16]),
                bounds[pair].high.eq(asked.data[16:32]),
            ]

        for lane, (x, z) in enumerate(zip(self.i.payload.write.data, addends.octets, strict=True)):
            m.submodules[f"sum_{lane}"] = total = SumRound(counted=bool(cfg.training))
            for name, octet, word, target in (
                ("a", x, asked.data[:32], total.a), ("b", z, asked.data[32:64], total.b),
            ):
                memory = ram_class(cfg.cells)(32, 2 * _ENTRIES, registered=self._registered)
                m.submodules[f"table_{name}_{lane}"] = memory
                m.d.comb += [
                    memory.write.eq(written & ~beyond),
                    memory.write_address.eq(Cat(entry, pair)),
                    memory.write_data.eq(word),
                    memory.read_address.eq(Cat(octet, self.table)),
                    target.eq(memory.read_data),
                ]
            m.d.comb += [
                total.low.eq(bounds[self.table].low),
                total.high.eq(bounds[self.table].high),
                self.o.payload.write.data[lane].eq(total.o),
            ]
            if cfg.training:
                live = late.o.payload.write.live >= lane
                m.d.comb += self.clamped[lane].eq(total.over & late.o.valid & live)
        return m
