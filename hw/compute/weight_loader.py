# SPDX-License-Identifier: Apache-2.0
"""Reads a weight tile row by row and takes the zero point off."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

__all__ = ["WEIGHT_OPERAND", "WeightLoader"]

WEIGHT_OPERAND = data.StructLayout({
    "weight_signed": unsigned(1),
    "weight_zero": signed(9),
    "rows": unsigned(8),
})
"""COMPUTE's fields for weight tiles."""


class WeightLoader(Component):
    """Sends the rows of a tile into the array, one a cycle, ``latency`` cycles after ``tile``.

    A weight is the byte, sign- or zero-extended, minus the zero point, in 9 bits. Without
    handshake: tiles come at least ``rows`` cycles apart.

    Parameters
    ----------
    depth : rows in the scratchpad, a power of two.
    columns : bytes of a row.
    tile_bits : bits of a tile's first row, more than those of ``row``.
    bytes_after : 2 cycles or more.
    operand_after, latency : a cycle less, and 2 more, than ``bytes_after``.

    Members
    -------
    tile : In(stream.Signature(tile_bits, always_ready=True))
        First row of the tile.
    operand : In(WEIGHT_OPERAND)
        ``rows`` is looked at together with ``tile``, the others ``operand_after`` cycles later.
    row : Out(range(depth))
        To the scratchpad.
    bytes : In(ArrayLayout(8, columns))
        The scratchpad's, ``bytes_after`` cycles later.
    o : Out(stream.Signature({lanes, first}, always_ready=True))
        A row of the tile; ``first`` marks the first one.
    fault : Out(1)
        High for one cycle, the one after ``tile``, when the tile reaches beyond the scratchpad.
    """

    def __init__(
        self, depth: int, columns: int, tile_bits: int = 24, *, bytes_after: int
    ) -> None:
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth is {depth}; legal: a power of two, at least 2")
        if not 1 <= columns <= 128:
            raise ValueError(f"columns is {columns}; legal: 1 to 128")
        if bytes_after < 2:
            raise ValueError(f"bytes_after is {bytes_after}; legal: at least 2")
        self.depth = depth
        self.columns = columns
        self.tile_bits = tile_bits
        self.bytes_after = bytes_after
        self.operand_after = bytes_after - 1
        self.latency = bytes_after + 2
        word = data.StructLayout({"lanes": data.ArrayLayout(signed(9), columns), "first": 1})
        super().__init__({
            "tile": In(stream.Signature(tile_bits, always_ready=True)),
            "operand": In(WEIGHT_OPERAND),
            "row": Out(range(depth)),
            "bytes": In(data.ArrayLayout(8, columns)),
            "o": Out(stream.Signature(word, always_ready=True)),
            "fault": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Cycle 0: row addresses, one a cycle. Cycle 1: the verdict on the last of them.
        following = Signal.like(self.row)
        m.d.comb += self.row.eq(Mux(self.tile.valid, self.tile.payload, following))
        m.d.sync += following.eq(self.row + 1)
        came, waits = self.bytes_after, self.operand_after
        first, valid = Signal(came + 1), Signal(came + 1)
        left = Signal(8)
        end = Signal(self.tile_bits + 1)
        m.d.sync += first.eq(Cat(self.tile.valid, first))
        bits = exact_log2(self.depth)
        beyond = end[bits + 1 :].any() | (end[bits] & end[:bits].any())
        m.d.comb += self.fault.eq(first[0] & beyond)
        with m.If(self.tile.valid):
            m.d.sync += [
                end.eq(self.tile.payload + self.operand.rows),
                left.eq(self.operand.rows),
                valid[0].eq(1),
            ]
        with m.Else():
            m.d.sync += [left.eq(left - 1), valid[0].eq(valid[0] & (left != 1))]
        m.d.sync += valid[1:].eq(valid)

        # The bytes are here. A cycle later: nine bits. Another one: the operands.
        zero, later_zero, extend = Signal(9), Signal(9), Signal()
        with m.If(first[waits - 1]):
            m.d.sync += [
                zero.eq(self.operand.weight_zero),
                extend.eq(self.operand.weight_signed),
            ]
        m.d.sync += [
            later_zero.eq(zero),
            self.o.valid.eq(valid[came]),
            self.o.payload.first.eq(first[came]),
        ]
        for column in range(self.columns):
            byte = self.bytes[column]
            nine = Signal(9, name=f"nine_{column}", reset_less=True)
            m.d.sync += [
                nine.eq(Cat(byte, byte[7] & extend)),
                self.o.payload.lanes[column].eq((nine - later_zero)[:9]),
            ]
        return m
