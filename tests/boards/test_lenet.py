# SPDX-License-Identifier: Apache-2.0
"""LeNet-5 on the board's whole top, serial port included, by the client that a desk would use."""

import numpy as np
import pytest

from kiwicha.boards.program import BoardProgram, board_program, pack_inputs, unpack_outputs
from kiwicha.boards.simulation import simulated_board
from kiwicha.boards.ulx3s_85f import ULX3S_85F
from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.load import load_model
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError
from kiwicha.sim.reference import reference
from kiwicha.sim.shipped import find_model
from kiwicha.sim.simulator import run_design

DIGITS = 3


@pytest.fixture(scope="module")
def compiled():
    """LeNet-5 for one image on the board's machine, the lowered model, and some digits."""
    files = find_model("lenet5")
    lowered = lower(load_model(files.path), 1)
    with np.load(files.inputs) as archive:
        arrays = {name: archive[name][:DIGITS] for name in archive if name != "labels"}
    inputs = [{n: a[i : i + 1] for n, a in arrays.items()} for i in range(DIGITS)]
    return compile_graph(legalize(lowered), ULX3S_85F.machine), lowered, inputs


def test_lenet5_is_exact_to_onnx_runtime(compiled):
    model, lowered, inputs = compiled
    program = board_program(model, ULX3S_85F.memory_bytes)
    board = simulated_board(ULX3S_85F.machine, optimize="-O1")
    run = board.run(program, [pack_inputs(model.graph, arrays) for arrays in inputs])
    for arrays, found in zip(inputs, run.outputs, strict=True):
        expected = reference(lowered, arrays).outputs
        produced = unpack_outputs(model.graph, found)
        assert produced.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(produced[name], value)
    assert len({found.tobytes() for found in map(_only, run.outputs)}) == DIGITS
    assert run.repeats == run.strays == 0
    print(f"{run.cycles} cycles, {run.simulated:,} clocks with the wire, {run.seconds:.0f} s")


def test_link_survives_noise(tmp_path):
    board = simulated_board(ULX3S_85F.machine, optimize="-O1")
    outcome = run_design(board.build, "tests.boards.noisy_driver", run_dir=tmp_path, timeout=300)
    assert outcome.passed, outcome.failures


def _only(outputs):
    (data,) = outputs.values()
    return np.frombuffer(data, np.uint8)


def test_memory_is_large_enough_and_no_more_is_granted(compiled):
    model, _, _ = compiled
    program = board_program(model, ULX3S_85F.memory_bytes)
    assert program.read_window[1] <= len(program.image) <= ULX3S_85F.memory_bytes
    needed = len(program.image)
    with pytest.raises(KiwichaError, match=f"^the model needs {needed:,} bytes .* has 65,536: "):
        board_program(model, 1 << 16)


def test_program_in_a_file(compiled, tmp_path):
    program = board_program(compiled[0], 1 << 17)
    program.save(tmp_path / "program.npz")
    found = BoardProgram.load(tmp_path / "program.npz")
    assert {**vars(found), "image": None} == {**vars(program), "image": None}
    np.testing.assert_array_equal(found.image, program.image)
