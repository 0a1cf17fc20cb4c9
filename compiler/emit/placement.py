# SPDX-License-Identifier: Apache-2.0
"""Where the tensors of a graph lie in memory."""

from collections.abc import Mapping

from kiwicha.compiler.emit.absorb import Absorbed
from kiwicha.compiler.emit.functions import Functions
from kiwicha.compiler.emit.memory import Memory
from kiwicha.compiler.graph.graph import DynamicProductNode, Graph, JoinNode, Tensor, ViewNode

__all__ = ["place_results"]


def place_results(
    graph: Graph, memory: Memory, inputs: Mapping[str, int], absorbed: Absorbed,
    functions: Functions,
) -> dict[str, int]:
    """Return where each tensor is, ``inputs`` among them; results get room of their own.

    A view is where its tensor is, or inside it; a part of a join where it belongs there; a part of
    another tensor inside that; and what a function takes on the way out where the function's result
    is.
    """
    addresses = dict(inputs)
    for node in reversed(graph.nodes):  # parts may be joins
        if isinstance(node, JoinNode):
            if node.y.name not in addresses:
                addresses[node.y.name] = memory.take(node.y.size, f"output of {node.name!r}")
            start = addresses[node.y.name]
            for tensor in node.parts:
                _put(addresses, tensor, start)
                start += tensor.size
        elif isinstance(node, ViewNode) and node.is_whole and node.y.name in addresses:
            _put(addresses, node.x, addresses[node.y.name])
    elsewhere = {*absorbed.within, *functions.passing}
    for node in graph.nodes:
        for tensor in () if isinstance(node, ViewNode) else node.results:
            if tensor.name not in addresses and tensor.name not in elsewhere:
                addresses[tensor.name] = memory.take(tensor.size, f"output of {node.name!r}")
        if isinstance(node, DynamicProductNode):
            size = node.scratch.size
            addresses[node.scratch.name] = memory.take(size, f"parameters of {node.name!r}")

    def place(name: str) -> int:
        inside = absorbed.within.get(name)
        return addresses[name] if inside is None else place(inside.into) + inside.first

    for node in graph.nodes:
        if isinstance(node, ViewNode):
            addresses.setdefault(node.y.name, addresses[node.x.name] + node.start)
        else:
            addresses[node.y.name] = place(functions.written(node).y.name)
    return addresses


def _put(addresses: dict[str, int], tensor: Tensor, place: int) -> None:
    """Give a part of a join its place."""
    if addresses.setdefault(tensor.name, place) != place:
        raise ValueError(f"'{tensor.name}' would have to be at two places")
