# SPDX-License-Identifier: Apache-2.0
"""The drivers in C and Python on the simulated board: registers and memory of the hardware, not of
a model; their quick tests are in tests/drivers."""

import json

import numpy as np
import pytest

from kiwicha.boards.simulation import simulated_board
from kiwicha.boards.ulx3s_85f import ULX3S_85F
from kiwicha.models.variants import build, random_input
from kiwicha.sim.simulator import run_design

from ..drivers.c_networks import Made
from .both_drivers import C_BASE, PYTHON_BASE


@pytest.mark.cc
@pytest.mark.slow
def test_both_drivers(tmp_path):
    model, shape = build("flatten")
    inputs = {"x": random_input(shape)}
    (tmp_path / "program").mkdir()
    made = Made(tmp_path / "program", model, inputs, ULX3S_85F.machine)
    size = made.program.image.size
    assert PYTHON_BASE + size <= C_BASE
    assert C_BASE + size <= ULX3S_85F.memory_bytes
    np.savez(tmp_path / "inputs.npz", **inputs)
    (tmp_path / "job.json").write_text(json.dumps({"symbol": made.symbol}))
    board = simulated_board(ULX3S_85F.machine, optimize="-O1")
    outcome = run_design(board.build, "tests.boards.both_drivers", run_dir=tmp_path, timeout=600)
    assert outcome.passed, outcome.failures
    with np.load(tmp_path / "outputs.npz") as archive:
        found = dict(archive)
    for driver in ("python", "c"):
        for name, array in made.expected.items():
            assert found[f"{driver} {name}"].tobytes() == array.tobytes()
    assert found["python cycles"] == found["c cycles"] > 0
    layers = found["python layers"]
    assert (np.diff(layers) > 0).all()
    assert 0 < layers[0] <= layers[-1] <= found["python cycles"]
    image = made.program.relocate(PYTHON_BASE)
    first = made.program.write_window[1]
    np.testing.assert_array_equal(found["kept"][first:], image[first:])
