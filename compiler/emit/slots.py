# SPDX-License-Identifier: Apache-2.0
"""What lies in the machine's slots before a layer begins."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.residents import StoreConstant
from kiwicha.compiler.emit.steps import Step
from kiwicha.machine.isa import SLOTS
from kiwicha.machine.records import SLOT_RECORD

__all__ = ["slot_record", "with_exponent"]

_Steps = Callable[[Any, Mapping[str, int], ProgramBuilder, StoreConstant, int], list[Step]]


def slot_record(slot: int, scale: np.float32, zero: int) -> NDArray[np.uint8]:
    """Return a record of all slots with one in it."""
    record = np.zeros(SLOTS, SLOT_RECORD)
    record["scale"][slot], record["zero_point"][slot] = scale, zero
    return record.view(np.uint8)


def with_exponent(make: _Steps) -> _Steps:
    """Return what emits the same steps, and before them the exponent of an operand that no node
    has made (``known`` of the nodes of `compiler.graph.training_nodes`), or that was kept
    (``record``)."""

    def steps(
        node: Any, addresses: Mapping[str, int], builder: ProgramBuilder, store: StoreConstant,
        ready: int,
    ) -> list[Step]:
        made = make(node, addresses, builder, store, ready)
        known = [(node.slot, node.known)]
        if (floor := getattr(node, "floor", None)) is not None:
            known.append((floor.slot, floor.known))
        records = [
            (store(slot_record(slot, np.ldexp(np.float32(1), exponent), 0)), slot)
            for slot, exponent in known if exponent is not None
        ]
        if (kept := getattr(node, "record", None)) is not None:
            records = [(addresses[kept.name], node.slot), *records[node.known is not None :]]
        if not records:
            return made
        first, *rest = made

        def emit_first() -> None:
            for record, slot in records:
                builder.load_slot(record, slot)
            first.emit()

        return [replace(first, emit=emit_first), *rest]

    return steps
