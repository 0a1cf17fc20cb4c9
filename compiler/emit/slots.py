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
        kept = getattr(node, "record", None)
        if node.known is None and kept is None:
            return made
        first, *rest = made
        if kept is not None:
            record = addresses[kept.name]
        else:
            record = store(slot_record(node.slot, np.ldexp(np.float32(1), node.known), 0))

        def emit_first() -> None:
            builder.load_slot(record, node.slot)
            first.emit()

        return [replace(first, emit=emit_first), *rest]

    return steps
