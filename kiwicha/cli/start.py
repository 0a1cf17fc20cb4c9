# SPDX-License-Identifier: Apache-2.0
"""Where the command ``kiwicha`` begins: a signal is caught before anything large is imported."""

from kiwicha.sim.interrupt import catch_signals, ignore_signals

__all__ = ["main"]


def main() -> int:
    """Run the process's own command line and return the exit code."""
    catch_signals()
    try:
        from kiwicha.cli.board import main as run

        return run()
    finally:
        ignore_signals()
