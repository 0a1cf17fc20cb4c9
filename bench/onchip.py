# SPDX-License-Identifier: Apache-2.0
"""A matrix product repeated on operands that stay on chip: what the array does in steady state."""

from dataclasses import dataclass
from typing import Any

from kiwicha.bench.program import Memory, layer, measure
from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.emit import emit
from kiwicha.compiler.emit.instruction import Transfer
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.tiling import Tiling, legal_tilings
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.simulation import SimulatedMachine

__all__ = ["Steady", "steady_state"]

_FEW, _MANY = 4, 20


class _OnChip(ProgramBuilder):
    """Leaves out what a repeated layer on chip does not do: stores, or draining as well."""

    stores, drains = True, True

    def store(self, transfer: Transfer, *arguments: Any, **named: Any) -> None:
        if self.stores:
            super().store(transfer, *arguments, **named)

    def vector(self, *arguments: object, **named: object) -> None:
        if self.drains:
            super().vector(*arguments, **named)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Steady:
    """Cycles of one product among many, as measured, as predicted, and of the busiest engine."""

    cycles: float
    predicted: float
    macs: int
    bound: float
    bound_by: str


def _tiling(work: Contraction, config: AcceleratorConfig) -> Tiling:
    """Return the tiling with the fewest, largest instructions."""

    def instructions(t: Tiling) -> int:
        return -(-work.y.height // t.rows) * -(-len(t.tiles) // t.group)

    return min(legal_tilings(work, config), key=lambda t: (instructions(t), not t.assemble))


def steady_state(
    config: AcceleratorConfig,
    machine: SimulatedMachine,
    *,
    size: int = 64,
    drains: bool = True,
    latency: int = 20,
    seed: int = 1,
) -> Steady:
    """Measure a size x size x size product whose operands are loaded once.

    The instructions are those that the compiler writes, repeated; the stores of all but the last
    product are left out. Two programs, of 4 and of 20 products, are run: the difference, divided
    by 16, is one product without loading, filling, draining and storing.

    Parameters
    ----------
    drains : every product goes through the requantizer into the output buffer. Without, only the
        last one does, and the others are overwritten in the accumulators.
    """
    runs = []
    for count in (_FEW, _MANY):
        work, x = layer(config, (size, 1, size), size, 1, seed=seed)
        builder, memory = _OnChip(config), Memory(work, x)
        loads = 0
        for index in range(count):
            builder.stores = index == count - 1
            builder.drains = drains or builder.stores
            emit(work, _tiling(work, config), builder, memory.put)
            if index == 0:
                loads = sum(i.bytes_read for i in builder.instructions)
        if sum(i.bytes_read for i in builder.instructions) != loads and drains:
            raise ValueError(f"size={size}: the operands do not stay on the chip of {config.name}")
        runs.append(measure(builder, memory, machine, latency=latency))
    few, many = runs
    repeats = _MANY - _FEW
    return Steady(
        (many.cycles - few.cycles) / repeats,
        (many.predicted - few.predicted) / repeats,
        work.macs,
        (many.bound - few.bound) / repeats,
        many.bound_by,
    )
