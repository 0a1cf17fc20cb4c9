# SPDX-License-Identifier: Apache-2.0
"""What the commands of bench/ have in common: which machine is measured, and how they end."""

import argparse
from collections.abc import Callable

from kiwicha.bench.table import Table
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import preset

__all__ = ["machine", "measured"]


def machine(parser: argparse.ArgumentParser, name: str) -> AcceleratorConfig:
    """Return the preset of this name; end the command where there is none."""
    try:
        return preset(name)
    except ValueError as error:
        parser.error(str(error))


def measured(
    parser: argparse.ArgumentParser, config: AcceleratorConfig, measure: Callable[[], Table]
) -> Table:
    """Return what was measured; end the command where this machine cannot have such a table."""
    try:
        return measure()
    except ValueError as error:
        parser.exit(1, f"error: no such table of the machine '{config.name}': {error}\n")
