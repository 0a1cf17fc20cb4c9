# SPDX-License-Identifier: Apache-2.0
"""Slots of dynamic quantization: none is read before it is settled, none settled while in use."""

import numpy as np
import pytest

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.machine.isa import LoadTarget, Opcode, StoreSource, VectorMode

from .happens_before import Step, steps
from .test_dynamic import CONFIGS, branched, mlp, quantized
from .test_mixed import mixed, network

__all__: list[str] = []

MEASURED = (VectorMode.MEASURE, VectorMode.QUANTIZE)
ALL = range(4)


def accesses(step: Step) -> tuple[set[int], set[int]]:
    """Return the slots that an instruction reads, and those that it writes."""
    fields = step.fields
    if step.opcode == Opcode.LOAD and fields["target"] == LoadTarget.DYNAMIC:
        first, last = fields["local"] // 16, (fields["local"] + fields["length"] - 1) // 16
        return set(), set(range(first, last + 1))
    if step.opcode == Opcode.STORE and fields["source"] == StoreSource.DYNAMIC:
        first, last = fields["local"] // 16, (fields["local"] + fields["length"] - 1) // 16
        return set(range(first, last + 1)), set()
    if step.opcode == Opcode.COMPUTE and fields["dynamic"]:
        return {fields["slot"]}, set()
    if step.opcode == Opcode.VECTOR and fields["mode"] in MEASURED:
        settles = fields["mode"] == VectorMode.MEASURE and fields["settle"]
        used = {fields["slot"]}
        if fields["mode"] == VectorMode.QUANTIZE:
            used |= {fields["target"]}
        return used, {fields["target"]} if settles else set()
    return set(), set()


def hazards(words: np.ndarray) -> tuple[list[str], int]:
    """Return what tokens do not keep apart, and how many pairs were looked at.

    Instructions of one engine that follow each other are in order by themselves.
    """
    written: dict[int, Step] = {}
    readers: dict[int, list[Step]] = {slot: [] for slot in ALL}
    found: list[str] = []
    pairs = 0

    def behind(step: Step, before: Step, slot: int) -> None:
        nonlocal pairs
        if before.engine == step.engine:
            return
        pairs += 1
        if step.done[before.engine] < before.number:
            found.append(
                f"slot {slot}: {step.opcode.name} {step.number} does not wait for "
                f"{before.opcode.name} {before.number}"
            )

    for step in steps(words):
        reads, writes = accesses(step)
        for slot in reads | writes:
            if slot in written:
                behind(step, written[slot], slot)
        for slot in writes:
            for reader in readers[slot]:
                behind(step, reader, slot)
            written[slot], readers[slot] = step, []
        for slot in reads:
            readers[slot].append(step)
    return found, pairs


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("sizes", [(19, 33, 3), (13, 21, 9, 11), (9, 8, 7, 6, 5, 4, 3)])
def test_slots_are_settled_before_they_are_read(tmp_path, config, sizes) -> None:
    nodes, constants = mlp(np.random.default_rng(len(sizes)), sizes)
    model = quantized(tmp_path, nodes, constants, [None, sizes[0]])
    compiled = compile_graph(legalize(lower(model, 3)), CONFIGS[config])
    found, pairs = hazards(compiled.words)
    assert not found
    assert pairs > 2 * len(sizes)


@pytest.mark.parametrize("config", CONFIGS)
def test_slots_that_others_had_meanwhile(tmp_path, config) -> None:
    nodes, constants, names = branched(np.random.default_rng(1), 9)
    model = quantized(tmp_path, nodes, constants, [3, 5], names)
    compiled = compile_graph(legalize(lower(model)), CONFIGS[config])
    found, pairs = hazards(compiled.words)
    assert not found
    assert pairs > 60


@pytest.mark.parametrize("config", CONFIGS)
def test_slots_of_known_scales(tmp_path, config) -> None:
    nodes, constants, shape = network(np.random.default_rng(1))
    model = mixed(tmp_path, nodes, constants, shape, ["c2"])
    compiled = compile_graph(legalize(lower(model)), CONFIGS[config])
    found, pairs = hazards(compiled.words)
    assert not found
    assert pairs > 20


def test_a_missing_token_is_seen() -> None:
    builder = ProgramBuilder(CONFIGS["small"])
    builder.load_slots(0)
    one = {
        "accumulate": 0, "accumulator": 0, "rows": 1, "levels": [{"count": 1}] * 7,
        "dynamic": 1, "slot": 2,
    }
    builder.compute(one, 8, [], Range(Space.ACCUMULATOR, 0, 1))
    assert hazards(builder.words()) == (
        ["slot 2: COMPUTE 1 does not wait for LOAD 1"], 1,
    )
