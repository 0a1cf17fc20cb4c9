# SPDX-License-Identifier: Apache-2.0
"""What a machine counted of a layer's results: plain values for JSON, and tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kiwicha.report.terminal import plain

__all__ = ["StatisticsReport", "statistics_tables"]


@dataclass(frozen=True)
class StatisticsReport:
    """Statistics of all results of a layer, or of those of one channel.

    Members
    -------
    channel : the only one that was counted, or None.
    results : what was counted: the "int8" or "uint8" codes that are written, or the "int32" sums
        where those are.
    minimum, maximum, mean, deviation : of them; the deviation is that of the population.
    zeros : how many are 0: real zeros only where ``zero_point`` is 0.
    histogram : entry b counts magnitudes of b bits, from 2^(b - 1) to 2^b - 1.
    scale, zero_point : what a code c stands for, scale (c - zero_point); None where it is not one
        scale that is known before the run, and of sums.
    records : that the machine wrote for them.
    mismatches : 1 where they are not those of the golden operator's results.
    """

    layer: str
    channel: int | None
    results: str
    elements: int
    minimum: int
    maximum: int
    mean: float
    deviation: float
    zeros: int
    histogram: tuple[int, ...]
    scale: float | None
    zero_point: int | None
    records: int
    mismatches: int


def statistics_tables(reports: Sequence[StatisticsReport], console: Console) -> list[Table]:
    """Return tables with a row a layer, cut so that the console is wide enough; nothing without
    reports."""
    if not reports:
        return []
    summary = {
        "results": [report.results for report in reports],
        "elements": [f"{report.elements:,}" for report in reports],
        "min": [f"{report.minimum:,}" for report in reports],
        "max": [f"{report.maximum:,}" for report in reports],
        "mean": [f"{report.mean:,.3f}" for report in reports],
        "std. dev.": [f"{report.deviation:,.3f}" for report in reports],
        "zeros": [f"{report.zeros / report.elements:.1%}" for report in reports],
    }
    magnitudes = {
        str(b): [f"{report.histogram[b] / report.elements:.1%}" for report in reports]
        for b in range(33)
        if any(report.histogram[b] for report in reports)
    }
    layers = [
        plain(report.layer, console).append(
            "" if report.channel is None else f"[{report.channel}]"
        )
        for report in reports
    ]
    return [
        *_tables("statistics that the machine kept", layers, summary, console),
        *_tables("magnitudes of that many bits", layers, magnitudes, console),
    ]


def _tables(
    title: str, layers: list[Text], columns: dict[str, list[str]], console: Console
) -> list[Table]:
    """Return a table; or several, each with as many of the columns as fit."""
    wide = console.options.update(width=1 << 16)
    taken: list[str] = []
    for name in columns:
        table = _table(title, layers, {key: columns[key] for key in [*taken, name]})
        if taken and console.measure(table, options=wide).maximum > console.width:
            break
        taken.append(name)
    rest = {name: cells for name, cells in columns.items() if name not in taken}
    table = _table(title, layers, {name: columns[name] for name in taken})
    return [table, *(_tables("", layers, rest, console) if rest else ())]


def _table(title: str, layers: list[Text], columns: dict[str, list[str]]) -> Table:
    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1))
    for name in ("layer", *columns):
        text = name in ("layer", "results")
        table.add_column(name, justify="left" if text else "right", no_wrap=True)
    for row in zip(layers, *columns.values(), strict=True):
        table.add_row(*row)
    return table
