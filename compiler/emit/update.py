# SPDX-License-Identifier: Apache-2.0
"""Steps of optimizers as instructions of UPDATE, and exponents that are kept for them."""

from collections.abc import Mapping

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.residents import StoreConstant
from kiwicha.compiler.emit.steps import Step
from kiwicha.compiler.graph.update_nodes import KeepNode, UpdateNode
from kiwicha.machine.isa import SLOT_BYTES, SLOTS

__all__ = ["keep_steps", "update_steps"]


def keep_steps(
    node: KeepNode, addresses: Mapping[str, int], builder: ProgramBuilder,
    _store: StoreConstant, _ready: int = 0,
) -> list[Step]:
    """Return the STORE of a slot's record."""
    record = addresses[node.y.name]
    start = record + node.slot * SLOT_BYTES
    span = start, start + SLOT_BYTES
    return [Step((), span, lambda: builder.store_slot(record, node.slot))]


def update_steps(
    node: UpdateNode, addresses: Mapping[str, int], builder: ProgramBuilder,
    _store: StoreConstant, _ready: int = 0,
) -> list[Step]:
    """Return the one instruction of a node; none of one that is idle."""
    if node.idle:
        return []
    x, y = addresses[node.x.name], addresses[node.y.name]
    state, size = (y, node.y.size)
    if node.state is not None:
        state, size = addresses[node.state.name], node.state.size
    read = Range(Space.MEMORY, x, x + node.x.size)
    touched = [Range(Space.MEMORY, state, state + size), Range(Space.MEMORY, y, y + node.y.size)]
    mask = node.fields["slots"]
    slots = [Range(Space.SLOT, slot, slot + 1) for slot in range(SLOTS) if mask >> slot & 1]
    fields = {**node.fields, "count": node.count, "gradients": x, "state": state, "codes": y}
    if node.state is None:
        fields["codes"] = 0

    def emit() -> None:
        builder.update(fields, [read, *touched, *slots], touched[: 1 + (node.state is not None)])

    spans = tuple((each.start, each.stop) for each in (read, *touched))
    return [Step(spans, (y, y + node.y.size), emit)]
