# SPDX-License-Identifier: Apache-2.0
"""STORE's beats past memory: where they go on chip, and where they part from the others."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.axi import write_beat
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.destination import FORWARDED, StoreDestination, destinations

__all__ = ["Forward", "Way", "read_beat_layout", "way_layout"]


def way_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return where a beat goes: to beat ``place`` of ``destination``, or to memory; ``final`` is
    the last one of its segment."""
    size = exact_log2(max(destinations(cfg).values()))
    return data.StructLayout({
        "destination": StoreDestination, "place": size - exact_log2(cfg.beat_bytes), "final": 1,
    })


def read_beat_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return what STORE has read: a beat for memory, and with forwarding, where it goes."""
    way = {"way": way_layout(cfg)} if cfg.forwarding else {}
    return data.StructLayout({**write_beat(cfg).members, **way})


class Way(Component):
    """Counts a segment's beats through a memory on chip, as far as it reaches.

    Parameters
    ----------
    cfg : a machine with forwarding.

    Members
    -------
    start : In(1); destination : In(StoreDestination); address : In(64)
        A segment begins, at this byte address, whose bits below a beat are ignored.
    step : In(1); final : In(1)
        Its next beat is read, and is its last one; never when ``astray``.
    o : Out(way_layout(cfg))
        Where that goes.
    astray : Out(1)
        That is outside the memory: it may not be read, nor anything from then on.
    failed : Out(1)
        This has been so in the cycle before or earlier.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "start": In(1),
            "destination": In(StoreDestination),
            "address": In(64),
            "step": In(1),
            "final": In(1),
            "o": Out(way_layout(cfg)),
            "astray": Out(1),
            "failed": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat, bits = exact_log2(self.cfg.beat_bytes), len(self.o.place)
        destination, beyond = Signal(StoreDestination), Signal()
        place = Signal(bits + 1)  # the bit on top: in no memory
        with m.If(self.step):
            m.d.sync += place.eq(place + 1)
        with m.If(self.start):
            m.d.sync += [
                destination.eq(self.destination),
                place.eq(self.address[beat : beat + bits]),
                beyond.eq(self.address[beat + bits :].any()),
            ]
        # A segment that ends inside leaves ``place`` outside, perhaps, and nothing is read there.
        live = Signal()
        with m.If(self.start):
            m.d.sync += live.eq(1)
        with m.Elif(self.step & self.final):
            m.d.sync += live.eq(0)
        with m.Switch(destination):
            for kind, size in destinations(self.cfg).items():
                with m.Case(kind):
                    over = place[exact_log2(size) - beat :].any()
                    m.d.comb += self.astray.eq((live & (over | beyond)) | self.failed)
        m.d.comb += [
            self.o.destination.eq(destination), self.o.place.eq(place), self.o.final.eq(self.final)
        ]
        m.d.sync += self.failed.eq(self.failed | self.astray)
        return m


class Forward(Component):
    """Sends each beat to memory or on chip, in order.

    Latency: none to memory, one cycle on chip. Throughput: a beat a cycle.

    Parameters
    ----------
    cfg : a machine with forwarding.

    Members
    -------
    i : In(stream.Signature(read_beat_layout(cfg)))
    data : Out(stream.Signature(write_beat(cfg)))
        Beats for memory.
    forward : Out(stream.Signature(scratchpad_write(cfg)))
        Whole beats for memories on chip.
    written : Out(1)
        A segment's last beat was taken on chip in the cycle before.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(read_beat_layout(cfg))),
            "data": Out(stream.Signature(write_beat(cfg))),
            "forward": Out(stream.Signature(scratchpad_write(cfg))),
            "written": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat, write = self.i.payload, self.forward.payload
        outside, free, final = Signal(), Signal(), Signal()
        m.d.comb += [
            outside.eq(beat.way.destination == StoreDestination.MEMORY),
            free.eq(~self.forward.valid | self.forward.ready),
            self.i.ready.eq(Mux(outside, self.data.ready, free)),
            self.data.valid.eq(self.i.valid & outside),
            self.data.payload.data.eq(beat.data),
            self.data.payload.strobe.eq(beat.strobe),
        ]
        with m.If(free):
            m.d.sync += [
                self.forward.valid.eq(self.i.valid & ~outside),
                write.address.eq(Cat(Const(0, exact_log2(self.cfg.beat_bytes)), beat.way.place)),
                write.data.eq(beat.data),
                final.eq(beat.way.final),
            ]
            with m.Switch(beat.way.destination):
                for destination in destinations(self.cfg):
                    with m.Case(destination):
                        m.d.sync += write.target.eq(FORWARDED[destination])
        m.d.sync += self.written.eq(self.forward.valid & self.forward.ready & final)
        return m
