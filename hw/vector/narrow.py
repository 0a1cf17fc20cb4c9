# SPDX-License-Identifier: Apache-2.0
"""Words that are wider than the output buffer's write port, written piece by piece."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.vector.output_buffer import output_write
from kiwicha.hw.vector.statistics_path import counts_member
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES

__all__ = ["NarrowWriter", "answered_write"]


def answered_write(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return a write to the output buffer, and whether it ends an instruction with ``signal``;
    ``counts`` says on machines with statistics which of the bytes are results that count."""
    return data.StructLayout({
        "write": output_write(cfg), "last": 1, "signal": ENGINES, **counts_member(cfg)
    })


class NarrowWriter(Component):
    """Writes ``live`` + 1 of ``size`` bytes from ``address`` on, ``requantize_lanes`` a cycle.

    Latency: one cycle. Throughput: one word in as many cycles as it has pieces; the next one may
    come in the cycle of the last piece.

    Parameters
    ----------
    cfg : ``output_bytes`` and ``requantize_lanes``.
    size : bytes of the longest word.

    Members
    -------
    i : In(always-ready stream of {data, live, address, last, signal})
        A word; not while ``busy``.
    busy : Out(1)
        Another piece follows the one on ``o``.
    o : Out(always-ready stream of answered_write(cfg))
        The pieces; ``last`` goes along with the last one. No byte of them counts.
    """

    def __init__(self, cfg: AcceleratorConfig, size: int) -> None:
        self.cfg, self.size = cfg, size
        word = data.StructLayout({
            "data": data.ArrayLayout(8, size),
            "live": range(size),
            "address": range(cfg.output_bytes),
            "last": 1,
            "signal": ENGINES,
        })
        super().__init__({
            "i": In(stream.Signature(word, always_ready=True)),
            "busy": Out(1),
            "o": Out(stream.Signature(answered_write(cfg), always_ready=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, write = self.cfg.requantize_lanes, self.o.payload.write
        word = Signal(8 * max(self.size, lanes), reset_less=True)
        left = Signal(range(self.size + 1))
        last = Signal()
        more = left > lanes
        m.d.comb += [
            self.busy.eq(more),
            self.o.valid.eq(left != 0),
            self.o.payload.last.eq(last & ~more),
            write.live.eq(Mux(more, lanes - 1, left - 1)),
            write.data.as_value().eq(word),
        ]
        m.d.sync += [
            left.eq(Mux(more, left - lanes, 0)),
            word.eq(word >> 8 * lanes),
            write.address.eq(write.address + lanes),
        ]
        with m.If(self.i.valid):
            m.d.sync += [
                left.eq(self.i.payload.live + 1),
                word.eq(self.i.payload.data.as_value()),
                write.address.eq(self.i.payload.address),
                last.eq(self.i.payload.last),
                self.o.payload.signal.eq(self.i.payload.signal),
            ]
        return m
