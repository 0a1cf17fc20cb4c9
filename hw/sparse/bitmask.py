# SPDX-License-Identifier: Apache-2.0
"""Decoder of a mask and its values for each dense row; the bytes are those of golden.bitmask."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib.wiring import Component

from kiwicha.hw.sparse.contract import StreamError, decoder_members
from kiwicha.hw.sparse.window import BitWindow

__all__ = ["BitmaskDecoder"]


class BitmaskDecoder(Component):
    """Gives a dense row a cycle, as long as its mask and values are in view.

    Latency: two cycles from a row's last byte to the row. A job has ``columns`` times ``rows``
    dense rows, of which at most 65535 in a column.

    Parameters
    ----------
    beat_bytes : bytes of a beat of the stream.
    lanes : elements of a dense row, 8 to 128.

    Members
    -------
    job, i, o, done, error : as ``hw.sparse.contract.decoder_members``.
    """

    def __init__(self, beat_bytes: int, lanes: int) -> None:
        super().__init__(decoder_members(beat_bytes, lanes))
        if lanes < 8:
            raise ValueError(f"lanes is {lanes}; legal: 8 to 128")
        self.beat_bytes = beat_bytes
        self.lanes = lanes

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.lanes
        sizes = [0, *(lanes + 8 * values for values in range(lanes + 1))]
        m.submodules.window = window = BitWindow(self.beat_bytes, sizes, slack=8 * self.beat_bytes)

        fail, failed = Signal(), Signal()
        code = Signal(StreamError)
        m.d.comb += [
            window.i.payload.eq(self.i.payload),
            window.i.valid.eq(self.i.valid),
            self.i.ready.eq(window.i.ready | failed),
        ]
        m.d.sync += [self.error.valid.eq(fail), failed.eq(failed | fail)]
        with m.If(fail):
            m.d.sync += [
                self.error.payload.code.eq(code),
                self.error.payload.offset.eq(window.offset),
            ]

        mask = window.view[:lanes]
        values = [window.view.word_select(lanes // 8 + k, 8) for k in range(lanes)]
        stored, dense = _spread(m, [mask[lane] for lane in range(lanes)], values)
        empty = Signal(lanes)
        m.d.comb += [empty[k].eq(mask[k] & (dense[k] == 0)) for k in range(lanes)]
        here = Signal()
        with m.Switch(stored):
            for count in range(lanes + 1):
                with m.Case(count):
                    m.d.comb += here.eq(window.has[count + 1])

        rows, columns_left, rows_left = Signal(16), Signal(16), Signal(16)
        free = ~self.o.valid | self.o.ready
        last = (rows_left == 1) & (columns_left == 1)
        m.d.sync += self.done.eq(0)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        def refuse(error: StreamError) -> None:
            m.d.comb += [fail.eq(1), code.eq(error)]
            m.next = "FAILED"

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.job.ready.eq(1)
                m.d.sync += [
                    rows.eq(self.job.payload.rows),
                    rows_left.eq(self.job.payload.rows),
                    columns_left.eq(self.job.payload.columns),
                ]
                with m.If(self.job.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "ROWS"
                with m.If((columns_left == 0) | (rows_left == 0)):
                    refuse(StreamError.JOB)
            with m.State("ROWS"):
                with m.If(free & here):
                    with m.If(empty.any()):
                        refuse(StreamError.PADDING)
                    with m.Else():
                        m.d.comb += window.take.eq(stored + 1)
                        m.d.sync += [
                            self.o.valid.eq(1),
                            self.o.payload.last.eq(last),
                            rows_left.eq(rows_left - 1),
                        ]
                        m.d.sync += [self.o.payload.lanes[k].eq(dense[k]) for k in range(lanes)]
                        with m.If(rows_left == 1):
                            m.d.sync += [rows_left.eq(rows), columns_left.eq(columns_left - 1)]
                        with m.If(last):
                            m.next = "END"
                with m.Elif(free & window.ended):
                    refuse(StreamError.TRUNCATED)
            with m.State("END"):
                with m.If(window.surplus):
                    refuse(StreamError.TRAILING)
                with m.Elif(window.ended & ~window.blank):
                    refuse(StreamError.PADDING)
                with m.Elif(window.ended & free):
                    m.d.comb += window.restart.eq(1)
                    m.d.sync += self.done.eq(1)
                    m.next = "IDLE"
            with m.State("FAILED"):
                pass
        return m


def _spread(
    m: Module, mask: Sequence[Value], values: Sequence[Value]
) -> tuple[Value, list[Value]]:
    """Return how many bits of ``mask`` are set, and for each its value, or 0 where it is not.

    Lanes take their values in order. The upper half of the lanes takes those behind the lower
    half's, so it looks at values that are moved down by as many; each half does the same again.
    """
    lanes = len(mask)
    if lanes == 1:
        return mask[0], [Mux(mask[0], values[0], 0)]
    half, moved = lanes // 2, values
    first, lower = _spread(m, mask[:half], values[:half])
    for bit in reversed(range(len(first))):
        # What is left of the values: the upper lanes', and those that may still be passed.
        reach = half + (1 << bit) - 1
        # All of them set is the one case that moves by `half`: what is behind counts no more.
        behind = [*moved[1 << bit :], *moved][:reach]
        level = [Signal(8, name="moved") for _ in range(reach)]
        m.d.comb += [level[k].eq(Mux(first[bit], behind[k], moved[k])) for k in range(reach)]
        moved = level
    second, upper = _spread(m, mask[half:], moved[:half])
    total = Signal(range(lanes + 1))
    m.d.comb += total.eq(first + second)
    return total, lower + upper
