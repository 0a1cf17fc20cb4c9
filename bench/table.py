# SPDX-License-Identifier: Apache-2.0
"""A measured table: plain values that print on a terminal, as Markdown and as JSON."""

import sys
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

__all__ = ["Table", "say", "terminal"]


_WIDTH = 160


def terminal() -> Console:
    """Return where tables go: as wide as they need, because a figure cut short is none."""
    return Console(width=max(_WIDTH, Console().width))


def say(text: str) -> None:
    """Print a progress line where it does not disturb the tables."""
    print(f"  {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Table:
    """One table of figures.

    Members
    -------
    name : key in the JSON file.
    columns : headings; the first column is text, the others are figures.
    rows : printed cells.
    how : how the figures were taken, a sentence or two each.
    values : the same figures as plain values, for JSON.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    how: tuple[str, ...]
    values: tuple[dict[str, Any], ...]

    def show(self, console: Console) -> None:
        """Print to a terminal."""
        table = RichTable(title=self.title, box=box.SIMPLE_HEAD, title_justify="left")
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="right" if index else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        for sentence in self.how:
            console.print(f"  {sentence}", highlight=False, markup=False)
        console.print()

    def markdown(self) -> str:
        """Return the table as a section of a Markdown page."""
        lines = [f"## {self.title}", ""]
        lines += [f"| {' | '.join(self.columns)} |"]
        lines += [f"|{'|'.join([' --- ', *(' ---: ' for _ in self.columns[1:])])}|"]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        lines += ["", *(f"- {sentence}" for sentence in self.how), ""]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)
