# SPDX-License-Identifier: Apache-2.0
"""From a run of beats to bursts that stay in a granted window and never cross 4 KiB."""

from typing import TYPE_CHECKING

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.axi import PAGE_BYTES, REQUEST
from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.machine.config import AcceleratorConfig

if TYPE_CHECKING:  # Amaranth has no types; to a type checker its enums are the library's
    import enum
else:
    from amaranth.lib import enum

__all__ = ["BurstPlanner", "block_beats", "burst_layout"]


def block_beats(cfg: AcceleratorConfig) -> int:
    """Return the beats of a block: an aligned piece of memory that one burst may cover."""
    return min(cfg.axi_burst_beats, PAGE_BYTES // cfg.beat_bytes)


def burst_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return a burst: byte address, beats less one, and whether it ends its request."""
    return data.StructLayout({"address": cfg.axi_address_width, "length": 8, "last": 1})


class _Step(enum.Enum, shape=2):
    """What the request in the front register waits for."""

    EMPTY = 0  #: nothing is held
    CHECK = 1  #: comparison with the window
    DECIDED = 2  #: being split, or being refused


class BurstPlanner(Component):
    """Checks each request against the window as a whole and cuts it at multiples of a block.

    Cutting at aligned blocks instead of counting beats leaves nothing wider than a block's index
    to add up for each burst, at the price of at most one burst more for a request.

    Latency: three cycles from a request to its first burst. Throughput: one burst a cycle, one
    request in two cycles.

    Parameters
    ----------
    cfg : ``axi_data_width``, ``axi_address_width`` and ``axi_burst_beats``.
    refusal : code of the fault that a request outside the window causes.

    Members
    -------
    request : In(stream.Signature(REQUEST))
        Runs to plan; 0 beats means 2**32.
    window_base, window_limit : In(axi_address_width)
        First byte granted and first byte not granted any more. Whole beats have to be inside.
    o : Out(stream.Signature(burst_layout(cfg)))
        The bursts, in order.
    pending : Out(1)
        A request is held here.
    error : Out(FaultSignature)
        A request outside the window, with its address; it is dropped.
    """

    def __init__(self, cfg: AcceleratorConfig, refusal: int) -> None:
        self.cfg = cfg
        self.refusal = refusal
        super().__init__({
            "request": In(stream.Signature(REQUEST)),
            "window_base": In(cfg.axi_address_width),
            "window_limit": In(cfg.axi_address_width),
            "o": Out(stream.Signature(burst_layout(cfg))),
            "pending": Out(1),
            "error": Out(FaultSignature),
        })

    def _inside(self, first: Value, end: Value, beyond: Value) -> Value:
        # All in beats; a base within a beat excludes that beat, hence the comparison of bytes.
        beat = exact_log2(self.cfg.beat_bytes)
        low_enough = end <= self.window_limit[beat:]
        high_enough = Cat(Const(0, beat), first) >= self.window_base
        return low_enough & high_enough & (beyond == 0)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = exact_log2(self.cfg.beat_bytes)
        block = exact_log2(block_beats(self.cfg))
        width = self.cfg.axi_address_width - beat

        step = Signal(_Step)
        address = Signal(64)
        first = address[beat : beat + width]
        # First beat after the run, then its last beat; the beats may overrun the address.
        end = Signal(max(width, 33) + 1)
        inside = Signal()
        handed = Signal()
        splitting = Signal()

        with m.Switch(step):
            with m.Case(_Step.CHECK):
                m.d.sync += [
                    step.eq(_Step.DECIDED),
                    inside.eq(self._inside(first, end, address[beat + width :])),
                    end.eq(end - 1),
                ]
            with m.Case(_Step.DECIDED):
                m.d.comb += [
                    handed.eq(inside & ~splitting),
                    self.error.valid.eq(~inside),
                    self.request.ready.eq(handed | ~inside),
                ]
                with m.If(self.request.ready):
                    m.d.sync += step.eq(_Step.EMPTY)
            with m.Default():
                m.d.comb += self.request.ready.eq(1)
        with m.If(self.request.valid & self.request.ready):
            asked = self.request.payload
            m.d.sync += [
                step.eq(_Step.CHECK),
                address.eq(asked.address),
                end.eq(asked.address[beat : beat + width] + Cat(asked.beats, asked.beats == 0)),
            ]
        m.d.comb += [
            self.error.payload.code.eq(self.refusal),
            self.error.payload.address.eq(address),
            self.pending.eq((step != _Step.EMPTY) | splitting),
        ]

        high = Signal(width - block)
        blocks_left = Signal(width - block)
        low = Signal(block)
        last_low = Signal(block)
        final = Signal()
        m.d.comb += [
            self.o.valid.eq(splitting),
            self.o.payload.address.eq(Cat(Const(0, beat), low, high)),
            self.o.payload.length.eq(Mux(final, last_low, (1 << block) - 1) - low),
            self.o.payload.last.eq(final),
        ]
        with m.If(handed):
            m.d.sync += [
                splitting.eq(1),
                Cat(low, high).eq(first),
                last_low.eq(end),
                blocks_left.eq(end[block:] - first[block:]),
                final.eq(end[block:width] == first[block:]),
            ]
        with m.Elif(splitting & self.o.ready):
            m.d.sync += [
                splitting.eq(~final),
                high.eq(high + 1),
                low.eq(0),
                blocks_left.eq(blocks_left - 1),
                final.eq(blocks_left == 1),
            ]
        return m
