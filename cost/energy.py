# SPDX-License-Identifier: Apache-2.0
"""What a program costs in energy, as of so many multiply-accumulates: an estimate from counts.

Each access is charged what Chen et al. ("Eyeriss", ISCA 2016) give for it beside a
multiply-accumulate: registers 1, a step between neighbours in the array 2, memory on chip 6, memory
outside 200. The ratios are those of one chip of 65 nm; they tell what a network spends where, not
joules.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Engine, VectorMode

__all__ = ["Energy", "energy"]

REGISTER, STEP, BUFFER, MEMORY = 1, 2, 6, 200


class Counted(Protocol):
    """An instruction and the bytes that it moves over the memory port."""

    @property
    def engine(self) -> Engine: ...
    @property
    def cycles(self) -> int: ...
    @property
    def fields(self) -> Mapping[str, Any]: ...
    @property
    def bytes_read(self) -> int: ...
    @property
    def bytes_written(self) -> int: ...


@dataclass(frozen=True)
class Energy:
    """Members
    -------
    array : multiply-accumulates, their registers, and the steps of activations and sums.
    buffers : bytes and sums in the memories on chip.
    memory : bytes over the memory port.
    """

    array: int
    buffers: int
    memory: int

    @property
    def total(self) -> int:
        """In multiply-accumulates, as all of them."""
        return self.array + self.buffers + self.memory

    def __add__(self, other: "Energy") -> "Energy":
        """Return that of both."""
        return Energy(
            self.array + other.array, self.buffers + other.buffers, self.memory + other.memory
        )


def energy(config: AcceleratorConfig, instructions: Iterable[Counted], macs: int) -> Energy:
    """Return the estimate for a program of ``macs`` multiply-accumulates.

    On chip it counts a byte that LOAD or STORE moves, a live row's activation and a column's sum
    (read and written) in each of COMPUTE's cycles, sum, parameters and result of each of VECTOR's
    (and what it is added to), and two operands and a result of each of SPECIAL's elements.
    """
    buffers = memory = 0
    for each in instructions:
        moved = each.bytes_read + each.bytes_written
        memory += moved
        buffers += moved
        if each.engine == Engine.COMPUTE:
            buffers += each.cycles * (each.fields["rows"] + 2 * config.columns)
        elif each.engine == Engine.VECTOR:
            fields = each.fields
            real = fields.get("mode") in (VectorMode.MEASURE, VectorMode.QUANTIZE, VectorMode.REAL)
            octets = 3 + fields.get("residual", 0) * (4 if real else 1)
            buffers += octets * fields["pixels"] * fields["lines"] * fields["channels"]
        elif each.engine == Engine.SPECIAL:
            buffers += 3 * each.cycles * config.special.lanes
    return Energy(macs * (1 + REGISTER + 2 * STEP), buffers * BUFFER, memory * MEMORY)
