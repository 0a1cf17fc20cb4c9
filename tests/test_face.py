# SPDX-License-Identifier: Apache-2.0
"""What `import kiwicha` offers: the names agree everywhere, and take what a user has."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import kiwicha
import kiwicha.sim.golden_run
from kiwicha.models.variants import build, random_input

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "kiwicha/__init__.py"
PAGE = (ROOT / "docs/python.md").read_text()


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A model's file, and inputs for it: two samples, ten classes."""
    model, shape = build("flatten")
    path = tmp_path_factory.mktemp("face") / "network.onnx"
    onnx.save(model, path)
    return path, {"x": random_input(shape)}


# The names ---------------------------------------------------------------------------------------


def test_the_names_agree():
    names = sorted(kiwicha.__all__)
    assert sorted(kiwicha._LAZY) == dir(kiwicha) == names
    tree = ast.parse(SOURCE.read_text())
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in guarded.body for alias in node.names}
    assert seen == {name: f"kiwicha.{module}" for name, module in kiwicha._LAZY.items()}
    documented = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    assert sorted([*documented, "__version__"]) == names
    assert "`__version__`" in PAGE


def test_every_name_is_there_and_documented():
    for name in kiwicha.__all__:
        value = getattr(kiwicha, name)
        if isinstance(value, type) or callable(value):
            assert value.__doc__, name
            assert value.__name__ == name
    assert re.fullmatch(r"\d+\.\d+\.\d+", kiwicha.__version__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(kiwicha, "nothing")


@pytest.mark.parametrize("code", [
    "import kiwicha.errors",
    "import sys\nfrom kiwicha.cli.board import main\nsys.argv[1:] = ['sim', '--help']\n"
    "try:\n    main()\nexcept SystemExit:\n    pass",
])
def test_nothing_expensive_is_imported(code):
    """The package comes first in any import of ours, and --help must be there at once."""
    code += "\nimport sys\nprint({'amaranth', 'numpy', 'onnx', 'onnxruntime'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "set()"


# What they take ----------------------------------------------------------------------------------


def test_a_model_and_a_machine_are_what_a_user_has(network, tmp_path):
    path, _ = network
    file = tmp_path / "mine.toml"
    file.write_text('preset = "tiny"\nname = "tiny"\n')
    models = (path, str(path), onnx.load(path), kiwicha.load_model(path))
    machines = ("tiny", file, str(file), kiwicha.PRESETS["tiny"])
    made = [kiwicha.compile_model(m, n) for m, n in zip(models, machines, strict=True)]
    assert [each.model for each in made] == ["network", "network", "model", "network"]
    for each in made[1:]:
        np.testing.assert_array_equal(each.words, made[0].words)
        assert (each.machine, each.layers) == (made[0].machine, made[0].layers)
    first = made[0]
    assert first.cycles == sum(layer.cycles for layer in first.layers) > 0
    assert first.cycles == kiwicha.predict_cycles(path, "tiny")
    assert first.macs == 2 * (4 * 3 * 9 * 16 + 64 * 10)
    assert [layer.x_shape[0] for layer in first.layers] == [2, 2]
    assert first.bytes_read > first.bytes_written > 0
    assert first.memory_bytes > 8 * first.words.size
    assert first.words.dtype == np.uint64


def test_samples_are_the_open_batch():
    one, five = (kiwicha.compile_model("lenet5", "tiny", samples=n) for n in (1, 5))
    assert five.macs == 5 * one.macs
    assert five.layers[0].x_shape == (5, 1, 28, 28)


def test_models_that_come_along():
    model = kiwicha.load_model("lenet5")
    digits = model.test_inputs()
    assert digits["image"].shape[0] == digits["labels"].shape[0] == 360
    assert kiwicha.load_model(model) is model
    assert kiwicha.load_model(model.proto).test_inputs() == {}


# What they give ----------------------------------------------------------------------------------


def test_golden_and_simulated_bits_are_the_same(network):
    path, inputs = network
    heard = []
    golden = kiwicha.run_golden(
        path, inputs, "tiny",
        progress=lambda stage, done, total: heard.append(stage),
    )
    simulated = kiwicha.simulate(path, inputs, "tiny")
    assert golden.exact
    assert simulated.exact
    assert golden.outputs.keys() == simulated.outputs.keys() == golden.expected.keys() == {"y"}
    for other in (simulated.outputs, golden.expected, simulated.expected):
        assert other["y"].tobytes() == golden.outputs["y"].tobytes()
    assert golden.predicted_cycles == simulated.predicted_cycles
    assert golden.machine == simulated.machine == kiwicha.PRESETS["tiny"]
    assert golden.cycles is golden.report is None
    assert simulated.cycles == simulated.report.cycles > 0
    assert heard[-1] == "comparing"


def test_random_inputs_follow_the_seed(network):
    first, again, other = (kiwicha.run_golden(network[0], seed=n).outputs["y"] for n in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_wrong_bit_of_the_golden_machine_is_in_the_verdict(network, monkeypatch):
    real = kiwicha.sim.golden_run.run_golden_machine

    def wrong(made):
        golden = real(made)
        last = made.compiled.layers[-1].node.y.name
        golden.memory[made.compiled.addresses[last]] ^= 1
        return golden

    monkeypatch.setattr(kiwicha.sim.golden_run, "run_golden_machine", wrong)
    result = kiwicha.run_golden(*network)
    assert not result.exact
    assert len(result.verdict) == 3
    assert "1 bytes of the golden machine's differ" in result.verdict[0]
    assert "1 elements differ from ONNX Runtime's" in result.verdict[1]
    assert "1 elements of the outputs differ" in result.verdict[2]


# What they refuse --------------------------------------------------------------------------------

REFUSED = {
    "preset": (lambda path: kiwicha.preset("huge"), "ConfigError", "'huge'; legal: tiny"),
    "machine": (lambda path: kiwicha.predict_cycles(path, "huge"), "ConfigError", "'huge'"),
    "file": (lambda path: kiwicha.read_config("no.toml"), "ConfigError", "no.toml: No such file"),
    "a string that is a file": (
        lambda path: kiwicha.compile_model(path, "no.toml"), "ConfigError", "no.toml: No such",
    ),
    "a number": (lambda path: kiwicha.compile_model(path, 3), "ConfigError", "a int is no machine"),
    "no model": (lambda path: kiwicha.load_model("no.onnx"), "ModelError", "no.onnx: no such file"),
    "not a model": (lambda path: kiwicha.load_model(3), "ModelError", "a int is no model"),
    "an empty model": (
        lambda path: kiwicha.load_model(onnx.ModelProto()), "ModelError", "the model: not an ONNX",
    ),
    "unsupported": (
        lambda path: kiwicha.compile_model(build("determinant")[0]), "UnsupportedModel",
        "1 node cannot be mapped",
    ),
    "batch": (
        lambda path: kiwicha.compile_model(path, samples=3), "InputError", "3 samples do not fit",
    ),
    "no mapping": (
        lambda path: kiwicha.run_golden(path, [1]), "InputError", "the inputs are a list",
    ),
    "shape": (
        lambda path: kiwicha.run_golden(path, {"x": np.zeros(3, np.float32)}), "InputError",
        r"input 'x' is \(3,\); must be \(2, 3, 6, 6\)",
    ),
    "waves": (
        lambda path: kiwicha.simulate(path, waves="w.txt"), "DestinationError",
        "must end with .vcd or .fst",
    ),
    "stall": (lambda path: kiwicha.simulate(path, stall=256), "InputError", "stall 256"),
    "folder": (
        lambda path: kiwicha.write_verilog("tiny", path / "below"), "DestinationError",
        "is a file, not a folder",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_sentence(case, network, monkeypatch):
    call, kind, message = REFUSED[case]
    monkeypatch.setattr(
        "kiwicha.sim.inference.simulated_machine", lambda *_, **__: pytest.fail("the build began")
    )
    with pytest.raises(kiwicha.KiwichaError, match=message) as refused:
        call(network[0])
    assert type(refused.value) is getattr(kiwicha, kind)
