# SPDX-License-Identifier: Apache-2.0
"""The commands ``kiwicha verilog`` and ``kiwicha presets``, and choosing a configuration."""

import argparse
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from kiwicha.api.machine import preset, read_config, write_verilog
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import PRESETS
from kiwicha.report.terminal import output_console
from kiwicha.sim.files import check_folder
from kiwicha.sim.follow import BASE, additions
from kiwicha.sim.hardware import check_hardware_name
from kiwicha.sim.progress import Progress

__all__ = ["configuration", "machine", "print_additions", "run_presets", "run_verilog"]


def configuration(args: argparse.Namespace) -> AcceleratorConfig:
    """Return the machine that ``--preset`` or ``--config`` names.

    Raises
    ------
    ConfigError
        In one line, naming the file and the field.
    """
    if args.config is not None:
        return read_config(args.config)
    return preset(args.preset or "default")


def machine(args: argparse.Namespace) -> AcceleratorConfig | None:
    """Return what `configuration` does; None, for one that follows the model, without either."""
    return configuration(args) if args.preset or args.config else None


def print_additions(config: Mapping[str, Any], console: Console) -> None:
    """Print what the machine of a report has beyond the default because the model needs it."""
    if added := additions(config):
        console.print(f"machine: {BASE.name} with {added}", highlight=False, soft_wrap=True)


def run_verilog(args: argparse.Namespace) -> int:
    """Write the files of a machine and print their names."""
    config = configuration(args)
    check_folder("--out", args.out)
    if args.name is not None:
        check_hardware_name(args.name)
    with Progress() as progress:
        progress(f"generating Verilog ({config.name})", 0, 0)
        files = write_verilog(config, args.out, name=args.name)
    for path in files:
        print(path)
    return 0


def _kibibytes(size: int) -> str:
    return f"{size / 1024:g} KiB"


def _besides(config: AcceleratorConfig) -> list[str]:
    """Return by name what a machine has beyond the array."""
    plain = [name for name in ("transposer", "dynamic", "depthwise") if getattr(config, name)]
    return plain + [capability.table for capability in config.capabilities]


def run_presets() -> int:
    """Print the presets with their main numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("preset", no_wrap=True)
    for name in (
        "rows x columns", "activations", "weights", "accumulators", "output", "AXI", "lanes",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("besides")
    for name, config in PRESETS.items():
        table.add_row(
            name,
            f"{config.rows} x {config.columns}",
            _kibibytes(config.activation_bytes),
            _kibibytes(config.weight_bytes),
            _kibibytes(4 * config.columns * config.accumulator_depth),
            _kibibytes(config.output_bytes),
            f"{config.axi_data_width} bit",
            str(config.requantize_lanes),
            ", ".join(_besides(config)) or "-",
        )
    output_console().print(table)
    return 0
