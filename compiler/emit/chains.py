# SPDX-License-Identifier: Apache-2.0
"""Which layers of a graph run side by side: a product, what becomes of it, and the next product.

In attention the array is idle during the softmax unless it works on another head meanwhile.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from kiwicha.compiler.graph.graph import Node, ProductNode, ViewNode, Whole

__all__ = ["chains"]

_BETWEEN = ("table", "add", "mul", "tables", "fixed_pair", "softmax", "normalize")


def chains(
    nodes: Sequence[Node], wholes: Mapping[str, Whole] = MappingProxyType({})
) -> list[tuple[Node, ...]]:
    """Return the nodes but for views, in an order that is correct, those of a chain together, and
    those of a whole (`Graph.wholes`).

    A chain begins with a product, ends with a product where it comes to one, and each of its nodes
    is the only one that reads the result of the one before.
    """
    root: dict[str, str] = {}
    readers: dict[str, list[Node]] = defaultdict(list)
    works: list[Node] = []
    for node in nodes:
        if isinstance(node, ViewNode):
            root[node.y.name] = root.get(node.x.name, node.x.name)
            continue
        works.append(node)
        for name in {root.get(tensor.name, tensor.name) for tensor in node.inputs}:
            readers[name].append(node)

    def follow(first: Node) -> tuple[Node, ...]:
        chain = [first]
        while len(found := readers[chain[-1].y.name]) == 1:
            (reader,) = found
            if reader.y.name in wholes:
                break
            if isinstance(reader, ProductNode):
                return (*chain, reader) if len(chain) > 1 else (first,)
            if reader.kind not in _BETWEEN or root_of(reader.inputs[0].name) != chain[-1].y.name:
                break
            chain.append(reader)
        return tuple(chain)

    def root_of(name: str) -> str:
        return root.get(name, name)

    taken: set[int] = set()
    found: dict[int, tuple[Node, ...]] = {}
    for node in works:
        if isinstance(node, ProductNode) and id(node) not in taken:
            chain = follow(node)
            taken.update(id(member) for member in chain)
            # All else that its members read comes before the last of them.
            found[id(chain[-1])] = chain
    parts, last = list[tuple[Node, ...]](), None
    for node in works:
        whole = wholes.get(node.y.name)
        if whole is not None and whole == last:
            parts[-1] += (node,)
        elif id(node) in found or id(node) not in taken:
            parts.append(found.get(id(node), (node,)))
        last = whole
    return parts
