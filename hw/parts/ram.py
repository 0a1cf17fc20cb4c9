# SPDX-License-Identifier: Apache-2.0
"""Block RAM of which nobody reads an address in the cycle in which it is written.

A further FPGA family is a subclass of ``Ram`` and a line in ``_RAMS``.
"""

from amaranth.hdl import Cat, Module, ShapeLike, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.dp16kd import BYTE, DEEPEST, block_ram_cell, cell_width
from kiwicha.machine.modes import CellFamily

__all__ = ["Ecp5Ram", "Ram", "block_ram", "ram_class"]


def block_ram(shape: ShapeLike, depth: int) -> Memory:
    """Return a memory whose read data means nothing when its address is written just then.

    Amaranth promises the old value in that case. Block RAM that cannot keep the promise gets a
    register per written bit and a bypass around it (measured on ECP5: 18 flip-flops and 8
    multiplexers for each byte bank), unless Yosys is told that nobody cares.
    """
    return Memory(shape=shape, depth=depth, init=[], attrs={"no_rw_check": 1})


class Ram(Component):
    """Block RAM, and a register behind it, as it is slow itself: a write and a read a cycle.

    What is read of an address that is written in that cycle means nothing. No reset; contents are
    undefined at first. This class is an array and a register, which synthesis tools make of what
    they have. A subclass for an FPGA family makes its cells in ``_cells``. Emission uses those;
    simulators and proofs get the array, the same bits in the same cycles
    (`tests/parts/test_ram.py` compares the two). Without the register it is an array for every
    family: tools find such block RAM themselves.

    Parameters
    ----------
    width : bits of a word.
    depth : words.
    granularity : bits that have a write enable of their own; a divisor of ``width``, or left out.
    registered : whether there is the register.
    latency : cycles from ``read_address`` to ``read_data``: 2, or 1 without the register.

    Members
    -------
    write : In(width // granularity), write_address, write_data
        A bit of ``write`` writes its bits of the word.
    read : In(1), read_address
        The memory's output is that word from the next cycle on, until ``read`` is high again.
    take : In(1)
        The register takes the memory's output as it is in this cycle; only beside ``read``, since
        cells of some families do not move else. Nobody looks at it if there is none.
    read_data : Out(width)
        The register, or the memory's output: with all enables high, the word that was addressed
        ``latency`` cycles ago.

    Raises
    ------
    ValueError
        For a granularity that does not divide the width.
    """

    def __init__(
        self, width: int, depth: int, *, granularity: int | None = None, registered: bool = True
    ) -> None:
        self.width = width
        self.depth = depth
        self.registered = registered
        self.latency = 2 if registered else 1
        self.granularity = width if granularity is None else granularity
        if self.granularity < 1 or width % self.granularity:
            raise ValueError(f"granularity is {granularity}; legal: a divisor of {width}")
        super().__init__({
            "write": In(width // self.granularity),
            "write_address": In(range(depth)),
            "write_data": In(width),
            "read": In(1, init=1),
            "read_address": In(range(depth)),
            "take": In(1, init=1),
            "read_data": Out(width),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.registered and getattr(platform, "cells", False) and self._cells(m):
            return m
        m.submodules.words = memory = block_ram(self.width, self.depth)
        memory.attrs["ram_style"] = "block"
        write, read = memory.write_port(granularity=self.granularity), memory.read_port()
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.en.eq(self.read),
            read.addr.eq(self.read_address),
        ]
        if not self.registered:
            m.d.comb += self.read_data.eq(read.data)
            return m
        later = Signal(self.width, name="taken", reset_less=True)
        m.d.comb += self.read_data.eq(later)
        with m.If(self.take):
            m.d.sync += later.eq(read.data)
        return m

    def _cells(self, m: Module) -> bool:
        """Add cells of the family to ``m``; return False, and add none, if none fits."""
        return False


class Ecp5Ram(Ram):
    """DP16KD or PDPW16KD side by side, their output registers in use.

    Memories that are too deep for one cell, or written in other pieces than bytes where a cell is
    wider than these, are left to the synthesis tool.
    """

    def _cells(self, m: Module) -> bool:
        if self.depth > DEEPEST:
            return False
        wide = cell_width(self.depth)
        # Per cell, the first bits of the pieces that lie in it, and how far apart they are there.
        piece_bits = self.granularity
        pieces = range(0, self.width, piece_bits)
        if piece_bits >= wide or len(pieces) == 1:
            step = wide
            starts = [[low] for piece in pieces for low in range(piece, piece + piece_bits, wide)]
        elif piece_bits == BYTE - 1:
            step = BYTE
            several = wide // BYTE
            starts = [[*pieces[n : n + several]] for n in range(0, len(pieces), several)]
        else:
            return False
        for number, lows in enumerate(starts):
            written, stored = Signal(wide), Signal(wide, name=f"stored_{number}")
            enables = []
            for place, low in enumerate(lows):
                piece = low // piece_bits
                high = min(low + step, (piece + 1) * piece_bits)
                inside = slice(place * step, place * step + high - low)
                enables.append(self.write[piece])
                m.d.comb += [
                    written[inside].eq(self.write_data[low:high]),
                    self.read_data[low:high].eq(stored[inside]),
                ]
            m.submodules[f"cell_{number}"] = block_ram_cell(
                self.depth,
                write=Cat(enables),
                write_address=self.write_address,
                write_data=written,
                read=self.read,
                read_address=self.read_address,
                take=self.take,
                read_data=stored,
            )
        return True


_RAMS: dict[CellFamily, type[Ram]] = {CellFamily.ECP5: Ecp5Ram}


def ram_class(cells: CellFamily) -> type[Ram]:
    """Return the block RAM of a family of cells; plain where the family has none."""
    return _RAMS.get(cells, Ram)
