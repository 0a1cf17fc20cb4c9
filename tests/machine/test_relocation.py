# SPDX-License-Identifier: Apache-2.0
"""Addresses in programs: all of them are found, nothing else is, and a machine runs them moved."""

import numpy as np
import pytest

import kiwicha
from kiwicha.golden.machine import Machine
from kiwicha.machine.destination import StoreDestination
from kiwicha.machine.encoding import encode, walk_program
from kiwicha.machine.isa import INSTRUCTIONS, Opcode
from kiwicha.machine.presets import preset
from kiwicha.machine.relocation import ADDRESSES, BASE_ALIGNMENT, address_words, relocated
from kiwicha.models.variants import build, random_input
from kiwicha.sim.prepare import prepare, run_golden_machine
from kiwicha.sim.simulation import simulated_machine

WIDE = {
    opcode: tuple(name for name, field in layout if field.width == 64)
    for opcode, layout in INSTRUCTIONS.items()
}


def test_the_fields_are_those_that_hold_an_address():
    """Every field of 64 bits is one, and no other can hold one."""
    assert {opcode: names for opcode, (_, names) in ADDRESSES.items()} == {
        opcode: names for opcode, names in WIDE.items() if names
    }


def test_each_instruction():
    parts = [
        encode(Opcode.LOAD, address=64, length=8, segments=1, pitch=-1),
        encode(Opcode.COMPUTE, rows=4),
        encode(Opcode.STORE, address=128, destination=StoreDestination.ACTIVATION, length=8),
        encode(Opcode.VECTOR, channels=4),
        encode(Opcode.STORE, address=192, length=8, segments=1, wait=63, signal=63),
        encode(Opcode.SPECIAL, rows=1),
        encode(Opcode.UPDATE, state=256, gradients=320, codes=384, count=4),
        encode(Opcode.END),
        encode(Opcode.LOAD, address=1),  # never run
    ]
    words = np.concatenate(parts)
    moved = relocated(words, 1 << 40)
    assert [int(words[place]) for place in address_words(words)] == [64, 192, 256, 320, 384]
    before, after = list(walk_program(words)), list(walk_program(moved))
    for (_, opcode, old), (_, _, new) in zip(before, after, strict=True):
        kept = opcode is Opcode.STORE and old["destination"] != StoreDestination.MEMORY
        change = 0 if kept else 1 << 40
        assert new == {n: v + change if n in WIDE[opcode] else v for n, v in old.items()}
    np.testing.assert_array_equal(moved[-4:], words[-4:])


@pytest.mark.parametrize(("words", "message"), [
    ([9], "^illegal opcode 9 at word 0$"),
    (encode(Opcode.LOAD), "^the program ends at word 4 without END$"),
    (encode(Opcode.LOAD)[:3], "^the program ends at word 0 without END$"),
    ([], "^the program ends at word 0 without END$"),
])
def test_what_is_no_program(words, message):
    with pytest.raises(ValueError, match=message):
        address_words(np.array(words, np.uint64))


def test_weights_that_are_updated_elsewhere():
    config = preset("tiny").replace(update={"lanes": 2})
    fields = {"wide": 1, "accumulate": 1, "count": 16, "state": 0, "gradients": 64}
    words = np.concatenate([encode(Opcode.UPDATE, **fields), encode(Opcode.END)])
    memory = np.random.default_rng(1).integers(0, 256, 128, np.uint8)
    there = np.concatenate([np.zeros(4096, np.uint8), memory])
    Machine(config, memory, (0, 128), (0, 128)).run(words)
    Machine(config, there, (4096, 4224), (4096, 4224)).run(relocated(words, 4096))
    np.testing.assert_array_equal(there[4096:], memory)
    assert not there[:4096].any()


def test_simulated_elsewhere_in_as_many_cycles():
    """With results that stay on chip, and some that do not."""
    model, shape = build("flatten")
    made = prepare(model, preset("tiny").replace(forwarding=True), {"x": random_input(shape)})
    compiled = made.compiled
    stores = [f["destination"] for _, o, f in walk_program(compiled.words) if o is Opcode.STORE]
    assert {StoreDestination.MEMORY, StoreDestination.ACTIVATION} == set(stores)
    image, base = run_golden_machine(made).image, 3 * BASE_ALIGNMENT
    start, size = compiled.program
    moved = np.concatenate([np.full(base, 0xA5, np.uint8), image])
    moved[base + start : base + start + size] = relocated(compiled.words, base).view(np.uint8)
    machine = simulated_machine(compiled.config, moved.size)

    def window(pair):
        return pair[0] + base, pair[1] + base

    windows = compiled.read_window, compiled.write_window
    here = machine.run(image, (start, size), *windows)
    there = machine.run(moved, (base + start, size), *map(window, windows))
    results = slice(*compiled.write_window)
    np.testing.assert_array_equal(there.memory[base:][results], here.memory[results])
    assert (there.memory[:base] == 0xA5).all()
    assert there.cycles == here.cycles
    golden = kiwicha.run_golden(model, {"x": random_input(shape)}, compiled.config)
    assert golden.exact
