# SPDX-License-Identifier: Apache-2.0
"""The array never works in a half of the accumulators that VECTOR is draining.

A column has one read port a half: tokens have to keep the two apart even where entries differ.
"""

import onnx
import pytest

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.machine.isa import Engine, Opcode
from kiwicha.machine.presets import preset
from kiwicha.sim.shipped import SHIPPED

from .happens_before import steps

__all__: list[str] = []


def orders(words, half):
    """Yield, for each COMPUTE, how many VECTORs of its half precede it, and how many are done."""
    drained = {0: 0, 1: 0}
    for step in steps(words):
        if step.opcode == Opcode.COMPUTE:
            yield drained[step.fields["accumulator"] // half], step.done[Engine.VECTOR]
        if step.opcode == Opcode.VECTOR:
            drained[step.fields["accumulator"] // half] = step.number


@pytest.mark.parametrize("name", ["lenet5", "resnet8", "vit"])
@pytest.mark.parametrize("machine", ["default", "small"])
def test_halves_are_kept_apart(name, machine) -> None:
    config = preset(machine).replace(transposer=True, special={"lanes": 2})
    compiled = compile_graph(legalize(lower(onnx.load(SHIPPED[name].path), 5)), config)
    found = list(orders(compiled.words, config.accumulator_depth // 2))
    assert len(found) > 20
    assert all(before <= done for before, done in found)


def test_a_missing_token_is_seen() -> None:
    builder = ProgramBuilder(preset("tiny"))
    drain = {"accumulator": 64, "channels": 4, "pixels": 8, "lines": 1}
    builder.vector(drain, [], [Range(Space.OUTPUT, 0, 8)])
    one = {"accumulate": 0, "accumulator": 0, "rows": 1, "levels": [{"count": 1}] * 7}
    builder.compute(one, 8, [], Range(Space.ACCUMULATOR, 0, 1))
    half = builder.config.accumulator_depth // 2
    assert list(orders(builder.words(), half)) == [(1, 0)]
