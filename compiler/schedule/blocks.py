# SPDX-License-Identifier: Apache-2.0
"""A layer quantized by blocks as work for the array: how column tiles and blocks go together."""

from dataclasses import replace
from math import lcm

from kiwicha.compiler.graph.blocks import BlocksNode
from kiwicha.compiler.graph.graph import ConvNode, DynamicLinearNode
from kiwicha.compiler.schedule.contraction import Blocks, Contraction
from kiwicha.compiler.schedule.dynamic_layer import dynamic_contraction
from kiwicha.compiler.schedule.mapping import (
    conv_contractions,
    matmul_contractions,
)
from kiwicha.compiler.schedule.tiling import column_tiles
from kiwicha.errors import KiwichaError
from kiwicha.machine.blocks import scale_bytes
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.modes import RequantizeMode

__all__ = ["block_contraction"]

_TILES = 256  # that a VECTOR drains side by side


def block_contraction(
    node: BlocksNode, x_address: int, y_address: int, scales: int, config: AcceleratorConfig
) -> Contraction:
    """Return the layer with its codes at ``y_address`` and its scales from ``scales`` on.

    Raises
    ------
    KiwichaError
        When blocks and column tiles do not go together on this machine; names the layer.
    """
    if isinstance(node.linear, DynamicLinearNode):
        work = dynamic_contraction(node.linear, x_address, y_address)
    else:
        # The layer's own scale is not used: on this machine it need not have an encoding.
        made = config.replace(requantize_mode=RequantizeMode.ONNX)
        addresses = {node.linear.x.name: x_address, node.linear.y.name: y_address}
        if isinstance(node.linear, ConvNode):
            (work,) = conv_contractions(node.linear, addresses, made)
        else:
            (work,) = matmul_contractions(node.linear, addresses, made)
    size = config.blocks.channels
    blocks = Blocks(size, scale_bytes(config), scales, _drained(work, size, config))
    return replace(work, op=node.op, blocks=blocks, y_zero=0, low=0, high=0)


def _drained(work: Contraction, size: int, config: AcceleratorConfig) -> int:
    """Return how many column tiles end with a block: a VECTOR begins and ends with one."""
    tiles = column_tiles(work, config)
    if all(tile.output % size == 0 for tile in tiles):
        return 1
    if any(tile.output != place * config.columns for place, tile in enumerate(tiles)):
        raise KiwichaError(
            f"{work.name} ({work.op}): its groups of channels do not fill {config.columns} "
            f"columns, and blocks of {size} channels would not end with them"
        )
    drained = min(lcm(size, config.columns) // config.columns, len(tiles))
    lanes = config.parameter_lanes * -(-config.columns // config.requantize_lanes)
    for limit, field in (
        (config.accumulator_depth // 2, "accumulator_depth"),
        (config.parameter_channels // 2 // lanes, "parameter_channels"),
        (_TILES, "columns"),
    ):
        if drained > limit:
            raise KiwichaError(
                f"{work.name} ({work.op}): blocks of {size} channels end with every {drained}th "
                f"tile of {config.columns} columns; the machine's {field} "
                f"{getattr(config, field)} allows {limit}"
            )
    return drained
