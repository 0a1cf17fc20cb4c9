# SPDX-License-Identifier: Apache-2.0
"""Maxima over windows that the convolution before computes on its way out.

A maximum commutes with what never decreases: with requantizing, if no bias wraps, and with a table
whose entries ascend. Where nothing but a maximum pooling reads a convolution, on a machine with
`pooling`, and windows that overlap do not cost more than the pass that they save, both are one
layer; what the pooling would have read is never in memory.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from kiwicha.compiler.emit.absorb import Absorbed
from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.functions import Functions
from kiwicha.compiler.emit.layer_steps import layer_steps
from kiwicha.compiler.emit.memory import Memory
from kiwicha.compiler.graph.graph import ConvNode, Graph, Node, PoolNode, TableNode, Tensor
from kiwicha.compiler.schedule.average import work_cycles
from kiwicha.compiler.schedule.mapping import (
    conv_contractions,
    pool_contractions,
    pooled_contraction,
)
from kiwicha.errors import KiwichaError
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Reduction
from kiwicha.machine.window import WINDOW

__all__ = ["with_pools"]

_LIMIT = 1 << 31
_UNSURE = 0.7, 1.1  # estimated cycles in one layer by those in two where estimates do not decide
_STEP = 1 << WINDOW["pixel_entries"].width


def with_pools(
    graph: Graph, config: AcceleratorConfig, functions: Functions, absorbed: Absorbed,
    counted: Collection[str] = (),
) -> Functions:
    """Return ``functions`` with the maxima that convolutions of ``graph`` compute besides.

    Parameters
    ----------
    absorbed : what lies inside other tensors; such results are written as they are.
    counted : names of layers whose own results are counted, and so must be there.
    """
    if not config.pooling:
        return functions
    readers = Counter(tensor.name for node in graph.nodes for tensor in node.inputs)
    readers.update(tensor.name for tensor in graph.output_tensors)
    apart = {*absorbed.within, *(inside.into for inside in absorbed.within.values())}
    makers = {node.y.name: node for node in graph.nodes}
    pools: dict[str, PoolNode] = {}
    passing = set(functions.passing)
    for pool in graph.nodes:
        if not isinstance(pool, PoolNode) or pool.name in {*counted, *absorbed.nodes}:
            continue
        node, table = makers.get(pool.x.name), None
        if isinstance(node, TableNode) and pool.x.name not in apart:
            table, node = node, makers.get(node.x.name)
            if node is None or functions.tables.get(node.name) is not table:
                continue
            if pool.name in functions.tables or not _ascends(table, pool):
                continue
        if not isinstance(node, ConvNode) or node.name in counted:
            continue
        if node.name in functions.sums or pool.name in functions.sums:
            continue
        between = [node.y, *(() if table is None else (table.y,))]
        if any(readers[tensor.name] != 1 or tensor.name in apart for tensor in between):
            continue
        if pool.y.name in apart or node.y.name in graph.wholes or pool.y.name in graph.wholes:
            continue
        if _can(node, pool, config) and _is_worth(node, pool, config):
            pools[node.name] = pool
            passing |= {tensor.name for tensor in between}
    return replace(functions, pools=pools, passing=frozenset(passing))


def _can(node: ConvNode, pool: PoolNode, config: AcceleratorConfig) -> bool:
    """Whether the maximum is one of codes, of windows that the machine has, and commutes."""
    x, y = pool.x, pool.y
    same = x.dtype == y.dtype and x.zero_point == y.zero_point and np.ndim(pool.scale) == 0
    return (
        pool.reduction is Reduction.MAX and same and float(pool.scale) == 1.0
        and pool.kernel != (1, 1) and max(pool.kernel) <= config.pooling.window
        and pool.dilations == (1, 1) and pool.strides[1] < _STEP
        and _greatest(node) < _LIMIT
    )


def _greatest(node: ConvNode) -> int:
    """Return a bound of the sums' magnitudes, those of bias and all others on the way."""
    info, zero = np.iinfo(node.x.dtype), node.x.zero_point
    x = max(int(info.max) - zero, zero - int(info.min))
    taps = node.weights.astype(np.int64) - node.weight_zero.astype(np.int64)[:, None, None, None]
    sums = np.abs(taps).sum(axis=(1, 2, 3)) * x + np.abs(node.bias.astype(np.int64))
    return int(sums.max())


def _ascends(table: TableNode, pool: PoolNode) -> bool:
    """Whether a table never decreases, and the pooling's bounds, which come last, are none."""
    info = np.iinfo(table.x.dtype)
    codes = np.arange(info.min, info.max + 1).astype(table.x.dtype)
    values = table.table[codes.view(np.uint8)].view(table.y.dtype).astype(np.int64)
    bounds = np.iinfo(pool.y.dtype)
    return bool((np.diff(values) >= 0).all()) and (pool.low, pool.high) == (bounds.min, bounds.max)


def _is_worth(node: ConvNode, pool: PoolNode, config: AcceleratorConfig) -> bool:
    """Whether one layer takes fewer predicted cycles than two, with nothing before and behind."""
    memory = Memory(1 << config.axi_address_width)
    tensors: tuple[Tensor, ...] = (node.x, node.y, pool.x, pool.y)
    addresses = {tensor.name: memory.take(tensor.size, tensor.name) for tensor in tensors}
    try:
        together = work_cycles([pooled_contraction(node, pool, addresses, config)], config)
        apart = work_cycles(conv_contractions(node, addresses, config), config)
        apart += work_cycles(pool_contractions(pool, addresses, config), config)
        if not _UNSURE[0] * apart < together < _UNSURE[1] * apart:
            return together < apart
        totals = []
        ways: list[list[tuple[Node, PoolNode | None]]] = [
            [(node, pool)], [(node, None), (pool, None)],
        ]
        for parts in ways:
            builder = ProgramBuilder(config)
            for first, second in parts:
                for step in layer_steps(first, addresses, builder, memory.put, 0, second):
                    step.emit()
            totals.append(builder.timeline().total)
    except KiwichaError:
        return False
    return totals[0] <= totals[1]
