# SPDX-License-Identifier: Apache-2.0
"""Functions of single results that the layer before computes on its way out.

Where nothing but a table reads what a layer writes, and the machine has tables behind its
requantizers, the layer writes the table's results at once: the same bits, without a pass of their
own. What the table would have read is never in memory.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from kiwicha.compiler.graph.graph import Graph, Node, TableNode, ViewNode
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
    """

    tables: dict[str, TableNode] = field(default_factory=dict)
    passing: frozenset[str] = frozenset()

    def joined(self, parts: Sequence[tuple[Node, ...]]) -> list[tuple[Node, ...]]:
        """Return layers with each such table in the layer that computes it."""
        gone = {table.name for table in self.tables.values()}
        made = []
        for nodes in parts:
            kept: list[Node] = []
            for node in nodes:
                if node.name in gone:
                    continue
                kept.append(node)
                if node.name in self.tables:
                    kept.append(self.tables[node.name])
            if kept:
                made.append(tuple(kept))
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
