# SPDX-License-Identifier: Apache-2.0
"""Block RAM of which nobody reads an address in the cycle in which it is written."""

from amaranth.hdl import ShapeLike
from amaranth.lib.memory import Memory

__all__ = ["block_ram"]


def block_ram(shape: ShapeLike, depth: int) -> Memory:
    """Return a memory whose read data means nothing when its address is written just then.

    Amaranth promises the old value in that case. Block RAM that cannot keep the promise gets a
    register per written bit and a bypass around it (measured on ECP5: 18 flip-flops and 8
    multiplexers for each byte bank), unless Yosys is told that nobody cares.
    """
    return Memory(shape=shape, depth=depth, init=[], attrs={"no_rw_check": 1})
