# SPDX-License-Identifier: Apache-2.0
"""Operands for the tests of the array."""

import random

__all__ = ["CORNERS", "operand"]

CORNERS = (-256, -255, -128, -1, 0, 1, 127, 255)


def operand(chooser: random.Random) -> int:
    """Return a 9-bit operand, a corner half of the time."""
    return chooser.choice(CORNERS) if chooser.random() < 0.5 else chooser.randrange(-256, 256)
