# SPDX-License-Identifier: Apache-2.0
"""What Arm's Vela says of a .tflite file: its own estimate of an Ethos-U's cycles."""

import csv
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kiwicha.boards.toolchain import ToolError

__all__ = ["VelaLayer", "VelaRun", "find_vela", "run_vela"]


@dataclass(frozen=True)
class VelaLayer:
    """A row of Vela's file of layers: an operation of the accelerator.

    Members
    -------
    operator : of the model, which may become several operations.
    utilization : of the multipliers, 0 to 1.
    """

    operator: str
    operation: str
    cycles: int
    macs: int
    utilization: float


@dataclass(frozen=True)
class VelaRun:
    """An estimate.

    Members
    -------
    accelerator : as Vela calls it, such as ethos-u55-64.
    cycles : of the whole network at batch 1, memory included.
    """

    version: str
    accelerator: str
    cycles: int
    macs: int
    layers: tuple[VelaLayer, ...]


def find_vela() -> str | None:
    """Return the command: beside this Python, or on the path; None where there is none."""
    beside = Path(sys.executable).with_name("vela")
    return str(beside) if beside.exists() else shutil.which("vela")


def run_vela(model: Path, accelerator: str = "ethos-u55-64", timeout: float = 600.0) -> VelaRun:
    """Have Vela compile a model, and return what it estimates.

    Raises
    ------
    ToolError
        When it is not there, refuses the model, or takes longer than ``timeout`` seconds.
    """
    command = find_vela()
    if command is None:
        raise ToolError("vela is not installed: .venv/bin/pip install ethos-u-vela")
    asked = subprocess.run(
        [command, "--version"], check=False, capture_output=True, text=True, timeout=timeout
    )
    with tempfile.TemporaryDirectory(prefix="kiwicha-") as folder:
        options = ["--accelerator-config", accelerator, "--output-dir", folder]
        options.append("--verbose-performance")  # for the file of layers
        try:
            done = subprocess.run(
                [command, str(model), *options], check=False, capture_output=True, text=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise ToolError(f"vela took longer than {timeout:g} s for {model}") from None
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "it says nothing").splitlines()
            raise ToolError(f"vela refuses {model}: {last[-1]}")
        [summary] = _rows(Path(folder), "_summary_")
        layers = _rows(Path(folder), "_per-layer")
    return VelaRun(
        asked.stdout.strip(), accelerator, int(float(summary["cycles_total"])),
        int(float(summary["nn_macs"])),
        tuple(
            VelaLayer(
                row["Original Operator"], row["NNG Operator"], int(float(row["Op Cycles"])),
                int(float(row["MAC Count"])), float(row["Util% (MAC)"]) / 100,
            )
            for row in layers
        ),
    )


def _rows(folder: Path, part: str) -> list[dict[str, str]]:
    files = [path for path in folder.glob("*.csv") if part in path.name]
    if len(files) != 1:
        raise ToolError(f"vela wrote {len(files)} files *{part}*.csv; expected one")
    with files[0].open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
