# SPDX-License-Identifier: Apache-2.0
"""SPECIAL's results: every byte of every row once, in order."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.special.softmax_common import SLOTS
from kiwicha.hw.special.special_check import (
    count_bits,
    is_measured,
    special_job,
    takes_pairs,
)
from kiwicha.hw.special.special_measure import group_rows
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SpecialOperation
from kiwicha.machine.latency import SOFTMAX_GROUP

__all__ = ["ApplyWalker", "element_layout"]


def element_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return one element, the same in all lanes of ``live``: byte ``column`` of row ``slot``.

    Its operands are at ``x`` and ``z`` (ADD, MUL), or both are the one operand's place.
    """
    return data.StructLayout({
        "x": range(cfg.special.bytes),
        "z": range(cfg.special.bytes),
        "column": count_bits(cfg),
        "slot": range(SLOTS),
        "live": cfg.special.lanes,
    })


class ApplyWalker(Component):
    """Walks through the rows of a job, an element a cycle, as far as they are measured.

    Parameters
    ----------
    cfg : size of the operand memories, number of lanes.

    Members
    -------
    job : In(special_job(cfg))
        Constant from ``start`` to the last element.
    start : In(1)
        Begin; the job before is through.
    o : Out(stream.Signature(element_layout(cfg), always_ready=True))
        The elements, from registers.
    measured : In(1)
        One more group may be walked (SOFTMAX, NORMALIZE; for the others nothing is measured).
    used : Out(1)
        The last element of a group goes to ``o`` with the next clock edge.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "job": In(special_job(cfg)),
            "start": In(1),
            "o": Out(stream.Signature(element_layout(cfg), always_ready=True)),
            "measured": In(1),
            "used": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job, element = self.job, self.o.payload
        counts = count_bits(self.cfg)
        softmax = job.operation == SpecialOperation.SOFTMAX
        measures = is_measured(job.operation)

        x, z = Signal.like(element.x), Signal.like(element.z)
        column, rows_left, edge_left = Signal(counts), Signal(counts), Signal(counts)
        row, rows, half = Signal(range(SOFTMAX_GROUP)), Signal(range(SOFTMAX_GROUP + 1)), Signal()
        ready = Signal(range(3))  #: groups measured and not used up
        move, last_column, last_row = Signal(), Signal(), Signal()
        m.d.comb += [
            move.eq((rows_left != 0) & (~measures | (ready != 0))),
            last_column.eq(column == job.length - 1),
            last_row.eq(row == rows - 1),
            self.used.eq(move & measures & last_column & last_row),
        ]
        m.d.sync += [
            ready.eq(ready + self.measured - self.used),
            self.o.valid.eq(move),
            element.x.eq(x),
            element.z.eq(z),
            element.column.eq(column),
            element.slot.eq(Cat(row, half)),
            element.live.eq(job.full | Mux(edge_left != 0, job.edge, 0)),
        ]
        with m.If(move):
            m.d.sync += [
                x.eq(x + ~job.x_byte), z.eq(z + ~job.z_byte), column.eq(column + 1),
            ]
            with m.If(last_column):
                m.d.sync += [
                    x.eq(Mux(job.x_row, job.x, x + 1)),
                    z.eq(Mux(job.z_row, job.z, z + 1)),
                    column.eq(0),
                    rows_left.eq(rows_left - 1),
                    edge_left.eq(edge_left - (edge_left != 0)),
                    row.eq(Mux(last_row, 0, row + 1)),
                    half.eq(half ^ (measures & last_row)),
                ]
                with m.If(last_row):
                    m.d.sync += rows.eq(group_rows(rows_left - 1, softmax))
        with m.If(self.start):
            m.d.sync += [
                x.eq(job.x),
                z.eq(Mux(takes_pairs(job.operation), job.z, job.x)),
                rows_left.eq(job.rows),
                edge_left.eq(job.edge_rows),
                rows.eq(group_rows(job.rows, softmax)),
            ]
        return m
