# SPDX-License-Identifier: Apache-2.0
"""How long an array takes to become Verilog, with and without shared modules."""

import argparse
import time
from collections.abc import Callable

from amaranth.back import verilog
from amaranth.hdl import Signal, Value

from kiwicha.bench.table import Table, say, terminal
from kiwicha.hw.compute.systolic import SystolicArray
from kiwicha.hw.verilog.emit import emit_verilog

__all__ = ["emission", "main", "measure"]

_TARGET = 0.33


def one_module_per_instance(unit: SystolicArray) -> str:
    """Return the Verilog that Amaranth makes of ``unit``, every instance a module of its own."""
    leaves = [Value.cast(value) for _, _, value in unit.signature.flatten(unit)]
    ports = [value for value in leaves if isinstance(value, Signal)]
    return verilog.convert(unit, ports=ports, emit_src=False, strip_internal_attrs=True)


def measure(rows: int, columns: int) -> list[tuple[str, float, int, int]]:
    """Return (way, seconds, lines, modules) for both ways of emitting an array."""
    ways: dict[str, Callable[[SystolicArray], str]] = {
        "shared modules": emit_verilog,
        "a module per instance": one_module_per_instance,
    }
    results = []
    for way, emit in ways.items():
        started = time.perf_counter()
        text = emit(SystolicArray(rows, columns))
        seconds = time.perf_counter() - started
        results.append((way, seconds, text.count("\n"), text.count("\nendmodule")))
    return results


def emission(rows: int = 64, columns: int = 64, progress: Callable[[str], None] = say) -> Table:
    """Emit an array both ways, and time it."""
    progress(f"emission: a {rows}x{columns} array, both ways")
    results = measure(rows, columns)
    slowest = results[-1][1]
    return Table(
        "emission",
        f"Emission of a {rows}x{columns} array as Verilog",
        ("way", "seconds", "ratio", "target", "lines", "modules"),
        tuple(
            (
                way,
                f"{seconds:.2f}",
                f"{seconds / slowest:.2f}",
                f"<= {_TARGET}" if index == 0 else "-",
                f"{lines:,}",
                f"{modules:,}",
            )
            for index, (way, seconds, lines, modules) in enumerate(results)
        ),
        (
            "Wall time from the Amaranth component to Verilog text, once each. 'A module per "
            "instance' is amaranth.back.verilog.convert as it is.",
        ),
        tuple(
            {"way": way, "rows": rows, "columns": columns, "seconds": seconds, "lines": lines,
             "modules": modules, "ratio": seconds / slowest}
            for way, seconds, lines, modules in results
        ),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--columns", type=int, default=64)
    arguments = parser.parse_args()
    emission(arguments.rows, arguments.columns).show(terminal())


if __name__ == "__main__":
    main()
