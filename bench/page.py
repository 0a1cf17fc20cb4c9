# SPDX-License-Identifier: Apache-2.0
"""Writes measured tables as files, and into their places of a Markdown page."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from kiwicha.bench.table import Table, say

__all__ = ["PAGE", "insert", "write_tables"]

PAGE = Path("docs/fpga.md")


def insert(text: str, table: Table, date: str) -> str:
    """Return a page with this table in its place, or at the end where it has none yet.

    A table's place is between the comments ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.
    """
    begin, end = f"<!-- begin {table.name} -->", f"<!-- end {table.name} -->"
    block = f"{begin}\n{table.markdown().rstrip()}\n- Measured on {date}.\n{end}\n"
    found = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}\n", re.DOTALL)
    if found.search(text):
        return found.sub(lambda _: block, text)
    return f"{text.rstrip()}\n\n{block}"


def write_tables(tables: Sequence[Table], directory: Path, *, page: Path | None = None) -> None:
    """Write each table as ``NAME.json`` and ``NAME.md`` to a directory, and into a page."""
    directory.mkdir(parents=True, exist_ok=True)
    for table in tables:
        values = json.dumps({"title": table.title, "values": table.values}, indent=2)
        (directory / f"{table.name}.json").write_text(f"{values}\n", encoding="utf-8")
        (directory / f"{table.name}.md").write_text(table.markdown(), encoding="utf-8")
        say(f"written: {directory / table.name}.json, .md")
    if page:
        text = page.read_text(encoding="utf-8")
        for table in tables:
            text = insert(text, table, datetime.now(UTC).date().isoformat())
        page.write_text(text, encoding="utf-8")
        say(f"written: {page}")
