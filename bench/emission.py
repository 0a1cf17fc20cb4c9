# SPDX-License-Identifier: Apache-2.0
"""How long a 64 x 64 array takes to become Verilog, with and without shared modules."""

import argparse
import time
from collections.abc import Callable

from amaranth.back import verilog
from amaranth.hdl import Signal, Value

from hw.array.systolic import SystolicArray
from hw.emit import emit_verilog

__all__ = ["main", "measure"]


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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--columns", type=int, default=64)
    arguments = parser.parse_args()
    results = measure(arguments.rows, arguments.columns)
    print(f"emission of a {arguments.rows} x {arguments.columns} array")
    for way, seconds, lines, modules in results:
        print(f"  {way:<22} {seconds:7.2f} s  {lines:>9} lines  {modules:>6} modules")
    print(f"  ratio {results[0][1] / results[1][1]:.2f} (target: at most 0.33)")


if __name__ == "__main__":
    main()
