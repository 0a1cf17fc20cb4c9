# SPDX-License-Identifier: Apache-2.0
"""What the commands of bench/ have in common: which machine is measured, and how they end."""

import argparse
from collections.abc import Callable

from kiwicha.bench.table import Table
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import preset

__all__ = ["WITH", "machine", "measured", "with_also"]

_LANES = 4  # of SPECIAL, for what TFLite networks have besides products
WITH: dict[str, Callable[[AcceleratorConfig], AcceleratorConfig]] = {
    "depthwise": lambda base: base.replace(depthwise=True),
    "special": lambda base: base.replace(special={"lanes": max(base.special.lanes, 1)}),
    "training": lambda base: base.replace(
        transposer=True, residual={"tables": 2}, special={"lanes": max(base.special.lanes, 1)},
        training={"classes": 16},
    ),
    "update": lambda base: base.replace(update={"lanes": base.axi_data_width // 32}),
    "tflite": lambda base: base.replace(
        requantize_mode="tflite",
        special={"lanes": max(base.special.lanes, _LANES), "softmax": "tflite"},
    ),
}
"""What a preset may have besides, by name: ``tflite`` is TFLite's arithmetic, and lanes for what is
no product; ``training`` brings what it needs."""


def with_also(base: AcceleratorConfig, *names: str) -> AcceleratorConfig:
    """Return a machine that has what `WITH` calls so besides, and is named after it.

    Raises
    ------
    ValueError
        When there is no such name.
    """
    for name in names:
        if name not in WITH:
            raise ValueError(f"there is no '{name}'; legal: {', '.join(WITH)}")
        base = WITH[name](base).replace(name=f"{base.name}-{name}")
    return base


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
