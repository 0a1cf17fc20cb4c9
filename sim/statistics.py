# SPDX-License-Identifier: Apache-2.0
"""Reads what a run counted, and compares it with the golden operators' results."""

from collections.abc import Mapping
from functools import reduce
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.emit.compile import CompiledModel
from kiwicha.compiler.emit.statistics import RECORD_BYTES, Tally, channels_of
from kiwicha.compiler.graph.graph import (
    BlocksNode,
    DynamicLinearNode,
    DynamicProductNode,
    DynamicScaleNode,
    Node,
)
from kiwicha.golden.statistics import BlockStatistics, recorded, statistics
from kiwicha.report.statistics import StatisticsReport

__all__ = ["layer_statistics"]

_SUMS = DynamicLinearNode | DynamicProductNode


def layer_statistics(
    compiled: CompiledModel, memory: NDArray[np.uint8], tensors: Mapping[str, NDArray[Any]]
) -> tuple[StatisticsReport, ...]:
    """Return the statistics in ``memory``, as it is after a run.

    Parameters
    ----------
    tensors : those of the golden operators, by name.
    """
    nodes = {node.name: node for node in compiled.graph.nodes}
    return tuple(
        _report(nodes[name], tally, memory, tensors)
        for name, tally in compiled.statistics.items()
    )


def _report(
    node: Node, tally: Tally, memory: NDArray[np.uint8], tensors: Mapping[str, NDArray[Any]]
) -> StatisticsReport:
    results = _results(node, tensors[node.y.name], tally.channel)
    records = [memory[a : a + RECORD_BYTES] for a in tally.records]
    found = reduce(BlockStatistics.joined, map(recorded, records))
    spread = found.count * found.total_square - found.total**2
    codes = not isinstance(node, BlocksNode | _SUMS | DynamicScaleNode)
    return StatisticsReport(
        layer=node.name,
        channel=tally.channel,
        results=results.dtype.name,
        elements=found.count,
        minimum=found.minimum,
        maximum=found.maximum,
        mean=found.total / found.count,
        deviation=sqrt(spread) / found.count,
        zeros=found.histogram[0],
        histogram=found.histogram,
        scale=float(node.y.scale) if codes else None,
        zero_point=node.y.zero_point if codes else None,
        records=len(records),
        mismatches=int(found != statistics(results)),
    )


def _results(node: Node, y: NDArray[Any], channel: int | None) -> NDArray[Any]:
    """Return what is counted of a tensor in ONNX order: a channel of each pixel, or all."""
    flat = node.y.layout.apply(y)
    if isinstance(node, _SUMS) and node.target is None:
        flat = np.ascontiguousarray(flat).view("<i4")
    rows = flat.reshape(-1, channels_of(node))
    return rows if channel is None else rows[:, channel]
