# SPDX-License-Identifier: Apache-2.0
"""Names that the compiler makes up, none of which a model's own name can ever meet.

Any text may be a name in ONNX, so that no prefix or separator is safe: a made-up name is checked
against all names of the model, and counted up until it is new.
"""

from collections.abc import Iterable, Iterator

import onnx

__all__ = ["Names", "names_of"]


def names_of(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the names of all values, constants and nodes, those of subgraphs included."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
    for tensor in graph.initializer:
        yield tensor.name
    for sparse in graph.sparse_initializer:
        yield sparse.values.name
    for node in graph.node:
        yield node.name
        yield from node.input
        yield from node.output
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from names_of(inner)


class Names:
    """Hands out new names.

    Parameters
    ----------
    graphs : whose names are taken.
    """

    def __init__(self, *graphs: onnx.GraphProto) -> None:
        self._taken = {name for graph in graphs for name in names_of(graph)}

    def take(self, names: Iterable[str]) -> None:
        """Never hand these out."""
        self._taken.update(names)

    def fresh(self, *parts: str) -> str:
        """Return ``parts`` joined by slashes, with a number behind where that is taken; no later
        call returns the same."""
        name = plain = "/".join(parts)
        count = 1
        while name in self._taken:
            count += 1
            name = f"{plain}/{count}"
        self._taken.add(name)
        return name
