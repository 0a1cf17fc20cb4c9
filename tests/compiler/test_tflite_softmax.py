# SPDX-License-Identifier: Apache-2.0
"""SOFTMAX of long rows: LiteRT's reference kernel ends the process where exponentials reach 512."""

import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")

from kiwicha.compiler.frontend.tflite.lower import lower_tflite
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import InputError
from kiwicha.golden.softmax import rows_that_overflow, softmax
from kiwicha.sim.golden_run import run_on_golden_machine

from ..support.tflite_files import Network
from .test_tflite import CONFIG

ALONE = """\
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType as kinds
content = open(sys.argv[1], "rb").read()
runner = Interpreter(model_content=content, experimental_op_resolver_type=kinds.BUILTIN_REF)
runner.allocate_tensors()
[slot] = runner.get_input_details()
runner.set_tensor(slot["index"], np.full(slot["shape"], 5, slot["dtype"]))
runner.invoke()
"""


def rows(length, kind="int8"):
    network = Network((2, length), kind)
    low = int(np.iinfo(kind).min)
    y = network.writer.tensor("y", (2, length), kind, np.float32(1 / 256), low)
    network.writer.operator("SOFTMAX", [network.last], [y], "Softmax", 2 if low else 1, beta=1.0)
    network.last = y
    return network


def test_litert_ends_its_process(tmp_path):
    """Not before: what is told to users is so, of the interpreter that is installed."""
    for length, code in ((511, 0), (512, -signal.SIGABRT)):
        file = tmp_path / "model.tflite"
        file.write_bytes(rows(length).content())
        done = subprocess.run([sys.executable, "-c", ALONE, str(file)], check=False)
        assert done.returncode == code


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_such_inputs_are_refused_before_litert_runs(kind):
    file = rows(600, kind).file()
    low = np.iinfo(kind).min
    x = np.full((2, 600), low, kind)
    x[:, :300] = np.iinfo(kind).max  # 300 and next to nothing
    found = run_on_golden_machine(file, CONFIG, {"x": x})
    assert not found.wrong
    x[1] = low + 9
    with pytest.raises(InputError, match=r"these inputs, y \(SOFTMAX\): .* row 1 add up to 512"):
        run_on_golden_machine(file, CONFIG, {"x": x})


@pytest.mark.parametrize(("length", "count"), [(511, 0), (512, 1)])
def test_a_note_says_so(length, count):
    notes = legalize(lower_tflite(rows(length).file())).notes
    assert ["LiteRT's reference kernel ends the process" in note.text for note in notes] == (
        [True] * count
    )


def test_the_rows_are_those_whose_sum_reaches_it():
    x = np.zeros((3, 2, 700), np.int8)
    x[0, 1, 511:] = x[2, 0, 511:] = -128
    x[1, 1, 512:] = -128
    assert list(rows_that_overflow(x, 0.3)) == [0, 2, 3, 5]
    assert (softmax(x[1], 0.3, 1 / 256, -128, np.int8, "tflite") == -128).all()
    assert rows_that_overflow(x[..., :511], 0.3).size == 0
