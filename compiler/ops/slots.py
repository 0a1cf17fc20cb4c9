# SPDX-License-Identifier: Apache-2.0
"""Which slot of the machine holds the scale of which dynamically quantized tensor, and when."""

from dataclasses import replace

from kiwicha.compiler.graph.dynamic_edges import HostDynamicDequantize
from kiwicha.compiler.graph.graph import (
    DynamicLinearNode,
    DynamicProductNode,
    DynamicScaleNode,
    Graph,
    Node,
    PoolNode,
    ViewNode,
)
from kiwicha.errors import UnsupportedModel
from kiwicha.machine.isa import SLOTS

__all__ = ["with_slots"]

_KNOWN = 2
"""The slot for scales that are known before, where a model has some. A LOAD of it may overwrite the
next one, too."""


class _Slots:
    """Slots in use, by the tensors that they belong to."""

    def __init__(self, count: int) -> None:
        self.used: dict[str, int] = {}
        self._count = count
        self._following = 0

    def take(self, tensor: str, node: str, op: str) -> int:
        """Return the next free slot, round robin."""
        order = [(self._following + step) % self._count for step in range(self._count)]
        free = [slot for slot in order if slot not in self.used.values()]
        if not free:
            reason = f"more than {self._count} dynamically quantized tensors are in use at once"
            if self._count < SLOTS:
                reason += ", beside tensors with scales of their own"
            raise UnsupportedModel([(node, op, reason)])
        self._following = (free[0] + 1) % self._count
        self.used[tensor] = free[0]
        return free[0]

    def keep(self, tensors: set[str]) -> None:
        """Free the slots of all others."""
        self.used = {name: slot for name, slot in self.used.items() if name in tensors}


def with_slots(graph: Graph) -> Graph:
    """Return the graph with a slot for every dynamically quantized tensor, from the node that
    writes it (the beginning, where it is the host) to the last one that reads it.

    Raises
    ------
    UnsupportedModel
        Where more are in use at once than the machine has.
    """
    last, root = dict[str, int](), dict[str, str]()
    for index, node in enumerate(graph.nodes):
        if isinstance(node, PoolNode | ViewNode):  # the same codes, whose scale stays where it is
            root[node.y.name] = root.get(node.x.name, node.x.name)
        last |= {root.get(tensor.name, tensor.name): index for tensor in node.inputs}
    known = any(
        isinstance(node, DynamicScaleNode)
        or (isinstance(node, DynamicLinearNode) and node.fixed)
        for node in graph.nodes
    )
    slots, all_slots = _Slots(_KNOWN if known else SLOTS), dict[str, int]()
    inputs = []
    for edge in graph.dynamic:
        slot = slots.take(edge.tensor.name, edge.name, "DynamicQuantizeLinear")
        all_slots[edge.tensor.name] = slot
        inputs.append(replace(edge, slot=slot))
    nodes: list[Node] = []
    records = dict[str, int]()  # slot of the input of the layer that makes a tensor
    seconds = dict[str, int]()  # the same of the second operand of a product
    for index, node in enumerate(graph.nodes):
        if not isinstance(node, DynamicLinearNode | DynamicProductNode | DynamicScaleNode):
            nodes.append(node)
            continue
        slots.keep({name for name, place in last.items() if place >= index})
        if isinstance(node, DynamicScaleNode):
            all_slots[node.y.name] = slots.take(node.y.name, node.name, node.op)
            nodes.append(replace(node, slot=_KNOWN, target=all_slots[node.y.name]))
            continue
        target = _KNOWN if isinstance(node, DynamicLinearNode) and node.fixed else None
        if node.y_record is not None:
            target = slots.take(node.y.name, node.name, node.op)
            all_slots[node.y.name] = target
        slot = 0 if node.x_record is None else all_slots[root.get(node.x.name, node.x.name)]
        records[node.y.name] = slot
        if isinstance(node, DynamicProductNode):
            second = all_slots[root.get(node.z.name, node.z.name)]
            seconds[node.y.name] = second
            nodes.append(replace(node, slot=slot, z_slot=second, target=target))
        else:
            nodes.append(replace(node, slot=slot, target=target))
    outputs = tuple(
        replace(
            edge, slot=records[edge.tensor.name], second=seconds.get(edge.tensor.name, 0)
        )
        if isinstance(edge, HostDynamicDequantize)
        else edge
        for edge in graph.dequantize
    )
    return replace(graph, dynamic=tuple(inputs), nodes=tuple(nodes), dequantize=outputs)
