# SPDX-License-Identifier: Apache-2.0
"""The energy of a program, from what it is known to move and to multiply."""

from types import SimpleNamespace

import pytest

import kiwicha
from kiwicha.cost.energy import Energy, energy
from kiwicha.machine.isa import Engine
from kiwicha.machine.presets import preset


def instruction(engine, cycles=0, read=0, written=0, **fields):
    return SimpleNamespace(
        engine=engine, cycles=cycles, bytes_read=read, bytes_written=written, fields=fields
    )


def test_each_access_has_its_price():
    config = preset("tiny").replace(special={"lanes": 2, "bytes": 1024})
    program = [
        instruction(Engine.LOAD, 4, read=32),
        instruction(Engine.COMPUTE, 10, rows=3),
        instruction(Engine.VECTOR, 9, pixels=3, lines=2, channels=4),
        instruction(Engine.SPECIAL, 5),
        instruction(Engine.STORE, 2, written=16),
    ]
    found = energy(config, program, 100)
    on_chip = 32 + 10 * (3 + 2 * 4) + 3 * 24 + 3 * 5 * 2 + 16
    assert found == Energy(array=600, buffers=6 * on_chip, memory=200 * 48)
    assert found + found == Energy(1200, 12 * on_chip, 400 * 48)
    assert found.total == sum(vars(found).values())


@pytest.mark.parametrize("model", ["lenet5", "vit"])
def test_prediction_has_it(model, capsys):
    one, two = (kiwicha.compile_model(model, samples=count) for count in (1, 2))
    for made in (one, two):
        found = Energy(**made.prediction.energy)
        assert found.array == 6 * made.macs
        assert found.memory == 200 * (made.bytes_read + made.bytes_written)
        assert made.prediction.to_dict()["energy"] == vars(found)
        assert made.prediction.spent.startswith(f"energy of about {found.total:,} multiply-")
    # Weights are read once for both.
    assert Energy(**two.prediction.energy).total < 2 * Energy(**one.prediction.energy).total
