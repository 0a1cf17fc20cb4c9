# SPDX-License-Identifier: Apache-2.0
"""What the layer before computes on its way out: sums with a tensor in memory, functions of single
results, maxima of windows.

Where nothing but a table or a sum reads what a layer writes, and the machine has tables for it
behind its requantizers, the layer writes the results of that at once: the same bits, without a pass
of their own. What would have been read is never in memory. Which sums, `compiler.emit.sums` says;
maxima are `compiler.emit.pools`'s.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kiwicha.compiler.emit.absorb import Absorbed
from kiwicha.compiler.emit.sums import Sum, Sums
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
    sums : the same of what is added up, before the table; never with a maximum.
    """

    tables: dict[str, TableNode] = field(default_factory=dict)
    passing: frozenset[str] = frozenset()
    pools: dict[str, PoolNode] = field(default_factory=dict)
    sums: dict[str, Sum] = field(default_factory=dict)

    @cached_property
    def besides(self) -> frozenset[str]:
        """Names of the nodes that a layer before them computes."""
        return frozenset(node.name for name in self._first for node in self._rest(name))

    def following(self, node: Node) -> list[Node]:
        """Return a node and what it computes besides, in the graph's order."""
        return [node, *self._rest(node.name)]

    def _rest(self, name: str) -> list[Node]:
        found: list[Node] = []
        if made := self.sums.get(name):
            found += [made.node] if made.before is None else [made.before, made.node]
        if name in self.tables:
            found.append(self.tables[name])
        if name in self.pools:
            pool = self.pools[name]
            found += [pool, *self._rest(pool.name)]
        return found

    @property
    def _first(self) -> set[str]:
        return {*self.sums, *self.tables, *self.pools}

    @cached_property
    def _last(self) -> dict[str, Node]:
        rest = {name: self._rest(name) for name in self._first}
        return {
            each: nodes[-1]
            for name, nodes in rest.items() for each in (name, *(node.name for node in nodes))
        }

    def table(self, node: Node) -> TableNode | None:
        """Return the table that a node looks its results up in last."""
        names = [each.name for each in self.following(node)]
        return next((self.tables[name] for name in names if name in self.tables), None)

    def written(self, node: Node) -> Node:
        """Return the node whose result is written where a node's would be."""
        return self._last.get(node.name, node)

    def joined(self, parts: Sequence[tuple[Node, ...]]) -> list[tuple[Node, ...]]:
        """Return layers with what they compute besides in them."""
        made = []
        for nodes in parts:
            kept = [node for node in nodes if node.name not in self.besides]
            if kept:
                made.append(tuple(each for node in kept for each in self.following(node)))
        return made


def functions_of(
    graph: Graph, config: AcceleratorConfig, absorbed: Absorbed, apart: Collection[str] = (),
    counted: Collection[str] = (),
) -> Functions:
    """Return what layers of ``graph`` compute on their way out.

    Parameters
    ----------
    absorbed : tensors that lie inside others.
    apart : names of nodes whose sums stay by themselves: they run side by side with others.
    counted : names of layers whose own results are counted, and so must be there.
    """
    if not (config.functions or config.residual):
        return Functions()
    readers = _Readers(graph)
    sums = Sums(graph, config, absorbed, {*apart, *counted})
    made, tables = dict[str, Sum](), dict[str, TableNode]()
    passing: set[str] = set()
    for node in readers.makers:
        if node.kind not in _KINDS or node.name in counted:
            continue
        last: Node = node
        reader = readers.only(last)
        before = reader if isinstance(reader, TableNode) else None
        adder = reader if before is None else readers.only(before)
        if adder is not None and node.name not in made:
            between = node if before is None else before
            found = sums.find(node, readers.names(between), before, adder)
            if found is not None:
                made[node.name] = found
                passing |= readers.names(node) | readers.names(between)
                last, reader = adder, readers.only(adder)
        if config.functions and isinstance(reader, TableNode):
            tables[node.name] = reader
            passing |= readers.names(last)
    return Functions(tables, frozenset(passing), sums=made)


class _Readers:
    """Who makes and who reads each tensor of a graph, views aside."""

    def __init__(self, graph: Graph) -> None:
        root: dict[str, str] = {}
        self._views: dict[str, list[str]] = defaultdict(list)
        self._readers: dict[str, list[Node]] = defaultdict(list)
        self.makers: list[Node] = []
        for node in graph.nodes:
            if isinstance(node, ViewNode) and node.is_whole:
                origin = root[node.y.name] = root.get(node.x.name, node.x.name)
                self._views[origin].append(node.y.name)
                continue
            self.makers.append(node)
            for tensor in node.inputs:
                self._readers[root.get(tensor.name, tensor.name)].append(node)
        self._kept = {tensor.name for tensor in graph.output_tensors}

    def names(self, node: Node) -> set[str]:
        """Return the names of what a node makes, as such and as views."""
        return {node.y.name, *self._views[node.y.name]}

    def only(self, node: Node) -> Node | None:
        """Return the node that alone reads what ``node`` makes, None if there is no such."""
        readers = self._readers[node.y.name]
        alone = len(readers) == 1 and not self.names(node) & self._kept
        return readers[0] if alone else None
