# SPDX-License-Identifier: Apache-2.0
"""Simulated cycles per second, against what cocotb's own defaults give for the same machine."""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kiwicha.bench.cocotb_default import cocotb_machine
from kiwicha.bench.options import machine, measured
from kiwicha.bench.program import Memory, layer, measure
from kiwicha.bench.table import Table, say, terminal
from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.emit import emit
from kiwicha.compiler.schedule.search import choose_tiling
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.simulation import SimulatedMachine, simulated_machine

__all__ = ["main", "speed"]

_OURS, _CLOCK = "Kiwicha", "KIWICHA_BENCH_CLOCK"
_COLUMNS = ("how it is built and clocked", "cycles", "seconds", "cycles/s", "Kiwicha is", "target")


@contextmanager
def _clock(kind: str) -> Iterator[None]:
    """Which of cocotb's clocks the run uses, told by the environment."""
    os.environ |= {_CLOCK: kind} if kind else {}
    try:
        yield
    finally:
        os.environ.pop(_CLOCK, None)


def _ways(
    config: AcceleratorConfig, python_clock: bool, progress: Callable[[str], None]
) -> dict[str, tuple[SimulatedMachine, str]]:
    """Return (machine, kind of cocotb's clock) by what is compared."""
    progress("speed: building as Kiwicha does")
    ours = simulated_machine(config, 0)
    progress("speed: building with every signal public")
    public = simulated_machine(config, 0, public="all")
    progress("speed: building with cocotb's defaults")
    inside = cocotb_machine(config, ours.memory_bytes, clock_outside=False)
    progress("speed: building with cocotb's defaults, clock from cocotb")
    outside = cocotb_machine(config, ours.memory_bytes, clock_outside=True)
    ways = {
        _OURS: (ours, ""),
        "Kiwicha, but --public-flat-rw": (public, ""),
        "cocotb's runner, clock in the testbench": (inside, ""),
        "cocotb's runner, cocotb's Clock": (outside, ""),
    }
    return ways | ({"cocotb's runner, Clock in Python": (outside, "py")} if python_clock else {})


def speed(
    config: AcceleratorConfig,
    *,
    latency: int = 20,
    seed: int = 1,
    channels: int = 64,
    image: int = 28,
    rounds: int = 2,
    python_clock: bool = True,
    progress: Callable[[str], None] = say,
) -> Table:
    """Run one convolution on the machine built in several ways, and time it.

    Parameters
    ----------
    channels, image : of the 3x3 convolution: inputs and outputs, height and width.
    rounds : every way is run this often, in turn; the fastest counts.
    python_clock : also with cocotb's clock written in Python, which is the slowest.
    """
    ways = _ways(config, python_clock, progress)
    work, x = layer(config, (image, image, channels), channels, 3, seed=seed)
    builder = ProgramBuilder(config)
    constants = Memory(work, x)
    emit(work, choose_tiling(work, config), builder, constants.put)
    cycles, seconds = 0, dict.fromkeys(ways, float("inf"))
    for count in range(rounds):
        for way, (machine, kind) in ways.items():
            progress(f"speed: round {count + 1} of {rounds}: {way}")
            with _clock(kind):
                run = measure(builder, constants.copy(), machine, latency=latency)
            if cycles not in (0, run.cycles):
                raise RuntimeError(f"{way}: {run.cycles} cycles, not {cycles}")
            cycles, seconds[way] = run.cycles, min(seconds[way], run.seconds)
    values: list[dict[str, Any]] = [
        {
            "way": way,
            "cycles": cycles,
            "seconds": taken,
            "cycles_per_second": cycles / taken,
            "ratio": taken / seconds[_OURS],
            "target": 3.0 if way.startswith("cocotb") else None,
        }
        for way, taken in seconds.items()
    ]
    return Table(
        "speed",
        f"Simulation speed: {config.rows}x{config.columns} machine, 3x3 convolution",
        _COLUMNS,
        tuple(
            (
                figures["way"],
                f"{figures['cycles']:,}",
                f"{figures['seconds']:.2f}",
                f"{figures['cycles_per_second']:,.0f}",
                f"{figures['ratio']:.2f}x" if figures["way"] != _OURS else "-",
                "-" if figures["target"] is None else f">= {figures['target']:.0f}x",
            )
            for figures in values
        ),
        (
            f"Preset '{config.name}', one 3x3 convolution, {channels} > {channels} channels on "
            f"{image}x{image}, memory latency {latency}, seed {seed}. Wall time from START to the "
            f"interrupt, without building and loading; the faster of {rounds} runs of each, taken "
            "in turn in the same process. All run the same Verilog and take the same cycles.",
            "Kiwicha: only the top's ports are public to cocotb, the clock is in the testbench, "
            "Python sleeps until the interrupt. Built with "
            f"{ways[_OURS][0].build.toolchain.version} and -O2.",
            "cocotb's runner: get_runner('verilator').build with no options for speed, that is "
            "--public-flat-rw and -Os from Verilator's makefile. 'cocotb's Clock' is "
            "Clock(dut.clk, 2, 'ns').start() as in cocotb's examples, which cocotb 2 runs in C++; "
            "'in Python' is the same with impl='py', its only clock before version 2.",
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
    measured(parser, config, lambda: speed(config, **settings)).show(terminal())


if __name__ == "__main__":
    main()
