# SPDX-License-Identifier: Apache-2.0
"""Layers that the user names: by node names, as the model has them."""

from collections.abc import Sequence

from kiwicha.compiler.graph.graph import Graph, Node
from kiwicha.errors import KiwichaError

__all__ = ["chosen_layers", "layer_called", "split_names"]

_SHOWN = 12  # names in a refusal


def split_names(graph: Graph, asked: Sequence[str]) -> list[str]:
    """Return what is ``asked`` for one by one: a text with commas is several, unless a node has it
    for its name."""
    known = {node.name for node in graph.nodes}
    return [
        name
        for text in asked
        for name in ([text] if text in known else [part.strip() for part in text.split(",")])
    ]


def layer_called(graph: Graph, name: str, option: str) -> Node:
    """Return the node of that name.

    Parameters
    ----------
    option : what asks, for the message.

    Raises
    ------
    KiwichaError
        Where there is none, or it is done in steps.
    """
    for node in graph.nodes:
        if node.name == name:
            return node
    for whole in graph.wholes.values():
        if whole.name == name:
            raise KiwichaError(
                f"{option}: '{name}' ({whole.op}) is done in many steps; only other layers can be "
                "asked for"
            )
    known = [node.name for node in graph.nodes if node.y.name not in graph.wholes]
    shown = ", ".join(known[:_SHOWN])
    more = ", ..." if len(known) > _SHOWN else ""
    raise KiwichaError(f"{option}: no layer is called '{name}'; there are {shown}{more}")


def chosen_layers(graph: Graph, asked: Sequence[str], option: str) -> list[Node]:
    """Return the nodes that are ``asked`` for, each once, in their order in the graph.

    Raises
    ------
    KiwichaError
        Where no node has such a name.
    """
    wanted = [layer_called(graph, name, option) for name in split_names(graph, asked)]
    return [node for node in graph.nodes if any(node is other for other in wanted)]
