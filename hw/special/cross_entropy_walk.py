# SPDX-License-Identifier: Apache-2.0
"""SPECIAL's way through logits: every row once for each pass of their loss, in order."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.special.cross_entropy import Pass
from kiwicha.hw.special.special_check import count_bits, special_job
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.latency import LOSS_SPACING

__all__ = ["CrossEntropyWalker", "visit_layout"]


def visit_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return one element, the same in all lanes of ``live``: it is at ``x``, its label at ``z``."""
    place = range(cfg.special.bytes)
    return data.StructLayout(
        {"look": Pass, "first": 1, "x": place, "z": place, "live": cfg.special.lanes}
    )


class CrossEntropyWalker(Component):
    """Shows the rows of a job as `CrossEntropyCore` wants them, ``3 + spacing`` cycles an element.

    Parameters
    ----------
    cfg : size of the operand memories, number of lanes.
    spacing : cycles from a division to the next one, or to the next pass.

    Members
    -------
    job : In(special_job(cfg))
        Constant from ``start`` to the last element.
    start : In(1)
        Begin; the job before is through.
    o : Out(stream.Signature(visit_layout(cfg), always_ready=True))
        The elements, from registers, the first one two cycles after ``start``.
    """

    def __init__(self, cfg: AcceleratorConfig, spacing: int = LOSS_SPACING) -> None:
        self.cfg = cfg
        self.spacing = spacing
        super().__init__({
            "job": In(special_job(cfg)),
            "start": In(1),
            "o": Out(stream.Signature(visit_layout(cfg), always_ready=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job, shown, counts = self.job, self.o.payload, count_bits(self.cfg)
        look, turn = Signal(Pass), Signal(range(self.spacing))
        x, z, base = Signal.like(shown.x), Signal.like(shown.z), Signal.like(shown.x)
        column, rows_left, edge_left = Signal(counts), Signal(counts), Signal(counts)
        busy, step, last = Signal(), Signal(), Signal()
        m.d.comb += [
            busy.eq(rows_left != 0),
            step.eq(busy & ((look != Pass.DIVIDE) | (turn == self.spacing - 1))),
            last.eq(column == job.length - 1),
        ]
        m.d.sync += [
            self.o.valid.eq(busy & (turn == 0)),
            shown.look.eq(look),
            shown.first.eq(column == 0),
            shown.x.eq(x),
            shown.z.eq(z),
            shown.live.eq(job.full | Mux(edge_left != 0, job.edge, 0)),
            turn.eq(Mux(busy & ~step, turn + 1, 0)),
        ]
        with m.If(step):
            m.d.sync += [x.eq(x + 1), column.eq(column + 1)]
            with m.If(last):
                # The same row again for the next pass; the next row after all of them.
                m.d.sync += [x.eq(base), column.eq(0), look.eq(look + 1)]
                with m.If(look == Pass.RESULT):
                    m.d.sync += [
                        x.eq(x + 1),
                        base.eq(x + 1),
                        z.eq(z + 1),
                        rows_left.eq(rows_left - 1),
                        edge_left.eq(edge_left - (edge_left != 0)),
                    ]
        with m.If(self.start):
            m.d.sync += [
                x.eq(job.x),
                base.eq(job.x),
                z.eq(job.z),
                rows_left.eq(job.rows),
                edge_left.eq(job.edge_rows),
            ]
        return m
