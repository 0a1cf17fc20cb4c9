# SPDX-License-Identifier: Apache-2.0
"""Nested loops as the address generator wants them: jumps instead of strides."""

from collections.abc import Sequence
from dataclasses import dataclass

from kiwicha.machine.isa import LEVELS

__all__ = ["Loop", "jumps"]


@dataclass(frozen=True)
class Loop:
    """``count`` iterations, each moving y (rows), x (bytes in the row) and the address."""

    count: int = 1
    y: int = 0
    x: int = 0
    address: int = 0


def jumps(loops: Sequence[Loop]) -> list[dict[str, int]]:
    """Return COMPUTE's ``levels`` for loops given innermost first, by plain strides.

    When a loop steps, those inside it have just run to their last iteration; its jump takes
    back what they added.
    """
    if len(loops) != LEVELS:
        raise ValueError(f"{len(loops)} loops; the address generator has {LEVELS}")
    levels, back = [], {"y": 0, "x": 0, "address": 0}
    for loop in loops:
        stride = {"y": loop.y, "x": loop.x, "address": loop.address}
        # A loop of one iteration never steps; zero keeps its fields in range.
        jump = {k: stride[k] - back[k] if loop.count > 1 else 0 for k in stride}
        levels.append({"count": loop.count, **jump})
        back = {k: back[k] + (loop.count - 1) * stride[k] for k in back}
    return levels
