# SPDX-License-Identifier: Apache-2.0
"""Prints results so that they stay readable on terminals of any width, in files and in pipes."""

import io
import sys

from rich.console import Console
from rich.text import Text

from kiwicha.errors import printable

__all__ = ["output_console", "plain", "tolerate"]

_PIPE_WIDTH = 160  #: a file or a pipe has no width of its own; tables must not be cut
_LONGEST = 100  #: of a name; the report has all of it


def tolerate() -> None:
    """Let standard output escape what its encoding has no character for, as standard error does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def output_console() -> Console:
    """Return a console on standard output."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, _PIPE_WIDTH))
    return console


def plain(text: str, console: Console) -> Text:
    """Return what a user called something as it is, without markup, in one line, no longer than is
    readable, and in characters that the console has."""
    shown = printable(text, _LONGEST)
    return Text(shown.encode(console.encoding, "backslashreplace").decode(console.encoding))
