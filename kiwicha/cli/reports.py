# SPDX-License-Identifier: Apache-2.0
"""What ``--report`` writes, and the advice below the tables."""

import json
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from kiwicha.errors import printable
from kiwicha.report.csv_files import csv_files, summary_path
from kiwicha.report.prediction import Prediction
from kiwicha.report.report import Report

__all__ = ["print_advice", "report_files", "report_paths"]

_ADVISED = 3  # layers on a terminal; a report's file has all


def report_paths(path: Path | None) -> dict[str, Path | None]:
    """Return the files of ``--report``, for `check_destinations`."""
    if path is None or path.suffix != ".csv":
        return {"--report": path}
    return {"--report": path, "--report's summary": summary_path(path)}


def report_files(report: Report | Prediction, path: Path) -> dict[Path, bytes]:
    """Return the contents of the files: CSV if the name says so, else JSON."""
    if path.suffix == ".csv":
        return csv_files(report, path)
    return {path: (json.dumps(report.to_dict(), indent=2) + "\n").encode()}


def print_advice(report: Report | Prediction, console: Console) -> None:
    """Print what would help those layers below half of the array that take the most cycles."""
    slow = [layer for layer in report.layers if layer.advice]
    for layer in sorted(slow, key=lambda layer: -layer.cycles)[:_ADVISED]:
        console.print(
            escape(f"advice: {printable(layer.name)}: {layer.advice}"), soft_wrap=True,
            highlight=False,
        )
    if more := len(slow[_ADVISED:]):
        console.print(f"advice for {more} more layers: --report FILE.json or FILE.csv")
