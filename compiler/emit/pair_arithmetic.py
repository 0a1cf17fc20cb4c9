# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of a sum or product of two tensors, as SPECIAL has it: fields and two tables."""

from typing import Any

import numpy as np

from kiwicha.compiler.emit.fixed_pairs import fixed_arithmetic
from kiwicha.compiler.graph.graph import AddNode, FixedPairNode, PairNode, TablesNode
from kiwicha.machine.isa import SpecialOperation
from kiwicha.machine.pair_tables import add_tables, mul_ratio, mul_tables

__all__ = ["pair_arithmetic"]

Arithmetic = tuple[dict[str, Any], tuple[np.ndarray, np.ndarray], int | None]


def pair_arithmetic(node: PairNode) -> Arithmetic:
    """Return the fields that do not change from step to step, the tables, and the multiplier of
    fixed point."""
    if isinstance(node, FixedPairNode):
        return fixed_arithmetic(node)
    if isinstance(node, TablesNode) and node.tables is not None:
        *tables, shift = node.tables
        fields = {"operation": node.operation, "x_signed": 0, "z_signed": 0, "shift": shift}
        fields |= {"low": node.low, "high": node.high, "zero_point": node.y.zero_point}
        return fields, (tables[0], tables[1]), None
    first, second = (node.z, node.x) if node.z_first else (node.x, node.z)
    early, last = (0, node.y.zero_point) if node.zero_last else (node.y.zero_point, 0)
    if isinstance(node, AddNode):
        operation = SpecialOperation.ADD
        *tables, shift = add_tables(
            float(first.scale), first.zero_point, first.dtype,
            float(second.scale), second.zero_point, second.dtype, float(node.y.scale), early,
        )
    else:
        operation = SpecialOperation.MUL
        ratio = mul_ratio(
            float(first.scale), float(second.scale), float(node.y.scale)
        )
        *tables, shift = mul_tables(
            first.zero_point, first.dtype, second.zero_point, second.dtype, ratio, early
        )
    a, b = tables
    return {
        "operation": operation, "low": node.low, "high": node.high, "zero_point": last,
        "x_signed": int(first.dtype == np.int8), "z_signed": int(second.dtype == np.int8),
        "shift": shift,
    }, (a, b), None
