# SPDX-License-Identifier: Apache-2.0
"""What the units on an int32 stream share: vectors of lanes, magnitudes and pipelined trees."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data

__all__ = ["magnitude", "present", "register", "tree", "tree_depth", "vector_layout"]


def vector_layout(lanes: int) -> data.StructLayout:
    """Return the payload of ``lanes`` int32 values at a time.

    Members
    -------
    lanes : the values, the first in lane 0.
    count : how many lanes hold values, 1 to ``lanes``; looked at with ``last`` only, all other
        vectors are full.
    last : the vector ends its block.
    """
    if not 1 <= lanes <= 64:
        raise ValueError(f"lanes is {lanes}; legal: 1 to 64")
    return data.StructLayout(
        {"lanes": data.ArrayLayout(signed(32), lanes), "count": range(lanes + 1), "last": 1}
    )


def present(last: Value, count: Value, lane: int) -> Value:
    """Return whether lane number ``lane`` holds a value."""
    return ~last | (count > lane)


def magnitude(value: Value) -> Value:
    """Return the absolute value of an int32, as 32 unsigned bits (it may be 2^31)."""
    return Mux(value[31], -value.as_signed(), value)[:32]


def register(m: Module, value: Value, name: str) -> Value:
    """Return ``value`` one cycle later, of the same shape; its power-up content is never used."""
    stage = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += stage.eq(value)
    return stage


def tree_depth(inputs: int) -> int:
    """Return the cycles that ``tree`` takes."""
    return (inputs - 1).bit_length()


def tree(
    m: Module, values: Sequence[Value], join: Callable[[Value, Value], Value], name: str
) -> Value:
    """Return ``values`` joined in pairs, and the results again, with a register on every level."""
    level = 0
    while len(values) > 1:
        pairs = [values[k : k + 2] for k in range(0, len(values), 2)]
        values = [
            register(m, join(*pair) if len(pair) == 2 else pair[0], f"{name}_l{level}_{k}")
            for k, pair in enumerate(pairs)
        ]
        level += 1
    return values[0]
