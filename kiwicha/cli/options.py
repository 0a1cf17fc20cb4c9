# SPDX-License-Identifier: Apache-2.0
"""The options of ``kiwicha`` and its commands, and what ``--help`` says of them."""

import argparse
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from kiwicha.cli.file_options import (
    COMPILE,
    COMPILE_EPILOG,
    VERILOG,
    VERILOG_EPILOG,
    compile_files,
    verilog_files,
)
from kiwicha.cli.layers import layer_options
from kiwicha.cli.train_options import train_options
from kiwicha.sim.shipped import SHIPPED
from kiwicha.sim.toolchain import SIMULATORS

__all__ = ["Extension", "UsageError", "command_parser"]

Extension = Callable[["argparse._SubParsersAction[_Parser]"], None]
"""Adds a command, whose default ``run`` takes the arguments and returns the exit code."""

_EPILOG = "Every command explains itself: kiwicha sim --help"

_SIM = """\
Runs a quantized ONNX or TFLite model on the generated hardware, simulated clock by clock, and
compares every byte: each layer with a NumPy model, the outputs with ONNX Runtime, those of a TFLite
model with LiteRT's reference kernels. Prints a line a layer.
The first run of a configuration generates and builds the machine (a minute or two) and keeps it:
in build/ of a checkout, in the user's cache folder (~/.cache/kiwicha) if Kiwicha is installed."""

_SIM_EPILOG = """\
examples:
  kiwicha sim lenet5                           the digits network that comes along
  kiwicha sim lenet5 --samples 4 --preset tiny
  kiwicha sim model.onnx --predict             cycles and bytes in seconds; nothing is built

Without --preset or --config the machine is default with what the model needs, which is printed.
  kiwicha sim model.onnx --input batch.npz --report report.json --outputs results.npz

exit code: 0 every bit equal, 1 a bit differs or the simulation broke, 2 bad input"""

_FOLLOWS = "default: default with what the model needs"

_OPS = """\
Prints the operators that a model may have: in which forms, what each promises (docs/operators.md
says what that means), and the sentences with which it is refused, names in place of values."""

_OPS_EPILOG = """\
examples:
  kiwicha ops
  kiwicha ops QLinearConv"""

_DIFF = """\
Prints two reports of `kiwicha sim --report FILE.json` side by side, layer by layer: cycles, use of
the array, bytes; and what differs between the machines. Runs and predictions can be mixed."""

_DIFF_EPILOG = """\
example:
  kiwicha sim lenet5 --preset tiny --predict --report tiny.json
  kiwicha sim lenet5 --predict --report default.json
  kiwicha diff tiny.json default.json"""

_PRESETS = "Prints the configurations that have a name, for --preset."

_PRESETS_EPILOG = "example:\n  kiwicha presets"


class UsageError(ValueError):
    """The command line itself is wrong."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def _integer(low: int, high: int) -> "type[int]":
    """Return a converter for argparse that takes integers from ``low`` to ``high``."""

    class Integer(int):
        def __new__(cls, text: str) -> "Integer":
            try:
                value = int(text)
            except ValueError:
                value = low - 1
            if not low <= value <= high:
                raise argparse.ArgumentTypeError(f"{text!r} is not an integer, {low} to {high}")
            return super().__new__(cls, value)

    return Integer


def _dimension(text: str) -> tuple[str, int]:
    """Convert NAME=N; a name may hold anything."""
    name, mark, length = text.rpartition("=")
    if not name or not mark or not length.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=N")
    return name, int(length)


def _dimension_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dim", metavar="NAME=N", type=_dimension, action="append", default=[],
        help="length of a dimension that the model leaves open besides the batch: by its symbol, "
        "or as INPUT[PLACE] where it has none",
    )


def _fallback_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host-fallback", action="store_true",
        help="let ONNX Runtime run the nodes that the machine cannot, between programs; the report "
        "says which, why, and what they took",
    )


def _configuration_options(parser: argparse.ArgumentParser, default: str) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--preset", metavar="NAME", help=f"a named machine, see `kiwicha presets` ({default})"
    )
    group.add_argument(
        "--config", metavar="FILE.toml", type=Path, help="a machine described in a TOML file"
    )


def command_parser(extensions: Sequence[Extension] = ()) -> argparse.ArgumentParser:
    """Return the parser; it raises `UsageError` where argparse would exit."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="kiwicha",
        description="Generates int8 deep-learning accelerators and proves them bit by bit.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--version", action="version", version=f"kiwicha {importlib.metadata.version('kiwicha')}"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    sim = commands.add_parser(
        "sim", help="run a model on the simulated machine and compare every bit",
        description=_SIM, epilog=_SIM_EPILOG, formatter_class=raw,
    )
    sim.add_argument(
        "model", metavar="MODEL",
        help="quantized ONNX or TFLite (.tflite) file, or a model that comes along: "
        f"{', '.join(SHIPPED)}",
    )
    sim.add_argument(
        "--input", metavar="FILE.npz", type=Path,
        help="arrays by graph input name, the batch in front; an array 'labels' gives the right "
        "classes (default: random numbers from --seed; the test images for lenet5)",
    )
    _configuration_options(sim, _FOLLOWS)
    sim.add_argument(
        "--simulator", choices=SIMULATORS, default=SIMULATORS[0],
        help="default: %(default)s; icarus is slow, and shows unknown (x) bits",
    )
    sim.add_argument(
        "--waves", metavar="FILE", type=Path, help="write a waveform, FILE.vcd or FILE.fst"
    )
    sim.add_argument(
        "--report", metavar="FILE", type=Path,
        help="write all that is printed, and more, as FILE.json; or as FILE.csv, a row a layer, "
        "and FILE_summary.csv, with the column names of Arm's Vela where the meaning is the same",
    )
    sim.add_argument(
        "--outputs", metavar="FILE.npz", type=Path,
        help="write what the machine computed, by graph output name",
    )
    sim.add_argument(
        "--samples", metavar="N", type=_integer(1, 1 << 20),
        help="take only the first N samples of the input, or draw N random ones",
    )
    _dimension_option(sim)
    _fallback_option(sim)
    sim.add_argument(
        "--latency", metavar="N", type=_integer(0, 10_000), default=20,
        help="cycles from a read request to its data (default: %(default)s)",
    )
    sim.add_argument(
        "--stall", metavar="N", type=_integer(0, 255), default=0,
        help="chance in 256 that the memory makes a transfer wait a cycle (default: %(default)s)",
    )
    sim.add_argument(
        "--seed", metavar="N", type=_integer(0, (1 << 31) - 1), default=1,
        help="of random inputs and stalls (default: %(default)s)",
    )
    sim.add_argument(
        "--predict", action="store_true",
        help="compile only, and print cycles, bytes and utilization as predicted; reckons with a "
        "latency of 20 and no stalls",
    )
    layer_options(sim, _integer)

    compiled = commands.add_parser(
        "compile", help="write a model's program as files that a driver reads",
        description=COMPILE, epilog=COMPILE_EPILOG, formatter_class=raw,
    )
    compiled.add_argument(
        "model", metavar="MODEL",
        help=f"quantized ONNX or TFLite (.tflite) file, or one of {', '.join(SHIPPED)}",
    )
    _configuration_options(compiled, _FOLLOWS)
    compiled.add_argument(
        "--samples", metavar="N", type=_integer(1, 1 << 20),
        help="the batch, where the model leaves it open (default: 1)",
    )
    _dimension_option(compiled)
    _fallback_option(compiled)
    compile_files(compiled)

    verilog = commands.add_parser(
        "verilog", help="write the hardware as files",
        description=VERILOG, epilog=VERILOG_EPILOG, formatter_class=raw,
    )
    _configuration_options(verilog, "default: default")
    verilog_files(verilog)

    ops = commands.add_parser(
        "ops", help="list the operators and their limits",
        description=_OPS, epilog=_OPS_EPILOG, formatter_class=raw,
    )
    ops.add_argument(
        "operator", metavar="OPERATOR", nargs="?", help="an op type, such as MaxPool (default: all)"
    )

    train_options(commands, _integer, _configuration_options)
    diff = commands.add_parser(
        "diff", help="compare two reports, layer by layer",
        description=_DIFF, epilog=_DIFF_EPILOG, formatter_class=raw,
    )
    diff.add_argument("before", metavar="A.json", type=Path, help="a report")
    diff.add_argument("after", metavar="B.json", type=Path, help="another one")

    commands.add_parser(
        "presets", help="list the named machines",
        description=_PRESETS, epilog=_PRESETS_EPILOG, formatter_class=raw,
    )
    for extension in extensions:
        extension(commands)
    return parser
