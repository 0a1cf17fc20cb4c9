# SPDX-License-Identifier: Apache-2.0
"""The command ``kiwicha diff``: two reports, layer by layer."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.markup import escape

from kiwicha.errors import InputError, printable
from kiwicha.report.difference import compare, difference_table
from kiwicha.report.terminal import output_console

__all__ = ["run_diff"]


def run_diff(args: argparse.Namespace) -> int:
    """Print what differs between two reports; returns 0.

    Raises
    ------
    InputError
        For a file that is no report; names it.
    """
    before, after = (_read(path) for path in (args.before, args.after))
    try:
        rows, words = compare(before, after)
    except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{args.before}, {args.after}: not two reports: {error}") from None
    console = output_console()
    console.print(difference_table(rows, console))
    for text in words:
        console.print(escape(printable(text)), soft_wrap=True, highlight=False)
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    if not isinstance(values, dict) or "schema" not in values:
        raise InputError(f"{path}: not a report: it has no 'schema'")
    return values
