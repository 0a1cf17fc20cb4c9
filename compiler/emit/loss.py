# SPDX-License-Identifier: Apache-2.0
"""The errors of logits as steps of the special function engine: rows and their labels."""

from collections.abc import Mapping
from math import prod

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.lanes import Lanes
from kiwicha.compiler.emit.residents import StoreConstant
from kiwicha.compiler.emit.rows import Cut, cut_rows
from kiwicha.compiler.emit.special import has_rows
from kiwicha.compiler.emit.steps import Step
from kiwicha.compiler.graph.training_nodes import CrossEntropyNode
from kiwicha.compiler.schedule.enough import too_small
from kiwicha.errors import KiwichaError
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SpecialOperation

__all__ = ["loss_steps"]


def loss_steps(
    node: CrossEntropyNode,
    addresses: Mapping[str, int],
    builder: ProgramBuilder,
    store: StoreConstant,
    ready: int = 0,
) -> list[Step]:
    """Return the steps of a node, an instruction each. Its slot must hold the exponent of x.

    Parameters
    ----------
    ready : bytes of x that become ready together; 0 if all do at once.

    Raises
    ------
    KiwichaError
        When rows do not lie in one piece, or SPECIAL has no room for one; names node and limit.
    """
    config, classes = builder.config, node.x.shape[-1]
    where, rows = f"{node.name} ({node.op})", prod(node.x.shape[:-1])
    if not (has_rows(node.x) and node.x.layout.same(node.y.layout, node.x.shape)):
        raise KiwichaError(f"{where}: rows of '{node.x.name}' do not lie in one piece in memory")
    if classes > config.training.classes:
        raise too_small(
            f"{where}: rows of {classes} logits are too long",
            config, ["training.classes"], lambda other: other.training.classes >= classes,
        )
    x, labels, y = (addresses[tensor.name] for tensor in (node.x, node.labels, node.y))
    aligned = not any(place % config.beat_bytes for place in (classes, x, labels, y))
    quantum = ready // classes if ready % classes == 0 else 0

    def cut_for(machine: AcceleratorConfig) -> Cut | None:
        # A lane has whole beats of labels, where more than one has any.
        return cut_rows(
            machine, rows, classes, operands=2, aligned=aligned, quantum=quantum,
            unit=machine.beat_bytes, roomy=True,
        )

    cut = cut_for(config)
    if cut is None:
        raise too_small(
            f"{where}: a row of {classes} does not fit the memory of a lane",
            config, ["special.bytes"], lambda other: cut_for(other) is not None,
        )
    lanes = Lanes(builder, store)
    return [
        _step(lanes, node.slot, cut, min(cut.together, rows - first), x + first * classes,
              labels + first, y + first * classes)
        for first in range(0, rows, cut.together)
    ]


def _step(lanes: Lanes, slot: int, cut: Cut, rows: int, x: int, labels: int, y: int) -> Step:
    """``rows`` rows from ``x`` on, with their labels."""
    size, most = rows * cut.length, min(cut.rows, rows)

    def emit() -> None:
        label = lanes.load(labels, rows, cut.rows, most)
        logit = lanes.load(x, size, cut.stride, most * cut.length, keep=label.key)
        result = lanes.result(y, most * cut.length)
        lanes.builder.special(
            {
                "operation": SpecialOperation.CROSS_ENTROPY, "z_byte": 1, "table": slot,
                "rows": cut.rows, "length": cut.length, "total": rows, "x": logit.offset,
                "z": label.offset, "y": result.offset,
            },
            most,
            [logit.covered, label.covered, Range(Space.SLOT, slot, slot + 1)],
            result.covered,
        )
        lanes.write(result, y, size, cut.stride)

    return Step(((x, x + size), (labels, labels + rows)), (y, y + size), emit)
