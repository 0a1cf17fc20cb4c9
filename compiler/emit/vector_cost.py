# SPDX-License-Identifier: Apache-2.0
"""What a VECTOR costs, by its fields."""

from collections.abc import Mapping

from kiwicha.cost.timing import block_cycles, vector_cycles
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import window
from kiwicha.machine.isa import VectorMode

__all__ = ["vector_cost"]


def vector_cost(config: AcceleratorConfig, fields: Mapping[str, int]) -> tuple[int, int]:
    """Return the cycles of a VECTOR's steps, and those from the last one to its `done`."""
    mode = VectorMode(fields.get("mode", VectorMode.REQUANTIZE))
    residual, requantizes = bool(fields.get("residual", 0)), mode == VectorMode.REQUANTIZE
    steps = fields["pixels"] * fields["lines"] * -(-fields["channels"] // config.requantize_lanes)
    # Elsewhere `scales` is where a BLOCK's scales go, or where a second operand lies.
    windowed = requantizes or (mode != VectorMode.BLOCK and not residual)
    if windowed and fields.get("scales"):
        shape = window(fields)
        steps *= shape["rows"] * shape["columns"]
    # A mask takes no time, nor does a second operand in binary32.
    adds = residual and (
        requantizes or (mode == VectorMode.SHIFT and not fields.get("relu", 0))
    )
    cycles, latency = vector_cycles(config, mode, steps, bool(fields.get("settle", 0)), adds)
    if mode == VectorMode.BLOCK:
        cycles = fields["pixels"] * fields["lines"] * block_cycles(config, fields["channels"])
    return cycles, latency
