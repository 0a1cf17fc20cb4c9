# SPDX-License-Identifier: Apache-2.0
"""What the layer before computes on its way out: functions of single results, maxima of windows.

Where nothing but a table reads what a layer writes, and the machine has tables behind its
requantizers, the layer writes the table's results at once: the same bits, without a pass of their
own. What the table would have read is never in memory. Maxima are `compiler.emit.pools`'s.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kiwicha.compiler.graph.graph import Graph, Node, PoolNode, TableNode, ViewNode
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["Functions", "functions_of"]

_KINDS = ("conv", "conv_transpose", "matmul", "matmul_stack", "pool", "product")
"""Nodes whose results all come through the requantizers in the order in which they are needed."""


@dataclass(frozen=True)
class Functions:
    """Members
    -------
    tables : by the name of the node that computes it, what it computes besides.
    passing : names of the tensors that are never in memory.
    pools : by the name of the convolution that computes it, the maximum of its results; a table is
        before it or behind.
    """

    tables: dict[str, TableNode] = field(default_factory=dict)
    passing: frozenset[str] = frozenset()
    pools: dict[str, PoolNode] = field(default_factory=dict)

    @cached_property
    def besides(self) -> frozenset[str]:
        """Names of the nodes that a layer before them computes."""
        nodes: list[Node] = [*self.tables.values(), *self.pools.values()]
        return frozenset(node.name for node in nodes)

    def following(self, node: Node) -> list[Node]:
        """Return a node and what it computes besides, in the graph's order."""
        found: list[Node] = [node]
        if node.name in self.tables:
            found.append(self.tables[node.name])
        if node.name in self.pools:
            found += self.following(self.pools[node.name])
        return found

    def table(self, node: Node) -> TableNode | None:
        """Return the table among what a node computes besides."""
        rest = self.following(node)[1:]
        return next((each for each in rest if isinstance(each, TableNode)), None)

    def written(self, node: Node) -> Node:
        """Return the node whose result is written where a node's would be."""
        for first in self.pools:
            if node is self.tables.get(first):
                return self.written(self.pools[first])
        return self.following(node)[-1]

    def joined(self, parts: Sequence[tuple[Node, ...]]) -> list[tuple[Node, ...]]:
        """Return layers with what they compute besides in them."""
        made = []
        for nodes in parts:
            kept = [node for node in nodes if node.name not in self.besides]
            if kept:
                made.append(tuple(each for node in kept for each in self.following(node)))
        return made


def functions_of(
    graph: Graph, config: AcceleratorConfig, counted: Collection[str] = ()
) -> Functions:
    """Return the tables that layers of ``graph`` compute on their way out.

    Parameters
    ----------
    counted : names of layers whose own results are counted, and so must be there.
    """
    if not config.functions:
        return Functions()
    root: dict[str, str] = {}
    views: dict[str, list[str]] = defaultdict(list)
    readers: dict[str, list[Node]] = defaultdict(list)
    makers: dict[str, Node] = {}
    for node in graph.nodes:
        if isinstance(node, ViewNode) and node.is_whole:
            origin = root[node.y.name] = root.get(node.x.name, node.x.name)
            views[origin].append(node.y.name)
            continue
        makers[node.y.name] = node
        for tensor in node.inputs:
            readers[root.get(tensor.name, tensor.name)].append(node)
    kept = {tensor.name for tensor in graph.output_tensors}
    tables: dict[str, TableNode] = {}
    passing: set[str] = set()
    for name, node in makers.items():
        if node.kind not in _KINDS or node.name in counted or len(readers[name]) != 1:
            continue
        names = {name, *views[name]}
        (reader,) = readers[name]
        if isinstance(reader, TableNode) and not names & kept:
            tables[node.name] = reader
            passing |= names
    return Functions(tables, frozenset(passing))
