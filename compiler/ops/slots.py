# SPDX-License-Identifier: Apache-2.0
"""Which slot of the machine holds the scale of which dynamically quantized tensor, and when."""

from collections import defaultdict
from dataclasses import replace
from math import inf
from typing import Any

from kiwicha.compiler.frontend.names import Names
from kiwicha.compiler.graph.dynamic_edges import HostDynamicDequantize, HostDynamicQuantize
from kiwicha.compiler.graph.graph import (
    DynamicLinearNode,
    DynamicProductNode,
    DynamicRealNode,
    DynamicScaleNode,
    Graph,
    MoveNode,
    Node,
    PoolNode,
    Tensor,
    ViewNode,
)
from kiwicha.machine.isa import SLOTS

__all__ = ["with_slots"]

_KNOWN = 2
"""The slot for scales that are known before, where a model has some."""


class _Slots:
    """What slots hold while the nodes run, in the order of their numbers.

    A tensor keeps its slot's number. Where another one took the slot meanwhile, a LOAD brings its
    scale back from memory, which may overwrite the slot beside, too: a beat holds up to two.
    """

    def __init__(self, count: int, uses: dict[str, list[int]]) -> None:
        self.of: dict[str, int] = {}
        self._held: list[str | None] = [None] * SLOTS
        self._count, self._uses = count, uses
        self._following = 0

    def begin(self, tensor: str, place: int) -> int:
        """Give input number ``place`` its slot; the first ones are in theirs at the beginning."""
        slot = place % self._count
        self.of[tensor], self._following = slot, (slot + 1) % self._count
        if place < self._count:
            self._held[slot] = tensor
        return slot

    def take(self, tensor: str, index: int, beside: int | None = None) -> int:
        """Give a tensor that node ``index`` makes the next free slot, round robin; where there is
        none, that of the tensor which is read again the latest. Not the slot ``beside``."""
        order = [(self._following + step) % self._count for step in range(self._count)]
        order = [slot for slot in order if slot != beside]
        slot = max(order, key=lambda each: self._next_use(each, index))
        self._following = (slot + 1) % self._count
        self.of[tensor], self._held[slot] = slot, tensor
        return slot

    def _next_use(self, slot: int, index: int) -> float:
        """Return which node reads next what a slot holds, infinity if none does."""
        uses = self._uses.get(self._held[slot] or "", [])
        return min((use for use in uses if use >= index), default=inf)

    def bring(self, tensor: str) -> bool:
        """Have a tensor's scale in its slot; return whether that takes a LOAD."""
        slot = self.of[tensor]
        if self._held[slot] == tensor:
            return False
        self._held[slot], self._held[slot ^ 1] = tensor, None
        return True


def with_slots(graph: Graph, names: Names) -> Graph:
    """Return the graph with a slot for every dynamically quantized tensor, and with what has to be
    brought back into one; inputs beyond the slots there are have records of their own."""
    uses, root = defaultdict[str, list[int]](list), dict[str, str]()
    for index, node in enumerate(graph.nodes):
        if isinstance(node, MoveNode | PoolNode | ViewNode):  # the same codes and their scale
            root[node.y.name] = root.get(node.x.name, node.x.name)
        for tensor in node.inputs:
            uses[root.get(tensor.name, tensor.name)].append(index)
    known = any(
        isinstance(node, DynamicScaleNode)
        or (isinstance(node, DynamicLinearNode) and node.fixed)
        for node in graph.nodes
    )
    count = _KNOWN if known else SLOTS
    slots = _Slots(count, uses)
    inputs, records = _inputs(graph, slots, count, names)
    nodes: list[Node] = []
    edges: dict[str, dict[str, Any]] = {}  # of sums: where the scales of their operands are

    def operand(tensor: Tensor, record: Tensor) -> tuple[int, Tensor]:
        name = root.get(tensor.name, tensor.name)
        return slots.of[name], records.get(name, record)

    for index, node in enumerate(graph.nodes):
        if isinstance(node, DynamicScaleNode):
            target = slots.take(node.y.name, index)
            nodes.append(replace(node, slot=_KNOWN, target=target))
            continue
        if isinstance(node, DynamicRealNode):
            nodes.append(replace(node, target=slots.take(node.y.name, index)))
            continue
        if not isinstance(node, DynamicLinearNode | DynamicProductNode):
            nodes.append(node)
            continue
        found: dict[str, Any] = {}
        edge = edges[node.y.name] = {}
        if node.x_record is not None:
            found["slot"], found["x_record"] = operand(node.x, node.x_record)
            found["reload"] = slots.bring(root.get(node.x.name, node.x.name))
            edge |= {"slot": found["slot"], "record": found["x_record"]}
        if isinstance(node, DynamicProductNode):
            found["z_slot"], found["z_record"] = operand(node.z, node.z_record)
            edge |= {"second": found["z_slot"], "other": found["z_record"]}
        elif node.fixed:
            found["target"] = _KNOWN
        if node.y_record is not None:
            found["target"] = slots.take(node.y.name, index, found.get("slot"))
        nodes.append(replace(node, **found))
    outputs = tuple(
        replace(edge, **edges[edge.tensor.name])
        if isinstance(edge, HostDynamicDequantize)
        else edge
        for edge in graph.dequantize
    )
    return replace(graph, dynamic=inputs, nodes=tuple(nodes), dequantize=outputs)


def _inputs(
    graph: Graph, slots: _Slots, count: int, names: Names
) -> tuple[tuple[HostDynamicQuantize, ...], dict[str, Tensor]]:
    """Return the inputs with their slots, the first ones in the record that the program begins
    with, and the records of all others by tensor."""
    made, records = list[HostDynamicQuantize](), dict[str, Tensor]()
    for place, edge in enumerate(graph.dynamic):
        record = edge.record if place < count else made[-1].record
        if place >= count and place % count == 0:
            record = replace(edge.record, name=names.fresh(edge.tensor.name, "slots"))
        records[edge.tensor.name] = record
        made.append(replace(edge, record=record, slot=slots.begin(edge.tensor.name, place)))
    return tuple(made), records
