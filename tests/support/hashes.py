# SPDX-License-Identifier: Apache-2.0
"""Hashes of every machine's Verilog: the same on every Python, and until the hardware changes.

``make hashes`` writes ``tests/verilog.sha256`` anew and says which machines changed; with
``--check`` it only says so.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from kiwicha.hw.accelerator import Accelerator
from kiwicha.hw.verilog.emit import emit_verilog
from kiwicha.machine import register_map
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import PRESETS

__all__ = ["FILE", "MACHINES", "main", "recorded", "verilog_hash"]

FILE = Path(__file__).parents[1] / "verilog.sha256"

MACHINES: dict[str, AcceleratorConfig] = {
    **PRESETS,
    # What no preset has, small.
    "extras": PRESETS["tiny"].replace(
        name="extras", transposer=True, dynamic=True, statistics={"elements": 256},
        blocks={"channels": 8},
        sparse={"formats": ("csc-absolute", "csc4-codebook", "csr", "run-length")},
        special={"lanes": 1, "softmax": "tflite"}, pipeline=(),
    ),
    "multiway": PRESETS["tiny"].replace(
        name="multiway", cells="ice40",
        blocks={"channels": 8, "scale": "multiway", "rounding": "pseudo"}, requantize_mode="tflite",
        requantize_multiplier_width=9,
    ),
}


def verilog_hash(config: AcceleratorConfig) -> str:
    """Return the SHA-256 of a machine's Verilog with FPGA cells.

    Fingerprint and version, constants in the Verilog that change without the hardware, are fixed.
    """
    with (
        patch.object(AcceleratorConfig, "fingerprint", 0x600DF00D),
        patch.object(register_map, "VERSION", (1, 2)),
    ):
        text = emit_verilog(Accelerator(config), "accelerator")
    return hashlib.sha256(text.encode()).hexdigest()


def recorded() -> dict[str, str]:
    """Return the hashes in the file, by machine."""
    lines = FILE.read_text(encoding="ascii").splitlines() if FILE.exists() else []
    return {name: digest for digest, name in map(str.split, lines)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or compare with it; returns 1 where one is to be the same and is not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the file, leave it")
    check = parser.parse_args(arguments).check
    before, after = recorded(), {}
    for name, config in MACHINES.items():
        after[name] = verilog_hash(config)
        print(f"{name:12} {'same' if before.get(name) == after[name] else 'changed'}", flush=True)
    for name in before.keys() - after.keys():
        print(f"{name:12} gone")
    if check:
        return int(before != after)
    lines = [f"{digest}  {name}\n" for name, digest in after.items()]
    FILE.write_text("".join(lines), encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
