# SPDX-License-Identifier: Apache-2.0
"""From scratchpad bytes to array operands: padding, zero point, rows that are not in use."""

from typing import Final

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

__all__ = ["FEED_OPERAND", "FEED_POSITION", "ActivationFeed"]

FEED_POSITION: Final = data.StructLayout({
    "y": signed(16),
    "x": signed(24),
    "y_limit": unsigned(16),
    "x_limit": unsigned(24),
})
"""Where lane 0 lies in the image, and the image's bounds."""

FEED_OPERAND: Final = data.StructLayout({
    "activation_signed": unsigned(1),
    "activation_zero": signed(9),
    "pad": signed(9),
    "rows": unsigned(8),
})
"""COMPUTE's fields for the value of a lane."""


class ActivationFeed(Component):
    """Makes the array's operands out of bytes that were read ``bytes_after`` cycles after.

    Lane l is inside if 0 <= y < y_limit and 0 <= x + l < x_limit (in as many bits as that takes).
    Inside it is the byte, sign- or zero-extended, minus the zero point, in 9 bits; outside it is
    ``pad``; from ``rows`` on it is 0. A vector a cycle, without handshake.

    Parameters
    ----------
    rows : lanes, 1 to 128.
    bytes_after : cycles, at least 4.
    depthwise : whether columns of the array may be fed lanes of their own.
    latency : cycles from ``position`` to ``lanes``: one more.

    Members
    -------
    position : In(FEED_POSITION).
    begin : In(1)
        The vector is the first for which ``operand`` counts; ``operand`` is looked at
        ``operand_after`` cycles later and holds until the next ``begin``, which comes at least
        ``gap`` cycles after the last vector that it is meant for.
    operand : In(FEED_OPERAND).
    bytes : In(ArrayLayout(8, rows))
        The scratchpad's bytes, ``bytes_after`` cycles after ``position``.
    lanes : Out(ArrayLayout(signed(9), rows))
    filter : In(1)
        Part of ``operand``: lanes are columns' own, so that all of them are live; only with
        ``depthwise``, as ``filtered`` and ``down``.
    filtered : Out(1)
        ``filter`` of the vector in ``lanes``.
    down : Out(rows)
        The array rows that multiply its columns' own lanes: the first ``rows``, if it is.
    """

    operand_after = 1
    gap = 4

    def __init__(self, rows: int, bytes_after: int, *, depthwise: bool = False) -> None:
        if not 1 <= rows <= 128:
            raise ValueError(f"rows is {rows}; legal: 1 to 128")
        if bytes_after < 4:
            raise ValueError(f"bytes_after is {bytes_after}; legal: at least 4")
        self.rows = rows
        self.bytes_after = bytes_after
        self.depthwise = depthwise
        own = {"filter": In(1), "filtered": Out(1), "down": Out(rows)}
        self.latency = bytes_after + 1
        super().__init__({
            "position": In(FEED_POSITION),
            "begin": In(1),
            "operand": In(FEED_OPERAND),
            "bytes": In(data.ArrayLayout(8, rows)),
            "lanes": Out(data.ArrayLayout(signed(9), rows)),
            **(own if depthwise else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = self.rows
        # Lanes differ in so many bits of a place.
        bits = max(1, (rows - 1).bit_length())
        here = self.position

        # Cycle 1: the row test and the room to the right edge.
        s1_row = Signal()
        s1_x = Signal(signed(24))
        s1_room = Signal(signed(26))
        s1_begin = Signal()
        m.d.sync += [
            s1_row.eq((here.y >= 0) & (here.y < here.y_limit)),
            s1_x.eq(here.x),
            s1_room.eq(here.x_limit - here.x),
            s1_begin.eq(self.begin),
        ]

        # Cycle 2: both bounds cut down to those bits. To the left of the image only the last
        # 2**bits places count.
        s2_row, s2_left, s2_right = Signal(), Signal(), Signal()
        s2_low, s2_high = Signal(bits), Signal(bits)
        m.d.sync += [
            s2_row.eq(s1_row & (~s1_x[-1] | s1_x[bits:].all()) & ~s1_room[-1]),
            s2_left.eq(~s1_x[-1]),
            s2_low.eq(s1_x),
            s2_right.eq(s1_room[bits:].any()),
            s2_high.eq(s1_room),
        ]

        # An instruction's operand counts when its first vector is in cycle 2. The last vector of
        # the one before is ``gap`` cycles ahead: its lanes were made of its bytes by then.
        zero, pad, extend = Signal(9), Signal(9), Signal()
        live = Signal(rows)
        own = self.filter if self.depthwise else None
        if own is not None:
            filtered, down = Signal(), Signal(rows)
            # As late as the lanes that are made meanwhile.
            m.d.sync += [self.filtered.eq(filtered), self.down.eq(down)]
        with m.If(s1_begin):
            operand = self.operand
            asked = [_at_least(operand.rows[: rows.bit_length()], lane + 1) for lane in range(rows)]
            m.d.sync += [
                extend.eq(operand.activation_signed),
                zero.eq(operand.activation_zero),
                # The zero point is taken off both bytes and padding.
                pad.eq(operand.pad + operand.activation_zero),
                *(
                    live[lane].eq(inside if own is None else own | inside)
                    for lane, inside in enumerate(asked)
                ),
            ]
            if own is not None:
                m.d.sync += [filtered.eq(own), down.eq(Cat(asked) & own.replicate(rows))]

        # Cycle 3: a bit per lane for either bound.
        s3_row = Signal()
        s3_low, s3_high = Signal(rows), Signal(rows)
        m.d.sync += s3_row.eq(s2_row)
        for lane in range(rows):
            m.d.sync += [
                s3_low[lane].eq(s2_left | _at_least(s2_low, (1 << bits) - lane)),
                s3_high[lane].eq(s2_right | _at_least(s2_high, lane + 1)),
            ]

        # From cycle 4 on: inside or not. One cycle after the bytes came: the operand.
        inside: Value = s3_low & s3_high & s3_row.replicate(rows)
        for cycle in range(4, self.bytes_after + 1):
            later = Signal(rows, name=f"inside_{cycle}")
            m.d.sync += later.eq(inside)
            inside = later
        for lane in range(rows):
            byte = self.bytes[lane]
            nine = Signal(9, name=f"nine{lane}")
            m.d.comb += [nine[:8].eq(byte), nine[8].eq(byte[7] & extend)]
            value = Mux(inside[lane], nine, pad) - zero
            m.d.sync += self.lanes[lane].eq(Mux(live[lane], value[:9], 0))
        return m


def _at_least(value: Value, bound: int) -> Value:
    """Return whether an unsigned value is ``bound`` or more, in gates: carry chains cost more."""
    if bound >> len(value):
        return Const(0, 1)
    result: Value = Const(1, 1)
    for place, bit in enumerate(value):
        result = bit & result if bound >> place & 1 else bit | result
    return result
