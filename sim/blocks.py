# SPDX-License-Identifier: Apache-2.0
"""How far float outputs that come from blocks are from the float of the int32 sums."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.blocks import BlocksNode, HostBlockDequantize
from kiwicha.compiler.graph.graph import DynamicLinearNode, Graph
from kiwicha.errors import KiwichaError
from kiwicha.golden.network import requantized, sums
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.report.blocks import BlocksReport

__all__ = ["block_noise", "require_random"]


def require_random(random: tuple[int, int], config: AcceleratorConfig) -> None:
    """Refuse a seed or step that no register of the machine takes.

    Raises
    ------
    KiwichaError
        Names the register.
    """
    for name, value in zip(("random_seed", "random_step"), random, strict=True):
        if value and not config.blocks.random:
            raise KiwichaError(
                f"{name} is {value}; the machine's blocks are not rounded randomly "
                f"(blocks.channels {config.blocks.channels}, blocks.rounding "
                f"{config.blocks.rounding.value})"
            )


def block_noise(
    graph: Graph,
    tensors: Mapping[str, NDArray[Any]],
    config: AcceleratorConfig,
    produced: Mapping[str, NDArray[Any]],
) -> tuple[BlocksReport, ...]:
    """Return what the blocks of a graph are worth.

    Parameters
    ----------
    tensors : those of the golden operators, by name.
    produced : graph outputs.
    """
    nodes = {node.y.name: node for node in graph.nodes if isinstance(node, BlocksNode)}
    return tuple(
        _report(nodes[edge.tensor.name], edge, tensors, config, produced[edge.target])
        for edge in graph.dequantize
        if isinstance(edge, HostBlockDequantize)
    )


def _report(
    node: BlocksNode,
    edge: HostBlockDequantize,
    tensors: Mapping[str, NDArray[Any]],
    config: AcceleratorConfig,
    output: NDArray[np.float32],
) -> BlocksReport:
    linear = node.linear
    operands = [tensors[tensor.name] for tensor in node.inputs]
    total = sums(linear, *operands)
    record = operands[1:]
    exact, static = edge.real(total, *record), None
    if not isinstance(linear, DynamicLinearNode):
        with suppress(ValueError):  # on this machine the layer's scale may have no encoding
            codes = requantized(linear, operands[0], config.requantize_mode).astype(np.float64)
            values = (codes - linear.y.zero_point) * float(linear.y.scale)
            static = _decibels(exact, edge.placed(values))
    return BlocksReport(
        layer=node.name,
        output=edge.target,
        channels=config.blocks.channels,
        scale=config.blocks.scale.value,
        rounding=config.blocks.rounding.value,
        code_bytes=node.y.size,
        scale_bytes=node.scales.size,
        decibels=_decibels(exact, output),
        static_decibels=static,
    )


def _decibels(exact: NDArray[np.float32], found: NDArray[np.float32]) -> float | None:
    """Return the ratio of the squares of ``exact`` and of what ``found`` is away from it."""
    signal = float(np.square(exact, dtype=np.float64).sum())
    noise = float(np.square(exact.astype(np.float64) - found).sum())
    return 10 * float(np.log10(signal / noise)) if signal and noise else None
