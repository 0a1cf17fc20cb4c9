# SPDX-License-Identifier: Apache-2.0
"""What the host computes behind the last layers: indices, comparisons and constants, equal to ONNX
Runtime, and noted."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import HostDequantize
from kiwicha.compiler.graph.tensor import Tensor
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import ModelError, UnsupportedModel
from kiwicha.machine.presets import PRESETS
from kiwicha.sim.export import write_program

from .agree import agree
from .onnx_models import dq, model, node, q, scales

CONSTANTS = scales(
    x=(0.03, np.uint8(120)), z=(0.05, np.int8(3)), w=(0.02, np.int8(0)), y=(0.4, np.uint8(99)),
) | {
    "W": np.random.default_rng(3).integers(-9, 9, (6, 8)).astype(np.int8), "two": np.array([2]),
    "zero": np.float32(0), "axes": np.array([1]), "half": np.float32(0.5),
    "first": np.array([0, 2]), "gain": np.linspace(-1, 1, 8, dtype=np.float32),
}
IN = [q("x", "xq", "x"), dq("xq", "xf", "x")]
LINEAR = [*IN, dq("W", "wf", "w"), node("MatMul", ["xf", "wf"], ["m"]), q("m", "mq", "y"),
          dq("mq", "f", "y")]
OUT = [q("f", "yq", "y"), dq("yq", "y", "y")]
SECOND = [q("z", "zq", "z"), dq("zq", "zf", "z")]
I64, BOOL = TensorProto.INT64, TensorProto.BOOL
ROWS = {"x": [3, 6]}


def built(nodes, types, inputs=ROWS, outputs=("y",), opset=17):
    return model(nodes, CONSTANTS, inputs, outputs, types=types, opset=opset)


HOSTED = {
    "argmax": ([*LINEAR, node("ArgMax", ["f"], ["y"], axis=1, keepdims=0)], {"y": I64}),
    "argmin of a layer, last of equals": (
        [*LINEAR, node("ArgMin", ["f"], ["y"], axis=0, select_last_index=1)], {"y": I64}),
    "argmax of an input": ([*IN, node("ArgMax", ["xf"], ["y"], axis=1)], {"y": I64}),
    "of a function": (
        [*LINEAR, node("Abs", ["f"], ["a"]), node("ArgMax", ["a"], ["y"], axis=1)], {"y": I64}),
    "then views and casts": (
        [*LINEAR, node("ArgMax", ["f"], ["i"], axis=1), node("Squeeze", ["i", "axes"], ["s"]),
         node("Cast", ["s"], ["y"], to=TensorProto.INT32)], {"y": TensorProto.INT32}),
    "comparison": (
        [*LINEAR, node("Greater", ["f", "zero"], ["y"])], {"y": BOOL}),
    "mean": ([*LINEAR, node("ReduceMean", ["f"], ["y"], axes=[1])], {}),
    "squares between views": (
        [*LINEAR, node("Flatten", ["f"], ["v"]), node("ReduceL2", ["v"], ["n"], axes=[0]),
         node("Squeeze", ["n"], ["y"])], {}),
    "normalization": ([*LINEAR, node("LayerNormalization", ["f", "gain"], ["y"])], {}),
    "is a number": ([*LINEAR, node("IsNaN", ["f"], ["n"]), node("Not", ["n"], ["y"])],
                    {"y": BOOL}),
    "comparison, then a cast": (
        [*LINEAR, node("Less", ["f", "zero"], ["b"]),
         node("Cast", ["b"], ["y"], to=TensorProto.FLOAT)], {}),
}


@pytest.mark.parametrize("name", HOSTED)
def test_outputs_of_the_host(name):
    nodes, types = HOSTED[name]
    graph = agree(built(nodes, types))
    assert any("by the host" in note.text for note in graph.notes)


def test_the_greatest_and_where_they_are():
    nodes = [*LINEAR, node("TopK", ["f", "two"], ["t", "i"], axis=1), q("t", "tq", "y"),
             dq("tq", "y", "y")]
    graph = agree(built(nodes, {"i": I64}, outputs=("y", "i")))
    assert [edge.operators[-1] for edge in graph.dequantize] == ["DequantizeLinear", "TopK"]


@pytest.mark.parametrize("operator", ["Equal", "Greater", "LessOrEqual"])
def test_two_tensors_are_compared(operator):
    nodes = [*IN, *SECOND, node(operator, ["xf", "zf"], ["y"])]
    agree(built(nodes, {"y": BOOL}, {"x": [3, 6], "z": [1, 6]}))


def test_codes_are_compared():
    types = {"a": TensorProto.INT8, "b": TensorProto.INT8, "y": BOOL}
    agree(built([node("Less", ["a", "b"], ["y"])], types, {"a": [3, 6], "b": [6]}))


def test_a_comparison_may_go_on_where_it_is_a_function():
    """A step: one table on the machine."""
    nodes = [*LINEAR, node("Greater", ["f", "zero"], ["b"]),
             node("Cast", ["b"], ["c"], to=TensorProto.FLOAT), q("c", "cq", "x"),
             dq("cq", "y", "x")]
    graph = agree(built(nodes, {}))
    assert [n.kind for n in graph.nodes] == ["matmul", "table"]
    assert not any("by the host" in note.text for note in graph.notes)


@pytest.mark.parametrize("operator", [
    "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cosh", "Shrink", "Sinh", "Tan",
])
def test_more_functions_are_tables(operator):
    """Where a function has no value, too: what ONNX Runtime makes of NaN."""
    inputs = {"x": np.linspace(-4, 4, 264, dtype=np.float32).reshape(44, 6)}
    graph = agree(built([*IN, node(operator, ["xf"], ["f"]), *OUT], {}, {"x": [44, 6]}), inputs)
    assert [n.kind for n in graph.nodes] == ["table"]


def test_a_remainder_is_a_table():
    agree(built([*IN, node("Mod", ["xf", "half"], ["f"], fmod=1), *OUT], {}))


def test_constant_outputs():
    """What depends on shapes alone, what Dropout keeps, a constant branch."""
    nodes = [*LINEAR, node("Dropout", ["f"], ["y", "kept"]), node("Shape", ["x"], ["shape"]),
             node("Neg", ["half"], ["c"])]
    types = {"kept": BOOL, "shape": I64}
    graph = agree(built(nodes, types, outputs=("y", "kept", "shape", "c")))
    assert sum(not edge.tensors for edge in graph.dequantize) == 3


def test_nothing_but_outputs_may_follow():
    nodes = [*LINEAR, node("ArgMax", ["f"], ["i"], axis=1, name="best"),
             node("Cast", ["i"], ["c"], to=TensorProto.FLOAT),
             node("Softplus", ["c"], ["y"], name="it")]
    with pytest.raises(UnsupportedModel, match="'it' .*: reads the result of Cast, which the host"):
        legalize(lower(built(nodes, {})))


def test_types_that_there_are_not():
    nodes = [*IN, node("Cast", ["xf"], ["y"], to=TensorProto.DOUBLE)]
    with pytest.raises(ModelError, match="'y' is double; must be float32, int8, uint8, bool, int3"):
        lower(built(nodes, {"y": TensorProto.DOUBLE}))
    types = {"x": I64}
    with pytest.raises(ModelError, match="'x' is int64; must be float32, int8 or uint8"):
        lower(built([node("Abs", ["x"], ["y"])], {**types, "y": I64}))


def test_the_manifest_says_how(tmp_path):
    nodes, types = HOSTED["argmax"]
    compiled = compile_graph(legalize(lower(built(nodes, types))), PRESETS["tiny"])
    write_program("m", compiled, tmp_path)
    (output,) = json.loads((tmp_path / "program.json").read_text())["outputs"]
    assert (output["kind"], output["dtype"], output["shape"]) == ("operators", "int64", [3])
    assert output["operators"][-1] == "ArgMax"
    place = output["onnx"]["offset"]
    data = (tmp_path / "host.bin").read_bytes()[place:][:output["onnx"]["shape"][0]]
    made = onnx.load_from_string(data)
    assert [value.name for value in made.graph.input] == [t["name"] for t in output["tensors"]]


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_a_float_output_is_an_array(shape):
    """NumPy makes a number of an array without dimensions, which ONNX Runtime does not take."""
    tensor = Tensor("t", shape, np.dtype(np.uint8), np.float32(0.5), 3)
    found = HostDequantize("edge", tensor, "y")(np.full(shape, 7, np.uint8))
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    assert np.array_equal(found, np.full(shape, 2.0, np.float32))
