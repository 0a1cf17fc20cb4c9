# SPDX-License-Identifier: Apache-2.0
"""LOADs that nobody has to wait for go before one that waits for a result."""

import pytest

from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.instruction import Instruction
from kiwicha.compiler.emit.order import Order
from kiwicha.machine.isa import Engine, Opcode, WeightFormat
from kiwicha.machine.presets import preset

RESULT = Range(Space.MEMORY, 0, 1000)


class Sequence:
    """An order with names for its instructions."""

    def __init__(self):
        self.order, self.names = Order(preset("small")), {}

    def add(self, name, engine, reads, writes, cycles=100):
        instruction = Instruction(
            Opcode[engine.name], {"format": WeightFormat.DENSE}, engine, 0, cycles, 30
        )
        self.names[id(instruction)] = name, instruction
        self.order.add(instruction, reads, writes)

    def load(self, name, memory, space, start, stop, cycles=20):
        self.add(name, Engine.LOAD, [memory], [Range(space, start, stop)], cycles)

    def ordered(self):
        self.order.finish()
        return [self.names[id(each)][0] for each in self.order.instructions]


def weights(number):
    return Range(Space.MEMORY, 2000 + 100 * number, 2100 + 100 * number)


def layers(small=20, conflict=False):
    """A layer that writes a result, and one that reads it: ``x``, then two pieces of weights."""
    made = Sequence()
    made.load("w0", weights(0), Space.WEIGHT, 0, 100)
    made.add("c0", Engine.COMPUTE, [Range(Space.WEIGHT, 0, 100)], [Range(Space.ACCUMULATOR, 0, 9)])
    made.add("s0", Engine.STORE, [Range(Space.ACCUMULATOR, 0, 9)], [RESULT])
    made.load("x", RESULT, Space.ACTIVATION, 0, 100)
    made.load("w1", weights(1), Space.WEIGHT, 100, 200, small)
    x = Range(Space.ACTIVATION, 0, 100)
    made.add("c1", Engine.COMPUTE, [x, Range(Space.WEIGHT, 100, 200)], [])
    place = 150 if conflict else 200
    made.load("w2", weights(2), Space.WEIGHT, place, place + 100, small)
    made.add("c2", Engine.COMPUTE, [x, Range(Space.WEIGHT, place, place + 100)], [])
    return made


def test_weights_go_first():
    ordered = layers().ordered()
    assert ordered.index("w1") < ordered.index("x")
    assert ordered.index("w2") < ordered.index("x")
    assert [name for name in ordered if name[0] != "w"] == ["c0", "s0", "x", "c1", "c2"]


def test_nothing_is_overwritten_that_is_still_read():
    ordered = layers(conflict=True).ordered()
    assert ordered.index("w1") < ordered.index("x")
    assert ordered.index("w2") == ordered.index("c1") + 1


def test_only_what_is_done_in_time_and_what_is_needed_first():
    # Nobody begins without w1; w2 would keep x waiting.
    ordered = layers(small=300).ordered()
    assert ordered.index("w1") < ordered.index("x") < ordered.index("w2")


def test_a_result_is_read_after_it_was_written():
    made = layers()
    made.load("y", Range(Space.MEMORY, 500, 600), Space.OPERAND, 0, 100)
    made.add("s1", Engine.STORE, [], [RESULT])
    made.load("z", Range(Space.MEMORY, 500, 600), Space.OPERAND, 100, 200)
    ordered = made.ordered()
    assert ordered.index("y") < ordered.index("s1") < ordered.index("z")


@pytest.mark.parametrize("count", [10, 1000])
def test_all_are_there_once(count):
    made = Sequence()
    for number in range(count):
        made.load(number, weights(number % 7), Space.WEIGHT, 100 * number, 100 * number + 100)
        made.add(-1 - number, Engine.STORE, [], [RESULT])
    assert sorted(made.ordered()) == list(range(-count, count))
