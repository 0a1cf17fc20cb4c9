# SPDX-License-Identifier: Apache-2.0
"""Bounds of binary32 values, which VECTOR keeps until others are needed."""

import numpy as np

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.instruction import Transfer
from kiwicha.compiler.emit.residents import StoreConstant
from kiwicha.machine.isa import BOUNDS_PLACE, LoadTarget

__all__ = ["bring_bounds"]


def bring_bounds(
    builder: ProgramBuilder, store: StoreConstant, bounds: tuple[float, float]
) -> Range:
    """Have VECTOR hold values within ``bounds``, low and high; return what it reads then."""
    address, place = store(np.array(bounds, "<f4").view(np.uint8)), Range(Space.BOUNDS, 0, 1)
    if builder.bounds.find(address) is None:
        builder.bounds.place(address, 1)
        builder.load(LoadTarget.DYNAMIC, Transfer(address, BOUNDS_PLACE, 8), touched=place)
    return place
