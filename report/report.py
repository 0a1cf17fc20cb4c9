# SPDX-License-Identifier: Apache-2.0
"""What a run is reported as: plain values for JSON, and the table for the terminal."""

from dataclasses import asdict, dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kiwicha.report.terminal import plain

__all__ = ["Accuracy", "LayerReport", "Report", "differences", "layer_tables"]


@dataclass(frozen=True)
class LayerReport:
    """One layer as it ran, or layers that ran side by side, " + " between their names.

    Members
    -------
    promise : "runtime-exact"; "within one code" where the runtime computes in float; or
        "golden-exact" for arithmetic of our own.
    compared, differ : elements that ONNX Runtime computed from the same inputs, and how many of
        them break the promise.
    rounded : how many are the one code away that "within one code" allows.
    off : codes by which ONNX Runtime's own integers are away from the model as given, whose
        operators are float; 0 where that is rounding.
    x_shape, y_shape : input and output in ONNX order.
    macs : multiply-accumulates, padding taps included.
    cycles, predicted_cycles : as `cost.shares.layer_shares` has them; their sum is the run's.
    utilization : macs / (cycles x rows x columns).
    bound, bound_by : the best utilization that the busiest engine allows, and which that is.
    bytes_read, bytes_written : over the memory port, whole beats.
    mismatches : bytes that differ from the golden operator.
    density : share of the weights that are not their zero point; 0 without constant weights.
    weight_bytes, stored_bytes : of the weights in memory, if all were dense and as they are.
    weight_formats : what they are stored in.
    cycles_saved : predicted cycles of the same program with dense weights less ``cycles``, of a
        layer with compressed weights that would be bound by reading; else None.
    """

    name: str
    op: str
    promise: str
    compared: int
    differ: int
    rounded: int
    off: int
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    macs: int
    cycles: int
    predicted_cycles: int
    utilization: float
    bound: float
    bound_by: str
    bytes_read: int
    bytes_written: int
    mismatches: int
    density: float
    weight_bytes: int
    stored_bytes: int
    weight_formats: tuple[str, ...]
    cycles_saved: int | None

    @property
    def compressed(self) -> bool:
        """Whether some of the weights are."""
        return any(name != "dense" for name in self.weight_formats)


@dataclass(frozen=True)
class Accuracy:
    """Shares of held-out samples that are classified correctly, and how many there are."""

    samples: int
    runtime: float
    machine: float
    float32: float | None = None


@dataclass(frozen=True)
class Report:
    """A whole run; `to_dict` is what ``--report`` writes.

    Members
    -------
    mismatches : output bytes that differ from the golden model in any layer, plus those in which
        the golden machine (same program, NumPy) differs from the simulation.
    reference : runtime, version, processor; ``mismatches`` counts elements that differ, of nodes
        and, if the ``whole`` model is to be exact to it, of outputs.
    """

    model: str
    config: dict[str, Any]
    simulator: str
    cycles: int
    predicted_cycles: int
    macs: int
    utilization: float
    mismatches: int
    reference: dict[str, Any]
    layers: tuple[LayerReport, ...]
    notes: tuple[dict[str, str], ...]
    counters: dict[str, int]
    seconds: float
    accuracy: Accuracy | None = None
    waves: str | None = field(default=None)

    @property
    def exact(self) -> bool:
        """Whether not one bit is wrong."""
        return self.mismatches == 0 and self.reference["mismatches"] == 0

    @property
    def cycles_per_second(self) -> float:
        """Simulated cycles per second of wall time."""
        return self.cycles / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**asdict(self), "exact": self.exact, "cycles_per_second": self.cycles_per_second}


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def differences(report: Report) -> list[str]:
    """Return what is wrong in words, a layer each; nothing if every bit is right."""
    wrong = [
        f"layer '{layer.name}': {layer.mismatches:,} bytes differ from the golden model"
        for layer in report.layers
        if layer.mismatches
    ]
    if rest := report.mismatches - sum(layer.mismatches for layer in report.layers):
        wrong.append(f"{rest:,} bytes of memory differ from the golden machine's")
    if count := report.reference["mismatches"]:
        wrong.append(f"{count:,} elements differ from {report.reference['runtime']}'s")
    return wrong


def layer_tables(report: Report, console: Console) -> list[Table]:
    """Return the layer table, a row a layer and a sum; parts where the console is too narrow."""
    title = plain(f"{report.model} on '{report.config['name']}'", console).append(
        f" ({report.config['rows']}x{report.config['columns']} array, {report.simulator})"
    )
    rows = [*(_row(layer, console) for layer in report.layers), _sum(report)]
    headings, first = _HEADINGS, len(_HEADINGS)
    if any(layer.compressed for layer in report.layers):
        headings = headings + _WEIGHT_HEADINGS
        extra = [*map(_weights, report.layers), _weight_sum(report)]
        rows = [row + more for row, more in zip(rows, extra, strict=True)]
    whole = _table(title, headings, rows)
    wide = console.options.update(width=1 << 16)
    if console.measure(whole, options=wide).maximum <= console.width:
        return [whole]
    # A cut table hides digits, a wrapped one cannot be read.
    cuts = [range(1, 5), range(5, first), range(first, len(headings))]
    parts = [[0, *columns] for columns in cuts if columns]
    return [
        _table(
            None if index else title,
            [headings[i] for i in columns],
            [[row[i] for i in columns] for row in rows],
        )
        for index, columns in enumerate(parts)
    ]


_HEADINGS = [
    "layer", "operator", "promise", "shapes", "MACs", "cycles", "MAC util.", "bound", "read B",
    "written B", "mismatches",
]
_WEIGHT_HEADINGS = ["density", "weights B", "dense B", "format", "cycles saved"]


def _table(title: Text | None, headings: list[str], rows: list[list[str | Text]]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1))
    for name in headings:
        text = name in ("layer", "operator", "promise", "shapes", "format")
        table.add_column(name, justify="left" if text else "right", no_wrap=True)
    for place, row in enumerate(rows):
        table.add_row(*row, end_section=place == len(rows) - 2)
    return table


def _row(layer: LayerReport, console: Console) -> list[str | Text]:
    work = layer.macs > 0
    return [
        plain(layer.name, console),
        plain(layer.op, console),
        layer.promise,
        f"{_shape(layer.x_shape)} > {_shape(layer.y_shape)}",
        f"{layer.macs:,}" if work else "-",
        f"{layer.cycles:,}",
        f"{layer.utilization:.1%}" if work else "-",
        f"{layer.bound:.1%} {layer.bound_by}" if work else layer.bound_by,
        f"{layer.bytes_read:,}",
        f"{layer.bytes_written:,}",
        _count(layer.mismatches),
    ]


def _sum(report: Report) -> list[str | Text]:
    return [
        "all", "", "", "",
        f"{report.macs:,}", f"{report.cycles:,}", f"{report.utilization:.1%}", "",
        f"{sum(layer.bytes_read for layer in report.layers):,}",
        f"{sum(layer.bytes_written for layer in report.layers):,}",
        _count(report.mismatches),
    ]


def _weights(layer: LayerReport) -> list[str | Text]:
    if not layer.weight_bytes:
        return ["-"] * len(_WEIGHT_HEADINGS)
    return [
        f"{layer.density:.1%}",
        f"{layer.stored_bytes:,}",
        f"{layer.weight_bytes:,}",
        ", ".join(layer.weight_formats),
        "-" if layer.cycles_saved is None else f"{layer.cycles_saved:,}",
    ]


def _weight_sum(report: Report) -> list[str | Text]:
    return [
        "",
        f"{sum(layer.stored_bytes for layer in report.layers):,}",
        f"{sum(layer.weight_bytes for layer in report.layers):,}",
        "",
        f"{sum(layer.cycles_saved or 0 for layer in report.layers):,}",
    ]


def _count(mismatches: int) -> str:
    return f"[red]{mismatches:,}[/red]" if mismatches else "0"
