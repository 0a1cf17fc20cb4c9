# SPDX-License-Identifier: Apache-2.0
"""`kiwicha.load`: what it makes of inputs and outputs is what the compiler meant, and no broken or
foreign file gets through."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from onnx import helper

import kiwicha
from kiwicha.drivers import program as loading
from kiwicha.models.variants import build, random_input

from ..compiler import test_dynamic, test_dynamic_product, test_dynamic_real
from ..compiler import test_host as hosted
from ..compiler import test_host_first as first
from ..compiler.onnx_models import node
from ..compiler.test_integer_sums import integers
from .programs import on_golden_machine, written

NETWORKS = {"flatten": "tiny", "conv_strided": "small", "residual": None, "softmax": None}


def agree(model, folder, inputs, machine=None, base=8192):
    """Compare with `kiwicha.run_golden`, bit for bit; return the manifest."""
    program, expected = written(model, folder, inputs, machine)
    found = on_golden_machine(program, inputs, base)
    assert [value.name for value in program.outputs] == list(found)
    assert found.keys() == expected.keys()
    for value in program.outputs:
        right = expected[value.name]
        assert (found[value.name].dtype, found[value.name].shape) == (right.dtype, right.shape)
        assert (value.dtype, value.shape) == (right.dtype, right.shape)
        assert found[value.name].tobytes() == right.tobytes()
    return program.manifest


def draw(graph, seed=1):
    rng, found = np.random.default_rng(seed), {}
    for value in graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        found[value.name] = rng.normal(0.2, 1, shape).astype(np.float32)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, tmp_path):
    model, shape = build(name)
    agree(model, tmp_path, {"x": random_input(shape)}, NETWORKS[name])


@pytest.mark.parametrize("name", first.BEFORE)
def test_host_before(name, tmp_path):
    model = first.built(first.BEFORE[name])
    manifest = agree(model, tmp_path, draw(model.graph))
    assert manifest["inputs"][0]["tensors"][0]["kind"] == "compute and quantize"


@pytest.mark.parametrize("name", ["argmax", "comparison", "normalization", "mean"])
def test_host_behind(name, tmp_path):
    nodes, types = hosted.HOSTED[name]
    model = hosted.built(nodes, types)
    manifest = agree(model, tmp_path, draw(model.graph))
    assert manifest["outputs"][0]["kind"] in ("operators", "table")


def test_a_function_behind(tmp_path):
    model, shape = build("flatten")
    (output,) = model.graph.output
    model.graph.node.append(helper.make_node("Tanh", [output.name], ["z"], name="last"))
    output.name = "z"
    assert agree(model, tmp_path, {"x": random_input(shape)}, "tiny")["outputs"][0]["kind"] == (
        "table"
    )


def test_scales_of_the_run(tmp_path):
    """Of a layer, of two tensors, with functions of the host behind, and integers."""
    rng, constants = np.random.default_rng(1), {}
    nodes = test_dynamic_real.linear("y", "x", 5, 7, rng, constants)
    model = test_dynamic.quantized(tmp_path, nodes, constants, [6, 5])
    manifest = agree(model, tmp_path / "a", {"x": random_input((6, 5))})
    assert manifest["inputs"][0]["tensors"][0]["kind"] == "quantize dynamically"
    assert manifest["outputs"][0]["kind"] == "sums"
    behind = [*test_dynamic_real.linear("m", "x", 5, 7, rng, constants), node("Exp", ["m"], ["y"])]
    model = test_dynamic.quantized(tmp_path, behind, constants, [6, 5])
    manifest = agree(model, tmp_path / "b", {"x": random_input((6, 5))})
    assert manifest["outputs"][0]["kind"] == "sums, then operators"
    two = helper.make_node("MatMul", ["x", "z"], ["y"], name="two")
    shapes = {"x": (2, 3, 6), "z": (2, 6, 5)}
    model = test_dynamic_product.quantized(tmp_path, [two], {}, shapes)
    manifest = agree(model, tmp_path / "c", {n: random_input(s) for n, s in shapes.items()})
    assert "other" in manifest["outputs"][0]
    model = integers("ConvInteger", (2, 3, 5, 6), (4, 3, 2, 2), np.uint8)
    codes = rng.integers(0, 256, (2, 3, 5, 6), dtype=np.uint8)
    assert agree(model, tmp_path / "d", {"x": codes})["outputs"][0]["kind"] == "integers"


def test_binary32(tmp_path):
    """A residual sum as output, and a graph input that is added."""
    rng, constants = np.random.default_rng(1), {}
    nodes = [*test_dynamic_real.linear("a", "x", 5, 5, rng, constants), node("Add", ["a", "x"],
             ["y"], name="sum")]
    model = test_dynamic.quantized(tmp_path, nodes, constants, [6, 5])
    machine = test_dynamic_real.REAL["small"]
    manifest = agree(model, tmp_path / "a", {"x": random_input((6, 5))}, machine)
    kinds = {made["kind"] for made in manifest["inputs"][0]["tensors"]}
    assert kinds == {"quantize dynamically", "binary32"}


@pytest.mark.parametrize("values", [
    np.full((6, 5), np.inf), np.array([[3e38, -3e38, 0, 0, 0]] * 6),
])
def test_ranges_that_are_not_finite(values, tmp_path):
    constants = {}
    nodes = test_dynamic_real.linear("y", "x", 5, 7, np.random.default_rng(1), constants)
    model = test_dynamic.quantized(tmp_path, nodes, constants, [6, 5])
    program, _ = written(model, tmp_path / "p", {"x": random_input((6, 5))})
    with pytest.raises(kiwicha.InputError, match="^input 'x' has values from .* must be finite$"):
        program.pack({"x": values.astype(np.float32)})
    for extreme in (np.zeros((6, 5)), np.full((6, 5), 1e-45)):
        expected = kiwicha.run_golden(model, {"x": extreme.astype(np.float32)}).outputs["y"]
        found = on_golden_machine(program, {"x": extreme.astype(np.float32)})["y"]
        np.testing.assert_array_equal(found, expected)


def test_needs_numpy_and_nothing_of_ours(tmp_path):
    """No compiler, no generator: a board's computer need not have them."""
    model, shape = build("flatten")
    program, _ = written(model, tmp_path / "p", {"x": random_input(shape)}, "tiny")
    code = (
        "import sys, kiwicha, numpy as np\n"
        "p = kiwicha.load(sys.argv[1])\n"
        "p.pack({v.name: np.zeros(v.shape, v.dtype) for v in p.inputs})\n"
        "p.unpack(p.relocate(4096))\n"
        "print({'amaranth', 'onnx', 'onnxruntime', 'cocotb', 'rich'} & {*sys.modules})\n"
        "print({m.split('.')[1] for m in sys.modules if m.startswith('kiwicha.')})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "p")],
        capture_output=True, text=True, check=True, timeout=60,
    )
    foreign, ours = map(eval, done.stdout.splitlines())
    assert foreign == set()
    assert ours == {"drivers", "errors"}


# What is refused ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    model, shape = build("flatten")
    (output,) = model.graph.output
    model.graph.node.append(helper.make_node("Tanh", [output.name], ["z"], name="last"))
    output.name = "z"
    folder = tmp_path_factory.mktemp("good")
    return written(model, folder, {"x": random_input(shape)}, "tiny")[0]


@pytest.fixture
def folder(good, tmp_path):
    for path in good.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def manifest(**changes):
    def change(folder):
        path = folder / "program.json"
        found = json.loads(path.read_text())
        for name, value in changes.items():
            if value is None:
                del found[name]
            else:
                found[name] = value
        path.write_text(json.dumps(found))
    return change


def content(name, make):
    def change(folder):
        data = bytearray((folder / name).read_bytes())
        (folder / name).write_bytes(make(data))
    return change


def flipped(data):
    data[len(data) // 2] ^= 1
    return data


BROKEN = {
    "no folder": (lambda f: (f / "program.json").unlink(), "program.json: No such file"),
    "a plan": (
        lambda f: (f / "program.json").rename(f / "plan.json"), "plan.json: several programs",
    ),
    "truncated manifest": (
        content("program.json", lambda d: d[:100]), "program.json: not JSON, or truncated",
    ),
    "no text": (content("program.json", lambda d: b"\xff" + d), "program.json: not JSON"),
    "a list": (content("program.json", lambda d: b"[1]"), "program.json: no manifest"),
    "newer": (manifest(schema=2), "program.json: schema 2, of newer Kiwicha; this one reads 1"),
    "older": (manifest(schema=0), "program.json: schema 0, of older Kiwicha; this one reads 1"),
    "no schema": (manifest(schema=None), "program.json: no manifest of a program"),
    "before relocations": (
        manifest(relocations=None), "program.json: has no relocations: compile again",
    ),
    "another machine": (
        lambda f: manifest(machine=json.loads((f / "program.json").read_text())["machine"]
                           | {"fingerprint": 1})(f),
        "program.json: machine.fingerprint is not that of machine.config",
    ),
    "a broken field": (manifest(alignment=8), "program.json: broken: "),
    "a broken version": (manifest(interface_version="two"), "program.json: broken: "),
    "a broken file": (manifest(image={}), "program.json: broken: a file without name or hash"),
    **{
        f"{kind} {name}": (content(name, make), f"{name}: {message}")
        for name in ("image.bin", "program.bin", "relocations.bin", "host.bin")
        for kind, make, message in (
            ("truncated", lambda d: d[:-8], "has "),
            ("changed", flipped, "not the file that program.json describes"),
        )
    },
    "missing": (lambda f: (f / "image.bin").unlink(), "image.bin: No such file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(name, folder):
    change, message = BROKEN[name]
    change(folder)
    with pytest.raises(kiwicha.ProgramError, match=r".") as caught:
        kiwicha.load(folder)
    assert message in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_relocations_beyond_the_image(good, folder):
    data = np.array([good.image.size - 4], "<u4").tobytes()
    (folder / "relocations.bin").write_bytes(data)
    described = {"file": "relocations.bin", "bytes": 4, "sha256": hashlib.sha256(data).hexdigest()}
    manifest(relocations=described)(folder)
    with pytest.raises(kiwicha.ProgramError, match="names words beyond the image$"):
        kiwicha.load(folder)


@pytest.mark.parametrize("name", kiwicha.PRESETS)
def test_fingerprints(name):
    config = kiwicha.PRESETS[name]
    written = json.loads(json.dumps(config.to_dict()))
    assert loading._fingerprint(written) == config.fingerprint


def test_bases(good):
    size, top = good.image.size, (1 << 32) - 8
    for base in (0, 8, 4096, top - size):
        moved = good.relocate(base)
        changed = np.flatnonzero(moved.view("<u8") != good.image.view("<u8"))
        assert (set(8 * changed) == set(good.relocations)) == bool(base)
        start, length = good.program
        before, after = (
            each[start : start + length].view("<u8").astype(np.int64)
            for each in (good.image, moved)
        )
        assert set(after - before) <= {0, base}
    for base, memory, message in (
        (4, None, "base 0x4 is no multiple of 8, the bytes of a beat"),
        (-8, None, "base -0x8 is no multiple of 8"),
        (top - size + 8, None, f"memory would end at {top + 8:#x}; addresses of 32 bits"),
        (0, size - 1, f"needs {size:,} bytes of memory, there are {size - 1:,}: 1 short"),
    ):
        with pytest.raises(kiwicha.ProgramError, match=r".") as caught:
            good.relocate(base, memory)
        assert message in str(caught.value)
    assert good.relocate(0, size).tobytes() == good.image.tobytes()


def test_inputs(good):
    x = np.zeros((2, 3, 6, 6), np.float32)
    for arrays, message in (
        ({}, "input 'x' is missing; needed: x"),
        ({"x": x, "z": x}, "no input is called 'z'; there is: x"),
        ({"x": x[:1]}, r"input 'x' is float32 (1, 3, 6, 6); must be float32 (2, 3, 6, 6)"),
        ({"x": x.astype(np.float64)}, "input 'x' is float64"),
    ):
        with pytest.raises(kiwicha.InputError, match=r".") as caught:
            good.pack(arrays)
        assert message in str(caught.value)


def test_a_plan_s_programs(tmp_path):
    """Each folder of a model that needs the host in between."""
    model, shape = build("determinant")
    files = kiwicha.write_program(model, tmp_path, host_fallback=True)
    assert files[0].name == "plan.json"
    with pytest.raises(kiwicha.ProgramError, match=r"plan\.json: several programs"):
        kiwicha.load(tmp_path)
    places = [file.parent for file in files if file.name == "program.json"]
    assert places
    assert all(kiwicha.load(place).image.size for place in places)
