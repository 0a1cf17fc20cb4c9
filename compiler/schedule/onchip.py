# SPDX-License-Identifier: Apache-2.0
"""On-chip memories as rings: what was loaded stays until the ring comes round to it."""

from collections.abc import Hashable
from dataclasses import dataclass

__all__ = ["Ring", "align_up"]


def align_up(value: int, unit: int) -> int:
    """Smallest multiple of ``unit`` that is not less than ``value``."""
    return -(-value // unit) * unit


@dataclass(frozen=True)
class _Entry:
    start: int
    stop: int


class Ring:
    """First-in first-out allocator of one memory, which remembers what lies where.

    Parameters
    ----------
    size : int
        Capacity, in the memory's own unit.
    unit : int
        Every block starts at a multiple of this.

    Members
    -------
    turned : units that it has gone around, those of blocks and those between them.
    """

    def __init__(self, size: int, unit: int = 1) -> None:
        self.size = size
        self.unit = unit
        self._next = self.turned = 0
        self._held: dict[Hashable, _Entry] = {}

    def find(self, key: Hashable) -> int | None:
        """Return where ``key`` lies, or None when it is not there (any more)."""
        entry = self._held.get(key)
        return None if entry is None else entry.start

    def place(self, key: Hashable, length: int, keep: Hashable = None) -> int:
        """Give ``key`` a block of ``length`` units, forgetting whatever lay there.

        Parameters
        ----------
        keep : of a block that is stepped around, where there is room beside it.

        Raises
        ------
        ValueError
            When the block is larger than the memory.
        """
        length = align_up(length, self.unit)
        if length > self.size:
            raise ValueError(f"a block of {length} does not fit a memory of {self.size}")
        start = self._beside(self._held.get(keep), length)
        stop = start + length
        self.turned += (start - self._next) % self.size + length
        self._next = stop
        self._held = {
            k: e for k, e in self._held.items() if e.stop <= start or stop <= e.start
        }
        self._held[key] = _Entry(start, stop)
        return start

    def leaves(self, start: int, stop: int, length: int) -> bool:
        """Return whether the next block, of ``length`` units, would leave ``start`` to ``stop``
        as it is."""
        length = align_up(length, self.unit)
        first = self._beside(None, length)
        return stop <= first or first + length <= start

    def _beside(self, kept: _Entry | None, length: int) -> int:
        """Return where the next block begins, if possible without a unit of ``kept``."""
        first = self._next if self._next + length <= self.size else 0
        if kept is not None:
            for start in (first, kept.stop, 0):
                beside = start >= kept.stop or start + length <= kept.start
                if beside and start + length <= self.size:
                    return start
        return first
