# SPDX-License-Identifier: Apache-2.0
"""Prints results so that they stay readable on terminals of any width, in files and in pipes."""

from rich.console import Console

__all__ = ["output_console"]

_PIPE_WIDTH = 160  #: a file or a pipe has no width of its own; tables must not be cut


def output_console() -> Console:
    """Return a console on standard output."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, _PIPE_WIDTH))
    return console
