# SPDX-License-Identifier: Apache-2.0
"""Input arrays: each way of getting them wrong is named in one line."""

import numpy as np
import pytest

from kiwicha.compiler.frontend.inputs import check_inputs, input_batch, load_inputs, random_inputs
from kiwicha.compiler.graph.graph import Value
from kiwicha.errors import InputError
from kiwicha.models.variants import build

IMAGE = Value("x", (2, 3), np.dtype(np.float32))
CODES = Value("c", (4,), np.dtype(np.int8))
GOOD = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": GOOD}, "no graph input is called 'z'; there is: x"),
        ({}, "input 'x' is missing; needed: x"),
        ({"x": GOOD.astype(np.float64)}, "input 'x' is float64; must be float32"),
        ({"x": GOOD.T}, "input 'x' is (3, 2); must be (2, 3)"),
        ({"x": GOOD * np.nan}, "input 'x' holds NaN"),
    ],
)
def test_wrong_arrays(arrays, message):
    with pytest.raises(InputError) as caught:
        check_inputs([IMAGE], arrays)
    assert str(caught.value) == message


def test_right_arrays():
    check_inputs([IMAGE, CODES], {"x": GOOD, "c": np.zeros(4, np.int8)})


def test_random_inputs_are_reproducible_and_legal():
    first, second = (random_inputs([IMAGE, CODES], seed=3) for _ in range(2))
    check_inputs([IMAGE, CODES], first)
    assert all(np.array_equal(first[name], second[name]) for name in ("x", "c"))
    assert not np.array_equal(first["x"], random_inputs([IMAGE, CODES], seed=4)["x"])


def test_batch_of_the_arrays():
    model, _ = build("matmul")
    assert input_batch(model, {"x": np.zeros((9, 20), np.float32)}) == 9
    assert input_batch(model, {}) == 1


def test_files(tmp_path):
    path = tmp_path / "in.npz"
    np.savez(path, x=GOOD)
    assert np.array_equal(load_inputs(path)["x"], GOOD)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError) as caught:
            load_inputs(path)
        assert str(caught.value) == f"{path}: not an npz file, or truncated"
    np.save(tmp_path / "one.npy", GOOD)
    with pytest.raises(InputError, match="one array; must be an npz archive with names$"):
        load_inputs(tmp_path / "one.npy")
    with pytest.raises(InputError, match="none.npz: No such file or directory$"):
        load_inputs(tmp_path / "none.npz")
