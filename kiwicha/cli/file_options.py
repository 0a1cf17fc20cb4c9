# SPDX-License-Identifier: Apache-2.0
"""Options of the commands that write files for others: ``kiwicha compile`` and ``verilog``."""

import argparse
from pathlib import Path

__all__ = [
    "COMPILE", "COMPILE_EPILOG", "VERILOG", "VERILOG_EPILOG", "compile_files", "verilog_files",
]

COMPILE = """\
Writes the program of a model for a machine: program.json (where inputs and outputs lie, and what
the host does with them), program.bin (instructions), image.bin (memory from address 0),
relocations.bin (what to add another address to); and prints their names. docs/programs.md explains
them, docs/drivers.md has drivers."""

COMPILE_EPILOG = """\
examples:
  kiwicha compile lenet5 --preset small --out build/lenet5
  kiwicha compile model.onnx --samples 8 --out build/model
  kiwicha compile lenet5 --c                   and program.h, program.c for firmware

exit code: 0 written, 2 bad input, or a model that the machine cannot run"""

VERILOG = """\
Writes the Verilog of a machine (accelerator.v), a manifest of its ports, parameters and registers
(manifest.json), and the register map as a C header, a Python module, JSON and a table."""

VERILOG_EPILOG = """\
examples:
  kiwicha verilog --preset tiny --out build/tiny
  kiwicha verilog --config my_machine.toml
  kiwicha verilog --preset tiny --name vision       vision.v, vision_registers.h, ...

my_machine.toml starts from a preset and changes what it names:
  preset = "default"
  rows = 8
  requantize_lanes = 2"""


def _out(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path(default),
        help="folder for the files, made if need be (default: %(default)s)",
    )


def compile_files(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``kiwicha compile`` that say which files there will be."""
    parser.add_argument(
        "--c", action="store_true",
        help="write program.h and program.c as well: the same as arrays for firmware with the C "
        "driver (drivers/c)",
    )
    _out(parser, "build/program")


def verilog_files(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``kiwicha verilog`` that say which files there will be."""
    parser.add_argument(
        "--name", metavar="NAME",
        help="of the top module; all modules, files and macros of the C header begin with it, so "
        "that several machines can be in one design (default: accelerator)",
    )
    _out(parser, "build/verilog")
