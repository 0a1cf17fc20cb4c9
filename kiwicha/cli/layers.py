# SPDX-License-Identifier: Apache-2.0
"""The options of ``kiwicha sim`` that name layers."""

import argparse
from collections.abc import Callable

__all__ = ["layer_options"]


def layer_options(
    parser: argparse.ArgumentParser, integer: Callable[[int, int], type[int]]
) -> None:
    """Add the options to the command; ``integer`` makes converters for a range of numbers."""
    parser.add_argument(
        "--statistics", metavar="LAYER,...", action="append", default=[],
        help="let the machine count the results of these layers, of one channel as LAYER[3], or of "
        "'all' that it can: range, mean, deviation, zeros, magnitudes; needs a machine with "
        "statistics.elements",
    )
    parser.add_argument(
        "--blocks", metavar="LAYER,...", action="append", default=[],
        help="quantize the results of these layers by blocks of channels, each with a scale of its "
        "own; of layers that make a float output; needs a machine with blocks.channels",
    )
    for name in ("seed", "step"):
        parser.add_argument(
            f"--random-{name}", metavar="N", type=integer(0, (1 << 32) - 1), default=0,
            help=f"register random_{name}, where blocks are rounded randomly (default: 0)",
        )
