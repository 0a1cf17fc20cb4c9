# SPDX-License-Identifier: Apache-2.0
"""Errors of logits as a program: any number of rows, classes and lanes, on the golden machine."""

import numpy as np
import pytest

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.layer_steps import layer_steps
from kiwicha.compiler.graph.layout import ROW_MAJOR
from kiwicha.compiler.graph.tensor import Tensor
from kiwicha.compiler.graph.training_nodes import CrossEntropyNode
from kiwicha.errors import KiwichaError
from kiwicha.golden.machine import Machine
from kiwicha.golden.niti import cross_entropy_errors
from kiwicha.machine.isa import SLOTS, Opcode
from kiwicha.machine.presets import preset
from kiwicha.machine.records import SLOT_RECORD

from .any_order import EAGER_LOAD, LAZY_STORE, run_in_order_of

SLOTS_AT = 0
TINY = preset("tiny").replace(
    name="learns", special={"lanes": 2, "bytes": 256, "entries": 256}, transposer=True,
    residual={"tables": 2}, training={"classes": 64},
)


def loss_node(rows, classes, slot=0):
    shape, dtype = (rows, classes), np.dtype(np.int8)
    x, y = (Tensor(name, shape, dtype, np.float32(1), 0, ROW_MAJOR) for name in "xy")
    labels = Tensor("labels", (rows,), np.dtype(np.uint8), np.float32(1), 0, ROW_MAJOR)
    return CrossEntropyNode("loss", "cross entropy", x, labels, y, slot)


def loss_program(config, rows, classes, slot, places):
    """Return the builder of a program that loads the slots and computes the errors."""
    builder = ProgramBuilder(config)
    builder.load_slots(SLOTS_AT)
    for step in layer_steps(loss_node(rows, classes, slot), places, builder, lambda _: 0):
        step.emit()
    return builder


@pytest.mark.parametrize(("rows", "classes", "lanes", "offset"), [
    (1, 10, 2, 0), (16, 10, 2, 0), (16, 10, 2, 3), (37, 10, 4, 5), (5, 1, 1, 0), (300, 2, 2, 1),
    (16, 10, 16, 0), (3, 49, 2, 7), (9, 64, 1, 0), (64, 16, 4, 0),
])
def test_errors_are_golden(rows, classes, lanes, offset):
    config = TINY.replace(special=TINY.special.replace(lanes=lanes))
    size = rows * classes
    x = 64 + offset
    labels = -(-(x + size) // 64) * 64 + 2 * offset
    y = -(-(labels + rows) // 64) * 64 + 3 * offset
    slot, exponent = rows % SLOTS, -5 - rows % 3
    builder = loss_program(config, rows, classes, slot, {"x": x, "labels": labels, "y": y})
    rng = np.random.default_rng(size)
    memory = rng.integers(0, 256, y + size + 64, np.uint8)
    slots = memory[SLOTS_AT : SLOTS_AT + 64].view(SLOT_RECORD)
    slots["scale"] = np.ldexp(np.float32(1), 20)
    slots["scale"][slot] = np.ldexp(np.float32(1), exponent)
    memory[labels : labels + rows] = rng.integers(0, classes + 1, rows)
    expected = memory.copy()
    logits = memory[x : x + size].view(np.int8).reshape(rows, classes)
    errors = cross_entropy_errors(logits, exponent, memory[labels : labels + rows])
    expected[y : y + size] = errors.view(np.uint8).reshape(-1)
    machine = Machine(config, memory, (0, len(memory)), (y, y + size))
    for order in (EAGER_LOAD, LAZY_STORE):
        np.testing.assert_array_equal(run_in_order_of(order, machine, builder.words()), expected)
    machine.run(builder.words())
    np.testing.assert_array_equal(machine.memory, expected)


def test_lanes_share_the_rows_where_labels_are_whole_beats():
    config = TINY.replace(axi_data_width=64, special=TINY.special.replace(bytes=512))
    builder = loss_program(config, 16, 10, 0, {"x": 64, "labels": 256, "y": 320})
    (fields,) = (i.fields for i in builder.instructions if i.opcode == Opcode.SPECIAL)
    assert (fields["rows"], fields["total"]) == (8, 16)


@pytest.mark.parametrize(("change", "classes", "line"), [
    ({}, 65, r"^loss \(cross entropy\): rows of 65 logits are too long"),
    ({"training": {"classes": 0}}, 10,
     r"^loss \(cross entropy\): is part of a training step"),
    ({}, 60, r"^loss \(cross entropy\): a row of 60 does not fit the memory of a lane"),
])
def test_machines_that_are_too_small_are_refused_by_name(change, classes, line):
    with pytest.raises(KiwichaError, match=line):
        loss_program(TINY.replace(**change), 2, classes, 0, {"x": 65, "labels": 256, "y": 320})
