# SPDX-License-Identifier: Apache-2.0
"""Layers that the user names: by node names, as the model has them."""

from collections.abc import Sequence

from kiwicha.compiler.graph.graph import Graph, Node
from kiwicha.errors import KiwichaError

__all__ = ["chosen_layers"]

_SHOWN = 12  # names in a refusal


def chosen_layers(graph: Graph, asked: Sequence[str], option: str) -> list[Node]:
    """Return the nodes that are ``asked`` for, each once, in their order in the graph.

    Parameters
    ----------
    asked : names, or several of them with commas between. A node's own name goes before its
        parts.
    option : what asks, for the message.

    Raises
    ------
    KiwichaError
        Where no node has such a name.
    """
    known = {node.name for node in graph.nodes}
    names = [
        name
        for text in asked
        for name in ([text] if text in known else [part.strip() for part in text.split(",")])
    ]
    for name in names:
        if name not in known:
            shown = [node.name for node in graph.nodes][:_SHOWN]
            more = ", ..." if len(known) > _SHOWN else ""
            raise KiwichaError(
                f"{option}: no layer is called '{name}'; there are {', '.join(shown)}{more}"
            )
    return [node for node in graph.nodes if node.name in names]
