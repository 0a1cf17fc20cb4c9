# SPDX-License-Identifier: Apache-2.0
"""The path of dense data from memory, and of what STORE forwards, to the scratchpads."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.axi import read_beat
from kiwicha.hw.parts.pieces import piece_layout
from kiwicha.hw.parts.writes import WriteKind, forward_port, scratchpad_write, weight_write
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES, LoadTarget

__all__ = ["DenseWriter"]


class DenseWriter(Component):
    """Writes the beats of a piece to the scratchpad as they are: the path of dense data.

    Latency: one cycle from ``data`` to ``write``, two to ``done``. Throughput: a beat a cycle.

    Parameters
    ----------
    cfg : widths of the bus and sizes of the scratchpads.

    Members
    -------
    piece : In(stream.Signature(piece_layout(cfg)))
        One for each request, there before its first beat.
    data : In(stream.Signature(read_beat(cfg)))
        The beats of all requests in order; always taken, once their piece is there, but in cycles
        in which a beat of ``forward`` is there.
    forward : In(stream.Signature(scratchpad_write(cfg)))
        Beats of STORE's, first to be written; only with forwarding.
    write : Out(stream.Signature(scratchpad_write(cfg), always_ready=True))
    weight_write : Out(stream.Signature(weight_write(cfg), always_ready=True))
        Beats for the weight scratchpad here, all others there.
    done : Out(stream.Signature(ENGINES, always_ready=True))
        The signal mask of each instruction, the cycle after its last write.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "piece": In(stream.Signature(piece_layout(cfg))),
            "data": In(stream.Signature(read_beat(cfg))),
            "write": Out(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "weight_write": Out(stream.Signature(weight_write(cfg), always_ready=True)),
            "done": Out(stream.Signature(ENGINES, always_ready=True)),
            **forward_port(cfg, In),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        piece = self.piece.payload
        taken, forwarded = Signal(), Signal()
        first = Signal(init=1)
        place = Signal.like(piece.local)
        following = Signal.like(piece.local)
        m.d.comb += [
            taken.eq(self.data.valid & self.data.ready),
            self.data.ready.eq(self.piece.valid & ~forwarded),
            self.piece.ready.eq(taken & self.data.payload.last),
            place.eq(Mux(first & piece.fresh, piece.local, following)),
        ]
        to_weights = piece.target == LoadTarget.WEIGHT
        m.d.sync += [
            self.write.valid.eq((taken & ~to_weights) | forwarded),
            self.weight_write.valid.eq(taken & to_weights),
        ]
        write, weights = self.write.payload, self.weight_write.payload
        with m.If(taken):
            m.d.sync += [
                first.eq(self.data.payload.last),
                following.eq(place + 1),
                write.target.eq(piece.target),
                write.address.eq(Cat(Const(0, exact_log2(self.cfg.beat_bytes)), place)),
                write.data.eq(self.data.payload.data),
            ]
        if self.cfg.forwarding:
            m.d.comb += [forwarded.eq(self.forward.valid), self.forward.ready.eq(1)]
            with m.If(forwarded):
                m.d.sync += write.eq(self.forward.payload)
        # The same registers, named in rows and columns.
        m.d.comb += [
            weights.kind.eq(WriteKind.BEAT),
            Cat(weights.column, weights.row).eq(write.address),
            weights.live.eq(self.cfg.beat_bytes - 1),
            Cat(weights.data).eq(write.data),
        ]
        ending = Signal()
        signal = Signal(ENGINES)
        m.d.sync += [
            ending.eq(self.piece.ready & piece.last),
            signal.eq(piece.signal),
            self.done.valid.eq(ending),
            self.done.payload.eq(signal),
        ]
        return m
