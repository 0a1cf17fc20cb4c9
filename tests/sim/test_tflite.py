# SPDX-License-Identifier: Apache-2.0
"""TFLite files from the command line and from Python: runs, predictions, and bad files."""

import json
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import kiwicha
from kiwicha.cli.main import main
from kiwicha.compiler.frontend.tflite.writer import packed
from kiwicha.errors import InputError

from ..support.tflite_files import Network


def network():
    """A convolution, a depthwise one, a maximum and a dense layer."""
    return (
        Network((1, 8, 8, 3), batched=True)
        .conv(6, (3, 3), (8, 8), padding="SAME", fusedActivationFunction="RELU")
        .depthwise(1, (3, 3), (4, 4), padding="SAME", strideH=2, strideW=2)
        .pool("MAX_POOL_2D", (2, 2), (2, 2), strideH=2, strideW=2)
        .pool("AVERAGE_POOL_2D", (2, 2), (1, 1))
        .reshape((1, 6)).dense(5)
    )


def doubled():
    made = network()
    made.content()
    model = made.writer.model
    model.subgraphs = [*model.subgraphs, model.subgraphs[0]]
    return packed(model)


def of_operator(name, kind="", **options):
    made = Network((1, 4, 4, 2))
    return made.add(name, [made.last], (1, 4, 4, 2), kind, **options).content()


def of_type(kind):
    """A file whose activations are of another type: float, or int16x8."""
    made = network()
    for tensor in made.writer.graph.tensors:
        if tensor.name.startswith((b"y", b"x")) and tensor.name != b"x":
            tensor.type = getattr(schema.TensorType, kind)
    y = made.writer.tensor("codes", (1, 5), "int8", 0.1)
    made.writer.operator("QUANTIZE", [made.last], [y], "Quantize", 2)
    made.last = y
    return made.content()


def unquantized():
    made = network()
    made.writer.graph.tensors[made.first].quantization = None
    return made.content()


def cut(content):
    return content[: len(content) // 2]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tflite")
    good = network().content()
    contents = {
        "good": good, "truncated": cut(good), "empty": b"", "text": b"not a model\n" * 20,
        "identifier": good[:4] + b"XXXX" + good[8:], "zeroed": good[:8] + bytes(len(good) - 8),
        "subgraphs": doubled(), "operator": of_operator("CUMSUM", "Cumsum"),
        "float": of_type("FLOAT32"), "int16": of_type("INT16"), "unquantized": unquantized(),
    }
    for name, content in contents.items():
        (folder / f"{name}.tflite").write_bytes(content)
    return folder


BAD = {
    "truncated": "truncated.tflite: not a TFLite model, or truncated",
    "empty": "empty.tflite: not a TFLite model, or truncated",
    "text": "text.tflite: not a TFLite model, or truncated",
    "identifier": "identifier.tflite: not a TFLite model, or truncated",
    "zeroed": "zeroed.tflite: not a TFLite model, or truncated",
    "subgraphs": "subgraphs.tflite: 2 subgraphs; must have one",
    "none": "none.tflite: no such file",
    "operator": "'y1' (CUMSUM): the machine has no such operation",
    "float": "'y1' (CONV_2D): 'y1' is float32: the model is float, or quantized dynamically",
    "int16": "'y1' (CONV_2D): 'y1' is int16: int16x8 models are not supported",
    "unquantized": "'y1' (CONV_2D): 'x' has no scale; quantize it",
}


@pytest.mark.parametrize("command", ["sim", "compile"])
@pytest.mark.parametrize("name", BAD)
def test_bad_files(name, command, files, monkeypatch, capfd, no_build):
    monkeypatch.chdir(files)
    before = sorted(files.rglob("*"))
    assert main([command, f"{name}.tflite"]) == 2
    out, err = capfd.readouterr()
    assert "kiwicha: error: " in err
    assert BAD[name] in err
    assert not out
    assert sorted(files.rglob("*")) == before


def test_without_the_extra(files, monkeypatch, capfd, no_build):
    for name in ("ai_edge_litert.schema_py_generated", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["sim", str(files / "good.tflite")]) == 2
    assert capfd.readouterr().err == (
        "kiwicha: error: a .tflite model needs ai-edge-litert, which reads and judges it: "
        "pip install kiwicha[tflite]\n"
    )


@pytest.mark.parametrize("option", [["--host-fallback"], ["--dim", "n=3"]])
def test_what_only_onnx_has(option, files, capfd, no_build):
    assert main(["sim", str(files / "good.tflite"), *option]) == 2
    assert "only for ONNX models; good is TFLite" in capfd.readouterr().err


def test_the_machine_follows_the_model(files, capfd):
    path = str(files / "good.tflite")
    report = files / "followed.json"
    assert main(["sim", path, "--predict", "--report", str(report)]) == 0
    assert "machine: default with requantize_mode tflite" in capfd.readouterr().out
    assert json.loads(report.read_text())["config"]["requantize_mode"] == "tflite"
    report.unlink()
    assert main(["sim", path, "--predict", "--preset", "tiny"]) == 0
    assert "machine: tiny with requantize_mode tflite" in capfd.readouterr().out
    # A machine of the other of TFLite's roundings is taken as it is; its bits are its own.
    single = kiwicha.preset("tiny").replace(requantize_mode="tflite-single")
    made = kiwicha.compile_model(path, single)
    assert made.machine == single
    assert "golden-exact" in {layer.promise for layer in made.layers}


def test_it_runs_on_the_golden_machine(files):
    path = files / "good.tflite"
    run = kiwicha.run_golden(path, machine="tiny", samples=3)
    assert run.exact, run.verdict
    assert run.outputs["y6"].shape == (3, 5)
    assert np.array_equal(run.outputs["y6"], run.expected["y6"])
    given = {"x": np.full((2, 8, 8, 3), -128, np.int8)}
    assert kiwicha.run_golden(path, given, "small").exact
    with pytest.raises(InputError, match="^input 'x' is float32; must be int8$"):
        kiwicha.run_golden(path, {"x": given["x"].astype(np.float32)})


def test_it_compiles_to_files(files, tmp_path):
    paths = kiwicha.write_program(files / "good.tflite", tmp_path / "out", "tiny")
    manifest = json.loads(paths[0].read_text())
    assert [value["shape"] for value in manifest["inputs"]] == [[1, 8, 8, 3]]
    assert manifest["inputs"][0]["tensors"][0]["kind"] == "codes"
    assert manifest["outputs"][0]["shape"] == [1, 5]


def test_float_inputs_say_how_they_are_rounded(tmp_path):
    made = Network((2, 6))
    real = made.writer.tensor("real", (2, 6), "float32")
    made.writer.operator("QUANTIZE", [real], [made.first], "Quantize", 1)
    made.dense(4)
    made.first = real
    (tmp_path / "float.tflite").write_bytes(made.content())
    paths = kiwicha.write_program(tmp_path / "float.tflite", tmp_path / "out", "tiny")
    (edge,) = json.loads(paths[0].read_text())["inputs"][0]["tensors"]
    assert (edge["kind"], edge["halves"]) == ("quantize", "away from zero")


def test_it_runs_simulated(files, capfd):
    report, outputs = files / "report.json", files / "outputs.npz"
    command = ["sim", str(files / "good.tflite"), "--preset", "tiny", "--samples", "2"]
    assert main([*command, "--report", str(report), "--outputs", str(outputs)]) == 0
    out = capfd.readouterr().out
    assert "every bit equal (golden model, LiteRT)" in out
    assert "reference: ai-edge-litert " in out
    values = json.loads(report.read_text())
    assert values["reference"]["runtime"] == "ai-edge-litert"
    assert values["reference"]["whole"]
    assert {layer["promise"] for layer in values["layers"]} == {"runtime-exact"}
    assert all(layer["compared"] for layer in values["layers"])
    assert values["layers"][0]["op"] == "CONV_2D + RELU"
    with np.load(outputs) as archive:
        assert archive["y6"].shape == (2, 5)
