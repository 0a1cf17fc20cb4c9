# SPDX-License-Identifier: Apache-2.0
"""Which parts a machine must have for a node, before it is asked how large they are."""

from collections.abc import Iterable

from kiwicha.compiler.graph.graph import (
    BlocksNode,
    DynamicLinearNode,
    DynamicProductNode,
    DynamicScaleNode,
    Node,
    NormalizeNode,
    PairNode,
    ProductNode,
    SoftmaxNode,
    TableNode,
)
from kiwicha.errors import Need, UnfitMachine
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["SpecialNode", "require_units"]

SpecialNode = TableNode | PairNode | SoftmaxNode | NormalizeNode
"""What the engine SPECIAL does."""

_DYNAMIC = DynamicLinearNode | DynamicProductNode | DynamicScaleNode
_LANES = 4  # that would do: as many as the machine called default has


def _missing(node: Node, config: AcceleratorConfig) -> UnfitMachine | None:
    """Return the refusal of a machine that has not what ``node`` needs; None where it has."""
    where = f"{node.name} ({node.op})"
    linear = node.linear if isinstance(node, BlocksNode) else node
    if isinstance(linear, _DYNAMIC) and not config.dynamic:
        return UnfitMachine(f"{where}: is quantized dynamically", [Need("dynamic", False, True)])
    if isinstance(node, ProductNode | DynamicProductNode) and not config.transposer:
        return UnfitMachine(f"{where}: multiplies activations", [Need("transposer", False, True)])
    if isinstance(node, SpecialNode) and not config.special.lanes:
        need = Need("special.lanes", 0, _LANES)
        return UnfitMachine(f"{where}: {node.kind} is done by SPECIAL", [need])
    return None


def require_units(nodes: Iterable[Node], config: AcceleratorConfig) -> None:
    """Refuse a machine that has not what some of ``nodes`` need.

    Raises
    ------
    UnfitMachine
        Names all of these nodes.
    """
    missing = [error for node in nodes if (error := _missing(node, config)) is not None]
    if missing:
        raise UnfitMachine.together(missing)
