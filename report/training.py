# SPDX-License-Identifier: Apache-2.0
"""What came of a training: the table of phases, the curve of its loss, all of it as JSON."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.table import Table

from kiwicha.errors import InputError

__all__ = ["Phase", "Run", "TrainingReport", "curve", "phase_table", "traffic_table"]

SCHEMA = 1


@dataclass(frozen=True)
class Run:
    """One seed: after each epoch its loss, the held-out accuracy (0 to 1), and weights at the
    bounds, and how many weights saturated in its steps, from the machine's register."""

    seed: int
    loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    saturated: tuple[int, ...]
    cycles: int
    steps: int
    overflows: tuple[int, ...]


@dataclass(frozen=True)
class Phase:
    """A phase of a step: cycles (mean of all steps), useful products, their share of what the
    array could have done meanwhile (0 to 1)."""

    name: str
    what: str
    cycles: float
    macs: int
    utilization: float


@dataclass(frozen=True)
class TrainingReport:
    """All of it. ``bytes`` : of a step, by kind; ``predicted`` : cycles of a step."""

    network: str
    config: dict[str, Any]
    batch: int
    epochs: int
    bits: tuple[int, ...]
    images: int
    held_out: int
    runs: tuple[Run, ...]
    phases: tuple[Phase, ...]
    bytes: dict[str, int]
    predicted: int
    seconds: float
    optimizer: dict[str, Any] | None = None

    @property
    def accuracy(self) -> float:
        """Of the held-out images at the end, mean over seeds."""
        return sum(run.accuracy[-1] for run in self.runs) / len(self.runs)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"schema": SCHEMA, "kind": "training", "accuracy": self.accuracy, **asdict(self)}


def phase_table(report: TrainingReport) -> Table:
    """Return cycles, products and utilization of a step, phase by phase."""
    config = report.config
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1), title_justify="left",
        title=f"a step of {report.network}, batch {report.batch}, on '{config['name']}' "
        f"({config['rows']}x{config['columns']} array)",
    )
    table.add_column("phase")
    for name in ("cycles", "MACs", "utilization"):
        table.add_column(name, justify="right")
    total = sum(phase.cycles for phase in report.phases)
    macs = sum(phase.macs for phase in report.phases)
    lanes = config["rows"] * config["columns"]
    rows = [(f"{phase.name}, {phase.what}" if phase.name != phase.what else phase.name,
             phase.cycles, phase.macs, phase.utilization) for phase in report.phases]
    for name, cycles, products, share in [*rows, ("all", total, macs, macs / (total * lanes))]:
        table.add_row(name, f"{cycles:,.0f}", f"{products:,}", f"{100 * share:.1f} %")
    return table


def traffic_table(report: TrainingReport) -> Table:
    """Return the bytes of a step by kind."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title_justify="left",
                  title="bytes of a step, read and written")
    table.add_column("kind")
    table.add_column("bytes", justify="right")
    for kind, count in [*report.bytes.items(), ("all", sum(report.bytes.values()))]:
        table.add_row(kind, f"{count:,}")
    return table


def curve(runs: Sequence[Run], kind: str) -> bytes:
    """Return a picture of loss and held-out accuracy by epoch, as ``png`` or ``svg``.

    Raises
    ------
    InputError
        Where matplotlib is not installed; says what brings it.
    """
    try:
        import matplotlib
    except ImportError:
        raise InputError("pictures need matplotlib: pip install kiwicha[train]") from None
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for run in runs:
        epochs = range(1, len(run.loss) + 1)
        left.plot(epochs, run.loss, label=f"seed {run.seed}")
        right.plot(epochs, [100 * share for share in run.accuracy], label=f"seed {run.seed}")
    for axes, what in ((left, "cross-entropy"), (right, "held-out images right, %")):
        axes.set_xlabel("epoch")
        axes.set_ylabel(what)
        axes.grid(alpha=0.3)
        axes.legend()
    made = io.BytesIO()
    # Nothing that differs from run to run: the same training gives the same file.
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "kiwicha"}):
        figure.savefig(made, format=kind, dpi=120, metadata=metadata)
    pyplot.close(figure)
    return made.getvalue()
