# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of a sum or product in fixed point, as SPECIAL has it."""

from typing import Any

import numpy as np

from kiwicha.compiler.graph.graph import FixedPairNode
from kiwicha.machine.fixed_pairs import product_tables, sum_tables
from kiwicha.machine.isa import SpecialOperation

__all__ = ["fixed_arithmetic"]


def fixed_arithmetic(
    node: FixedPairNode,
) -> tuple[dict[str, Any], tuple[np.ndarray, np.ndarray], int]:
    """Return the fields that do not change from step to step, two tables, and the multiplier.

    Raises
    ------
    ValueError
        On scales that LiteRT refuses.
    """
    first, second = (node.z, node.x) if node.z_first else (node.x, node.z)
    a, b = ((float(each.scale), each.zero_point, each.dtype) for each in (first, second))
    scale = float(node.y.scale)
    if node.function == "multiply":
        operation, made = SpecialOperation.MUL, product_tables(a, b, scale)
    else:
        sign = -1 if node.function == "subtract" else 1
        operation, made = SpecialOperation.ADD, sum_tables(a, b, scale, sign)
    return {
        "operation": operation, "low": node.low, "high": node.high,
        "zero_point": node.y.zero_point, "x_signed": 0, "z_signed": 0, "shift": made[3],
    }, (made[0], made[1]), made[2]
