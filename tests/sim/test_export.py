# SPDX-License-Identifier: Apache-2.0
"""``kiwicha compile``: files that give the right outputs to who has read docs/programs.md alone."""

import hashlib
import json

import numpy as np
import onnx
import pytest

import kiwicha
import kiwicha.sim.files
from kiwicha.cli.main import main
from kiwicha.golden.machine import Machine
from kiwicha.machine.presets import PRESETS
from kiwicha.models.variants import build, random_input

from ..compiler import test_dynamic, test_dynamic_product
from ..compiler.test_dynamic_conv import conv
from ..compiler.test_integer_sums import integers

#: Networks, one for each way that inputs and outputs may lie and be converted, and preset.
NETWORKS = {
    "flatten": "tiny",  # channels last, float to float
    "conv_strided": "small",
    "residual": "default",  # an input that is read again
    "softmax": "default",
}


def driver(folder, inputs, config, base=0):
    """Run the files on the golden machine as docs/programs.md says, in memory from ``base`` on with
    others' bytes around; return the outputs."""
    manifest = json.loads((folder / "program.json").read_text())
    assert manifest["machine"]["fingerprint"] == config.fingerprint
    image = np.fromfile(folder / manifest["image"]["file"], np.uint8)
    whole = np.random.default_rng(base).integers(0, 256, base + image.size + 192, np.uint8)
    whole[base : base + image.size] = image
    before, memory = whole.copy(), whole[base : base + image.size]
    for value in manifest["inputs"]:
        for made in value["tensors"]:
            put(memory, made, inputs[value["name"]])
    words = np.fromfile(folder / manifest["program"]["file"], "<u8")
    start = manifest["program"]["address"]
    found = memory[start : start + words.nbytes].view("<u8")
    np.testing.assert_array_equal(found, words)
    for place in np.fromfile(folder / manifest["relocations"]["file"], "<u4"):
        memory[place : place + 8].view("<u8")[0] += np.uint64(base)
    windows = ([base + n for n in manifest[name]] for name in ("read_window", "write_window"))
    Machine(config, whole, *map(tuple, windows)).run(found)
    np.testing.assert_array_equal(whole[:base], before[:base])
    np.testing.assert_array_equal(whole[base + image.size :], before[base + image.size :])
    return {value["name"]: taken(memory, value, folder) for value in manifest["outputs"]}


def steps(array, layout):
    for step in layout:
        ((kind, argument),) = step.items()
        array = array.reshape(argument) if kind == "reshape" else array.transpose(argument)
    return array.reshape(-1)


def put(memory, made, array):
    """Put an input into memory."""
    tensor = made["tensor"]
    info = np.iinfo(tensor["dtype"])
    if made["kind"] == "quantize":
        zero = np.float32(tensor["zero_point"])
        real = steps(array, made["view"]) / np.float32(tensor["scale"])
        array = np.rint(np.clip(real, info.min - zero, info.max - zero)) + zero
    if made["kind"] == "quantize dynamically":
        real = steps(array, made["view"])
        low, high = min(real.min(), np.float32(0)), max(real.max(), np.float32(0))
        scale = np.float32((high - low) / np.float32(255))
        zero = np.rint(-low / scale)
        array = np.clip(np.rint(real / scale) + zero, 0, 255)
        place = made["record"]["address"]
        memory[place : place + 4] = np.frombuffer(scale.tobytes(), np.uint8)
        memory[place + 4] = zero
    codes = array.astype(tensor["dtype"]).reshape(tensor["shape"])
    data = np.ascontiguousarray(steps(codes, tensor["layout"])).view(np.uint8)
    memory[tensor["address"] : tensor["address"] + tensor["bytes"]] = data


def stored(folder, where):
    data = (folder / where["file"]).read_bytes()
    count = int(np.prod(where["shape"]))
    return np.frombuffer(data, where["dtype"], count, where["offset"]).reshape(where["shape"])


def taken(memory, value, folder):
    """Take an output from memory."""
    tensor = value["tensor"]
    flat = memory[tensor["address"] : tensor["address"] + tensor["bytes"]].view(tensor["dtype"])
    codes = np.empty_like(flat)
    codes[steps(np.arange(flat.size).reshape(tensor["shape"]), tensor["layout"])] = flat
    codes = codes.reshape(tensor["shape"])
    if tensor["strides"] is not None:
        place = np.lib.stride_tricks.as_strided(flat, codes.shape, tensor["strides"])
        np.testing.assert_array_equal(place, codes)
    if value["kind"] == "dequantize":
        codes = (codes.astype(np.int32) - tensor["zero_point"]).astype(np.float32)
        codes *= np.float32(tensor["scale"])
    if value["kind"] == "table":
        rows = stored(folder, value["rows"])
        codes = stored(folder, value["values"])[rows, codes.view(np.uint8)]
    if value["kind"] == "sums":
        start = value["record"]["address"]
        scale = memory[start : start + 4].view("<f4")
        sums = np.ascontiguousarray(codes).view("<i4").astype(np.float32)
        w_scale = stored(folder, value["w_scale"])
        if "other" in value:
            start = value["other"]["address"]
            w_scale = memory[start : start + 4].view("<f4")
        codes = sums * (scale * w_scale) + stored(folder, value["bias"])
        codes = np.maximum(codes, np.float32(0)) if value["relu"] else codes
        codes = steps(codes, value["view"])
    if value["kind"] == "integers":
        codes = steps(np.ascontiguousarray(codes).view("<i4"), value["view"])
    assert codes.dtype == value["dtype"]
    return codes.reshape(value["shape"])


def check(folder, model, inputs, machine):
    """Write a program, run it, compare with `kiwicha.run_golden`; return the manifest."""
    samples = len(next(iter(inputs.values())))
    files = kiwicha.write_program(model, folder, machine, samples=samples)
    assert sorted(folder.iterdir()) == sorted(files)
    made = kiwicha.compile_model(model, machine, samples=samples)
    golden = kiwicha.run_golden(model, inputs, machine)
    manifest = json.loads(files[0].read_text())
    for base in (0, manifest["alignment"]["legal"], 3 * manifest["alignment"]["cycles"]):
        found = driver(folder, inputs, made.machine, base)
        assert found.keys() == golden.outputs.keys()
        for name, array in golden.outputs.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    assert manifest["predicted_cycles"] == made.cycles
    assert [layer["predicted_cycles"] for layer in manifest["layers"]] == [
        layer.cycles for layer in made.layers
    ]
    assert manifest["machine"]["config"] == json.loads(json.dumps(made.machine.to_dict()))
    assert manifest["alignment"] == {"legal": made.machine.beat_bytes, "cycles": 4096}
    for name in ("program", "image", "relocations", "host"):
        if name in manifest:
            data = (folder / manifest[name]["file"]).read_bytes()
            assert manifest[name]["bytes"] == len(data)
            assert manifest[name]["sha256"] == hashlib.sha256(data).hexdigest()
    return manifest


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, tmp_path):
    model, shape = build(name)
    manifest = check(tmp_path, model, {"x": random_input(shape)}, NETWORKS[name])
    assert (manifest["schema"], manifest["kiwicha"]) == (1, kiwicha.__version__)


@pytest.mark.parametrize(("name", "machine"), [("lenet5", "tiny"), ("vit", None)])
def test_models_that_come_along(name, machine, tmp_path):
    model = kiwicha.load_model(name)
    inputs = {key: array[:3] for key, array in model.test_inputs().items() if key != "labels"}
    manifest = check(tmp_path, model, inputs, machine)
    assert manifest["model"] == name
    assert manifest["machine"]["name"] == (machine or "default")


def test_scales_of_the_run(dynamic, tmp_path):
    inputs = {"x": random_input((3, 12))}
    manifest = check(tmp_path, dynamic, inputs, None)
    assert manifest["machine"]["name"] == "default-dynamic"
    assert manifest["inputs"][0]["tensors"][0]["kind"] == "quantize dynamically"
    assert manifest["outputs"][0]["kind"] == "sums"


def test_sums_through_views(tmp_path):
    """Of a convolution, of a product of two tensors with scales of the run, and as integers."""
    rng, constants, shape = np.random.default_rng(1), {}, (2, 3, 5, 6)
    made = conv("y", "x", (4, 3, 2, 2), rng, constants)
    model = test_dynamic.quantized(tmp_path, [made], constants, shape)
    manifest = check(tmp_path / "a", model, {"x": random_input(shape)}, None)
    assert manifest["outputs"][0]["view"]
    two = onnx.helper.make_node("MatMul", ["x", "z"], ["y"], name="two")
    inputs = {"x": random_input((2, 3, 6)), "z": random_input((2, 6, 5))}
    shapes = {name: array.shape for name, array in inputs.items()}
    model = test_dynamic_product.quantized(tmp_path, [two], {}, shapes)
    manifest = check(tmp_path / "b", model, inputs, None)
    assert "other" in manifest["outputs"][0]
    model = integers("ConvInteger", shape, (4, 3, 2, 2), np.uint8)
    codes = rng.integers(0, 256, shape, dtype=np.uint8)
    manifest = check(tmp_path / "c", model, {"x": codes}, None)
    assert manifest["outputs"][0]["kind"] == "integers"


def test_a_function_that_the_host_applies(tmp_path):
    """Tanh behind the last DequantizeLinear."""
    model, shape = build("flatten")
    (output,) = model.graph.output
    model.graph.node.append(onnx.helper.make_node("Tanh", [output.name], ["z"], name="last"))
    output.name = "z"
    manifest = check(tmp_path, model, {"x": random_input(shape)}, "tiny")
    assert manifest["outputs"][0]["kind"] == "table"


def test_codes_in_and_out(tmp_path):
    """An integer graph: the host converts nothing."""
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    tensors = {
        "xs": np.float32(0.1), "xz": np.uint8(7), "ws": np.float32(0.02), "wz": np.int8(0),
        "w": np.arange(-8, 8, dtype=np.int8).reshape(4, 4),
        "ys": np.float32(0.05), "yz": np.uint8(100),
    }
    node = make("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"], name="m")
    graph = onnx.helper.make_graph(
        [node], "g", [value("x", onnx.TensorProto.UINT8, [3, 4])],
        [value("y", onnx.TensorProto.UINT8, [3, 4])],
        [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in tensors.items()],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    x = np.random.default_rng(1).integers(0, 256, (3, 4), np.uint8)
    manifest = check(tmp_path, model, {"x": x}, "tiny")
    assert manifest["inputs"][0]["tensors"][0]["kind"] == manifest["outputs"][0]["kind"] == "codes"


# The command -------------------------------------------------------------------------------------


def test_the_command(folder, dynamic, tmp_path, no_build, capfd):
    contents = []
    for out in (tmp_path / "a", tmp_path / "b/c"):
        command = ["compile", str(folder / "model.onnx"), "--preset", "tiny", "--out", str(out)]
        assert main(command) == 0
        printed = capfd.readouterr().out.splitlines()
        assert printed == [str(out / n) for n in (
            "program.json", "program.bin", "image.bin", "relocations.bin",
        )]
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert contents[0] == contents[1]
    assert main(["compile", str(dynamic), "--out", str(tmp_path / "d")]) == 0
    assert capfd.readouterr().out.splitlines()[0] == "machine: default with dynamic"


@pytest.mark.parametrize(("command", "culprit"), [
    ("determinant.onnx --out new", "(Det): the machine has no such operation"),
    ("model.onnx --out text.npz", "is a file, not a folder"),
    ("program.bin --out .", "holds the model"),
    ("model.onnx --samples 3 --out new", "3 samples do not fit"),
    ("vit --preset tiny --out new", "special.lanes is 0; 4 would do"),
    ("nothing.onnx --out new", "no such file"),
])
def test_refused_before_anything_is_written(command, culprit, folder, tmp_path, monkeypatch, capfd):
    for name in ("determinant.onnx", "model.onnx", "text.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "program.bin").write_bytes((folder / "model.onnx").read_bytes())
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["compile", *command.split()]) == 2
    out, err = capfd.readouterr()
    assert culprit in err
    assert not out
    assert sorted(tmp_path.rglob("*")) == before


def test_all_files_or_none(folder, tmp_path, monkeypatch):
    assert kiwicha.write_program(folder / "model.onnx", tmp_path, "tiny")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / f".{kiwicha.sim.files.os.getpid()}-image.bin").mkdir()
    with pytest.raises(OSError, match="image.bin"):
        kiwicha.write_program(folder / "model.onnx", tmp_path, PRESETS["small"])
    assert {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before
