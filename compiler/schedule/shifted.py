# SPDX-License-Identifier: Apache-2.0
"""Products of training steps as contractions."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.training_nodes import LIMIT, ShiftedProductNode
from kiwicha.compiler.schedule.contraction import Addend, Contraction, Matrix, Shifted
from kiwicha.compiler.schedule.product import operand_lines, product_works
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SUM_BEATS
from kiwicha.machine.sum_tables import FRACTION

__all__ = ["shifted_product_contractions"]


def shifted_product_contractions(
    node: ShiftedProductNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> list[Contraction]:
    """Return the product of ``node``; raises as `schedule.product.product_contractions`."""
    form, pitch, _ = operand_lines(node.name, node.op, node.z)
    matrix = Matrix(addresses[node.z.name], form, pitch, signed=True)
    ((_, work),) = product_works(
        node.name, node.op, node.x, node.y, addresses, np.zeros(node.y.shape[-1], np.int64)
    )
    return [replace(
        work, matrix=matrix, low=node.low, high=node.high,
        addend=_addend(node, addresses, config),
        shifted=Shifted(node.slot, node.target, node.exponent, node.bits, node.gradient),
    )]


def _addend(
    node: ShiftedProductNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> Addend | None:
    y = addresses[node.y.name]
    if node.mask is not None:
        return Addend(addresses[node.mask.name] - y, None)
    if node.updates is not None:
        return Addend(addresses[node.updates.name] - y, differences(config.beat_bytes))
    return None


def differences(beat_bytes: int) -> NDArray[np.uint8]:
    """Return VECTOR's tables for operand less result, between -127 and 127."""
    codes = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int32) << FRACTION
    table = np.zeros((SUM_BEATS // 2 + 1, beat_bytes), np.uint8)
    table[:-1, :8] = np.stack([-codes, codes], axis=1).astype("<i4").view(np.uint8)
    table[-1, :4] = np.array([-LIMIT, LIMIT], "<i2").view(np.uint8)
    return table.reshape(-1)
