# SPDX-License-Identifier: Apache-2.0
"""What the simulation's speed depends on, and on what it does not: one thing at a time."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kiwicha.bench.program import Measured, Memory, layer, measure
from kiwicha.bench.table import Table, say
from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.emit import emit
from kiwicha.compiler.schedule.search import choose_tiling
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.simulation import SimulatedMachine, simulated_machine

__all__ = ["simulation"]

_COLUMNS = (
    "program", "memory", "besides", "MAC in use", "cycles", "cycles / CPU s", "to the first",
    "cycles / s of wall time",
)
_BUSY = "while True: pass"


@contextmanager
def _neighbours(count: int) -> Iterator[None]:
    """Keep the processor busy with so many other processes."""
    running = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def simulation(
    config: AcceleratorConfig,
    *,
    latency: int = 20,
    seed: int = 1,
    channels: int = 64,
    image: int = 28,
    large: int = 512,
    rounds: int = 2,
    progress: Callable[[str], None] = say,
) -> Table:
    """Run programs that differ in one thing each, and time them.

    Parameters
    ----------
    channels, image : of the convolutions, inputs and outputs; height and width. The product has 16
        times as many.
    large : MB of the large memory; the small one is the smallest that a simulation has.
    rounds : every way is run this often, in turn; the fastest counts.
    """
    progress("simulation: building with a small memory")
    small = simulated_machine(config, 0)
    progress("simulation: building with a large memory")
    big = simulated_machine(config, large << 20)
    progress("simulation: building with all of the board public")
    public = simulated_machine(config, 0, public="top")
    many = 16 * channels
    conv, deep = f"conv 3x3, {channels} > {channels}", f"depthwise 3x3, {channels}"
    product = f"FC {many} > {many}"
    shapes: dict[str, tuple[tuple[int, int, int], int, int, int]] = {
        conv: ((image, image, channels), channels, 3, 1),
        deep: ((image, image, channels), channels, 3, channels),
        product: ((1, 1, many), many, 1, 1),
    }
    made = {}
    for name, (shape, outputs, kernel, groups) in shapes.items():
        work, x = layer(config, shape, outputs, kernel, groups=groups, seed=seed)
        builder, constants = ProgramBuilder(config), Memory(work, x)
        emit(work, choose_tiling(work, config), builder, constants.put)
        macs = shape[0] * shape[1] * outputs * kernel * kernel * shape[2] // groups
        made[name] = builder, constants, macs
    others = os.cpu_count() or 1
    ways: list[tuple[str, SimulatedMachine, str, int]] = [
        (conv, small, "", 0), (deep, small, "", 0), (product, small, "", 0),
        (conv, big, "", 0), (product, big, "", 0),
        (conv, small, f"{others} busy processes", others),
        (conv, public, "all of the board public", 0),
    ]
    best: list[Measured | None] = [None] * len(ways)
    for count in range(rounds):
        for at, (name, machine, besides, busy) in enumerate(ways):
            progress(f"simulation: round {count + 1} of {rounds}: {name}{', ' * bool(besides)}"
                     f"{besides}, {machine.memory_bytes >> 20} MB")
            builder, constants, _ = made[name]
            with _neighbours(busy):
                run = measure(builder, constants.copy(), machine, latency=latency)
            before = best[at]
            if before is None or run.processor < before.processor:
                best[at] = run
    values: list[dict[str, Any]] = [
        {
            "program": name,
            "memory": machine.memory_bytes,
            "besides": besides,
            "in_use": made[name][2] / (run.cycles * config.rows * config.columns),
            "cycles": run.cycles,
            "cycles_per_processor_second": run.cycles / run.processor,
            "cycles_per_second": run.cycles / run.seconds,
        }
        for (name, machine, besides, _), run in zip(ways, best, strict=True) if run is not None
    ]
    first = values[0]["cycles_per_processor_second"]
    return Table(
        "simulation",
        f"What the simulation's speed depends on: {config.rows}x{config.columns} machine",
        _COLUMNS,
        tuple(
            (
                found["program"], f"{found['memory'] >> 20} MB", found["besides"] or "-",
                f"{found['in_use']:.1%}", f"{found['cycles']:,}",
                f"{found['cycles_per_processor_second']:,.0f}",
                f"{found['cycles_per_processor_second'] / first:.2f}x",
                f"{found['cycles_per_second']:,.0f}",
            )
            for found in values
        ),
        (
            f"Preset '{config.name}', images of {image}x{image}, memory latency {latency}, seed "
            f"{seed}; the faster of {rounds} runs of each, taken in turn. Seconds from START to "
            "the interrupt, without building and loading.",
            "Verilator evaluates the whole machine in every cycle: what a program does, how much "
            "of the array is in use and how long it runs make no difference; a large memory "
            "makes little. Big networks run for minutes, in which the computer does other things: "
            "that is what wall time shows.",
            "All of the board public: cocotb could then write any signal of the testbench, the "
            "reset's register among them, so that Verilator evaluates what it reaches, most of "
            "the machine, twice more in every cycle.",
        ),
        tuple(values),
    )
