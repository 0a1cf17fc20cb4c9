# SPDX-License-Identifier: Apache-2.0
"""How busy the array is: MACs / (cycles x rows x columns), each layer beside its bound."""

import argparse
from collections.abc import Callable
from typing import Any

from kiwicha.bench.onchip import steady_state
from kiwicha.bench.options import machine, measured
from kiwicha.bench.program import Memory, layer, measure
from kiwicha.bench.table import Table, say, terminal
from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.emit import emit
from kiwicha.compiler.schedule.search import choose_plan
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.simulation import SimulatedMachine, simulated_machine

__all__ = ["LAYERS", "main", "utilization"]

_Shape = tuple[tuple[int, int, int], int, int, int]

#: name: (height, width, channels of the input), outputs, kernel, groups
LAYERS: dict[str, _Shape] = {
    "conv 3x3, 64 > 64, 28x28": ((28, 28, 64), 64, 3, 1),
    "conv 1x1, 64 > 64, 28x28": ((28, 28, 64), 64, 1, 1),
    "conv 5x5, 1 > 6, 28x28": ((28, 28, 1), 6, 5, 1),
    "depthwise 3x3, 64, 28x28": ((28, 28, 64), 64, 3, 64),
    "GEMM 64x64x64": ((64, 1, 64), 64, 1, 1),
    "FC 1024 > 1024, batch 1": ((1, 1, 1024), 1024, 1, 1),
}
_TARGETS = {"conv 3x3, 64 > 64, 28x28": 0.95}
_COLUMNS = ("layer", "MACs", "cycles", "predicted", "utilization", "bound", "target")


def _row(values: dict[str, Any]) -> tuple[str, ...]:
    target = values["target"]
    return (
        values["layer"],
        f"{values['macs']:,}",
        f"{values['cycles']:,.0f}",
        f"{values['predicted']:,.0f}",
        f"{values['utilization']:.2%}",
        f"{values['bound']:.2%} {values['bound_by']}",
        "-" if target is None else f">= {target:.0%}",
    )


def _with_memory(
    config: AcceleratorConfig, machine: SimulatedMachine, shape: _Shape, latency: int, seed: int
) -> dict[str, Any]:
    image, outputs, kernel, groups = shape
    work, x = layer(config, image, outputs, kernel, groups=groups, seed=seed)
    builder, memory = ProgramBuilder(config), Memory(work, x)
    plan = choose_plan(work, config)
    emit(plan.form(work), plan.tiling, builder, memory.put)
    run = measure(builder, memory, machine, latency=latency)
    lanes = config.rows * config.columns
    return {
        "macs": work.macs,
        "cycles": run.cycles,
        "predicted": run.predicted,
        "utilization": work.macs / (run.cycles * lanes),
        "bound": work.macs / (run.bound * lanes),
        "bound_by": run.bound_by,
    }


def utilization(
    config: AcceleratorConfig,
    *,
    latency: int = 20,
    seed: int = 1,
    layers: dict[str, _Shape] | None = None,
    size: int = 64,
    more_lanes: int = 0,
    progress: Callable[[str], None] = say,
) -> Table:
    """Measure single layers from memory to memory, and a matrix product on chip.

    Parameters
    ----------
    latency : cycles from a read address to its first beat.
    size : of the product on chip, in all three dimensions.
    more_lanes : that product also on a machine with so many requantizer lanes; 0 leaves it out.
    """
    progress(f"utilization: building the {config.rows}x{config.columns} machine '{config.name}'")
    machine = simulated_machine(config, 0)
    lanes = config.rows * config.columns
    values = []
    for name, shape in (LAYERS if layers is None else layers).items():
        progress(f"utilization: {name}")
        figures = _with_memory(config, machine, shape, latency, seed)
        values.append({"layer": name, **figures, "target": _TARGETS.get(name)})
    wider = config.replace(requantize_lanes=more_lanes) if more_lanes else None
    for each, drains in ((config, False), (config, True), (wider, True)):
        if each is None:
            continue
        what = f"{each.requantize_lanes} requantizers" if drains else "array alone"
        name = f"GEMM {size}x{size}x{size} on chip, {what}"
        progress(f"utilization: {name}")
        if each is not config:
            machine = simulated_machine(each, 0)
        run = steady_state(each, machine, size=size, drains=drains, latency=latency, seed=seed)
        values.append(
            {
                "layer": name,
                "macs": run.macs,
                "cycles": run.cycles,
                "predicted": run.predicted,
                "utilization": run.macs / (run.cycles * lanes),
                "bound": run.macs / (run.bound * lanes),
                "bound_by": run.bound_by,
                "target": 0.99 if size == 64 else None,
            }
        )
    return Table(
        "utilization",
        f"MAC utilization: {config.rows}x{config.columns} array, {config.axi_data_width}-bit "
        f"AXI, latency {latency}",
        _COLUMNS,
        tuple(_row(figures) for figures in values),
        (
            f"Preset '{config.name}', simulated memory with {latency} cycles from read address to "
            f"first beat and no stalls, random data of seed {seed}; all of memory was compared "
            "with the golden machine after every run.",
            "Cycles are the machine's own counter, from START to the interrupt: one layer alone, "
            "all loads and stores and the fetching of the program included.",
            "Utilization is MACs / (cycles x rows x columns). The bound is what the busiest engine "
            "would allow if it never waited: read (bandwidth of the memory port), array (passes "
            "over it, partly filled ones included), requantize (one result a lane and cycle), "
            "write. 'predicted' is the compiler's performance model.",
            "On chip: operands loaded once, then 4 and 20 products; a product's cycles are the "
            "difference divided by 16. 'array alone' overwrites results in the accumulators; with "
            "requantizers, each product is drained through so many lanes into the output buffer: "
            "one half of the accumulators while the other one fills, so that the latencies of both "
            "show where draining takes as long as computing. "
            "Only the last product is stored.",
        ),
        tuple(values),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--latency", type=int, default=20, help="cycles of memory (default 20)")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    config = machine(parser, arguments.preset)
    settings = {"latency": arguments.latency, "seed": arguments.seed}
    measured(parser, config, lambda: utilization(config, **settings)).show(terminal())


if __name__ == "__main__":
    main()
