# SPDX-License-Identifier: Apache-2.0
"""Exact statistics of blocks of int32 values, and the record in which a machine keeps them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kiwicha.machine.isa import STATISTICS_RECORD

__all__ = ["BlockStatistics", "StatisticsRecord", "recorded", "statistics"]

_BITS = 33  # lengths of a magnitude, 0 to 32
_SCALARS = (
    "minimum", "maximum", "magnitude", "total", "total_magnitude", "total_square", "count",
)


@dataclass(frozen=True)
class BlockStatistics:
    """Statistics of a block, as Python integers of any size.

    Members
    -------
    minimum, maximum, magnitude : smallest and greatest value, greatest absolute value.
    total, total_magnitude, total_square : sums of x, \\|x\\| and x * x.
    count : elements.
    histogram : entry b counts the elements with 2**(b - 1) <= \\|x\\| < 2**b (b = 0: zeros), b
        from 0 to 32.
    """

    minimum: int
    maximum: int
    magnitude: int
    total: int
    total_magnitude: int
    total_square: int
    count: int
    histogram: tuple[int, ...]

    def joined(self, other: "BlockStatistics") -> "BlockStatistics":
        """Return the statistics of the elements of both."""
        return BlockStatistics(
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            magnitude=max(self.magnitude, other.magnitude),
            total=self.total + other.total,
            total_magnitude=self.total_magnitude + other.total_magnitude,
            total_square=self.total_square + other.total_square,
            count=self.count + other.count,
            histogram=tuple(a + b for a, b in zip(self.histogram, other.histogram, strict=True)),
        )


def statistics(block: npt.ArrayLike) -> BlockStatistics:
    """Return the statistics of all elements of ``block`` (int32 values, at least one).

    Raises
    ------
    ValueError
        For an empty block, or values beyond int32.
    """
    values = np.asarray(block, np.int64).ravel()
    if not values.size:
        raise ValueError("block is empty; legal: at least one element")
    low, high = int(values.min()), int(values.max())
    if low < -(1 << 31) or high >= 1 << 31:
        raise ValueError(f"block holds {low} to {high}; legal: int32")
    magnitude = np.abs(values)
    upper, lower = magnitude >> 16, magnitude & 0xFFFF
    # A square has 63 bits, so that sums of them are taken in parts.
    squares = (int((part * other).sum()) for part, other in (
        (upper, upper), (upper, lower), (lower, lower)
    ))
    parts = zip(squares, (32, 17, 0), strict=True)
    # A magnitude is exact in binary64, whose exponent is its bit length.
    bits = np.bincount(np.frexp(magnitude.astype(np.float64))[1], minlength=_BITS)
    return BlockStatistics(
        minimum=low,
        maximum=high,
        magnitude=int(magnitude.max()),
        total=int(values.sum()),
        total_magnitude=int(magnitude.sum()),
        total_square=sum(part << shift for part, shift in parts),
        count=values.size,
        histogram=tuple(map(int, bits)),
    )


@dataclass
class StatisticsRecord:
    """The statistics that a machine with ``statistics.elements`` of ``limit`` keeps.

    Members
    -------
    block : of the elements since ``begin``, None before the first one.
    overflow : more than ``limit`` of them came.
    """

    block: BlockStatistics | None = None
    overflow: bool = False

    def add(self, values: npt.ArrayLike, limit: int, *, begin: bool) -> None:
        """Let ``values`` enter; ``begin`` forgets what came before."""
        found = statistics(values)
        if begin or (self.block is None and not self.overflow):
            self.block, self.overflow = found, False
        elif self.block is not None:
            self.block = self.block.joined(found)
        if self.block is not None and self.block.count > limit:
            self.block, self.overflow = None, True

    def octets(self) -> npt.NDArray[np.uint8]:
        """Return the record as STORE writes it, ``machine.isa.STATISTICS_RECORD``."""
        fields = vars(self.block) if self.block is not None else {}
        bits = int(self.overflow) << STATISTICS_RECORD["overflow"].offset
        for name, value in fields.items():
            field = STATISTICS_RECORD[name]
            if name == "histogram":
                value = sum(entry << 32 * place for place, entry in enumerate(value))
            bits |= (value % (1 << field.width)) << field.offset
        size = STATISTICS_RECORD.size // 8
        return np.frombuffer(bits.to_bytes(size, "little"), np.uint8)


def recorded(octets: npt.NDArray[np.uint8]) -> BlockStatistics:
    """Return what a record says that STORE has written.

    Raises
    ------
    ValueError
        For a record of no values, or of more than the machine keeps.
    """
    record = STATISTICS_RECORD.from_bits(int.from_bytes(octets.tobytes(), "little"))
    if not record.count:
        raise ValueError(f"the record is empty; overflow is {record.overflow}")
    scalars = {name: int(record[name]) for name in _SCALARS}
    return BlockStatistics(**scalars, histogram=tuple(int(entry) for entry in record.histogram))
