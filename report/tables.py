# SPDX-License-Identifier: Apache-2.0
"""The layer table of a report, for a terminal of any width."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kiwicha.report.prediction import PredictedLayer, Prediction
from kiwicha.report.report import LayerReport, Report
from kiwicha.report.terminal import plain

__all__ = ["layer_tables", "prediction_tables"]


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def layer_tables(report: Report, console: Console) -> list[Table]:
    """Return the layer table, a row a layer and a sum; parts where the console is too narrow."""
    rows = [[*_row(layer, console), _count(layer.mismatches)] for layer in report.layers]
    rows.append([*_sum(report, report.cycles), _count(report.mismatches)])
    extra = [[*_weights(layer), _saved(layer)] for layer in report.layers]
    extra.append([*_weight_sum(report), _saved_sum(report)])
    return _tables(
        report, report.simulator, [*_HEADINGS, "mismatches"], rows,
        [*_WEIGHT_HEADINGS, "cycles saved"], extra, console,
    )


def prediction_tables(prediction: Prediction, console: Console) -> list[Table]:
    """Return the same of a program that has not run: predicted cycles, nothing compared."""
    rows = [_row(layer, console) for layer in prediction.layers]
    rows.append(_sum(prediction, prediction.cycles))
    extra = [*map(_weights, prediction.layers), _weight_sum(prediction)]
    return _tables(
        prediction, "predicted", _HEADINGS, rows, _WEIGHT_HEADINGS, extra, console
    )


def _tables(
    report: Report | Prediction,
    how: str,
    headings: list[str],
    rows: list[list[str | Text]],
    weight_headings: list[str],
    weights: list[list[str | Text]],
    console: Console,
) -> list[Table]:
    title = plain(f"{report.model} on '{report.config['name']}'", console).append(
        f" ({report.config['rows']}x{report.config['columns']} array, {how})"
    )
    first = len(headings)
    if any(layer.compressed for layer in report.layers):
        headings = headings + weight_headings
        rows = [row + more for row, more in zip(rows, weights, strict=True)]
    whole = _table(title, headings, rows)
    wide = console.options.update(width=1 << 16)
    if console.measure(whole, options=wide).maximum <= console.width:
        return [whole]
    # A cut table hides digits, a wrapped one cannot be read; names may have several lines.
    cuts = [range(1, 5), range(5, first), range(first, len(headings))]
    parts = [[0, *columns] for columns in cuts if columns]
    return [
        _table(
            None if index else title,
            [headings[i] for i in columns],
            [[_folded(row[i]) if i < 2 else row[i] for i in columns] for row in rows],
        )
        for index, columns in enumerate(parts)
    ]


def _folded(cell: str | Text) -> Text:
    """Return what layers that are one are called, a line each."""
    return Text(str(cell).replace(" + ", " +\n"))


_HEADINGS = [
    "layer", "operator", "promise", "shapes", "MACs", "cycles", "MAC util.", "bound", "read B",
    "written B",
]
_WEIGHT_HEADINGS = ["density", "weights B", "dense B", "format"]


def _table(title: Text | None, headings: list[str], rows: list[list[str | Text]]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1))
    for name in headings:
        text = name in ("layer", "operator", "promise", "shapes", "format")
        table.add_column(name, justify="left" if text else "right", no_wrap=True)
    for place, row in enumerate(rows):
        table.add_row(*row, end_section=place == len(rows) - 2)
    return table


def _row(layer: LayerReport | PredictedLayer, console: Console) -> list[str | Text]:
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
    ]


def _sum(report: Report | Prediction, cycles: int) -> list[str | Text]:
    return [
        "all", "", "", "",
        f"{report.macs:,}", f"{cycles:,}", f"{report.utilization:.1%}", "",
        f"{sum(layer.bytes_read for layer in report.layers):,}",
        f"{sum(layer.bytes_written for layer in report.layers):,}",
    ]


def _weights(layer: LayerReport | PredictedLayer) -> list[str | Text]:
    if not layer.weight_bytes:
        return ["-"] * len(_WEIGHT_HEADINGS)
    return [
        f"{layer.density:.1%}",
        f"{layer.stored_bytes:,}",
        f"{layer.weight_bytes:,}",
        ", ".join(layer.weight_formats),
    ]


def _saved(layer: LayerReport) -> str:
    return "-" if layer.cycles_saved is None else f"{layer.cycles_saved:,}"


def _saved_sum(report: Report) -> str:
    return f"{sum(layer.cycles_saved or 0 for layer in report.layers):,}"


def _weight_sum(report: Report | Prediction) -> list[str | Text]:
    return [
        "",
        f"{sum(layer.stored_bytes for layer in report.layers):,}",
        f"{sum(layer.weight_bytes for layer in report.layers):,}",
        "",
    ]


def _count(mismatches: int) -> str:
    return f"[red]{mismatches:,}[/red]" if mismatches else "0"
