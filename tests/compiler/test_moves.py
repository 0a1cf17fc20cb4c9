# SPDX-License-Identifier: Apache-2.0
"""Concat, Slice and Split: equal to ONNX Runtime in both forms, and what the machine makes of
them."""

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.compiler.schedule.moves import move_works
from kiwicha.errors import KiwichaError, UnsupportedModel
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate
from kiwicha.machine.presets import preset

from .agree import agree
from .onnx_models import dq, model, node, q, scales

U8, S8 = np.uint8, np.int8
KINDS = {U8: TensorProto.UINT8, S8: TensorProto.INT8}
SHAPES = ([2, 5], [3, 4, 6], [2, 3, 4, 5], [1, 7, 1, 3], [2, 1, 6, 1], [2, 3, 2, 2, 3])


def runs(graph, config="wide"):
    """Run the program on the golden machine: memory has what the operators say."""
    config = preset(config) if isinstance(config, str) else config
    compiled = compile_graph(graph, config)
    tensors = evaluate(graph, random_inputs(graph.inputs, 7))
    memory = compiled.load(tensors)
    machine = Machine(config, memory, compiled.read_window, compiled.write_window)
    machine.run(compiled.words)
    assert not machine.tokens.any()
    for name, tensor in graph.tensors.items():
        if name not in compiled.addresses:
            continue  # what a function took on the way out
        np.testing.assert_array_equal(compiled.read(memory, tensor), tensors[name], name)


def draw(rng, dtype, count):
    info = np.iinfo(dtype)
    return {
        f"k{place}": (rng.choice([0.05, 0.1, rng.uniform(0.02, 0.2)]),
                      dtype(rng.randint(info.min, info.max + 1)))
        for place in range(count)
    }


@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
@pytest.mark.parametrize("seed", range(18))
def test_concat(seed, form):
    rng = np.random.RandomState(seed)
    dtype, shape, count = (U8, S8)[seed % 2], SHAPES[seed % len(SHAPES)], 2 + seed % 3
    axis = int(rng.randint(len(shape)))
    keys = draw(rng, dtype, count + 1)
    shapes = [list(shape) for _ in range(count)]
    for one in shapes:
        one[axis] += int(rng.randint(3))
    given = axis - len(shape) if seed % 4 == 0 else axis
    if form == "QDQ":
        names = [f"x{place}" for place in range(count)]
        nodes = [made for place, name in enumerate(names) for made in (
            q(name, f"{name}q", f"k{place}"), dq(f"{name}q", f"{name}f", f"k{place}"))]
        nodes += [node("Concat", [f"{name}f" for name in names], ["c"], axis=given, name="it"),
                  q("c", "cq", f"k{count}"), dq("cq", "y", f"k{count}")]
        built = model(nodes, scales(**keys), dict(zip(names, shapes, strict=True)))
    else:
        names = [f"x{place}" for place in range(count)]
        inputs = [f"k{count}_s", f"k{count}_z"]
        for place, name in enumerate(names):
            inputs += [name, f"k{place}_s", f"k{place}_z"]
        built = model(
            [node("QLinearConcat", inputs, ["y"], axis=given, name="it", domain="com.microsoft")],
            scales(**keys), dict(zip(names, shapes, strict=True)),
            types=dict.fromkeys([*names, "y"], KINDS[dtype]),
        )
    runs(agree(built), preset("default"))


def test_concat_of_codes_has_no_scale():
    """Two integer graph inputs and one of them again."""
    types = dict.fromkeys(["a", "b", "y"], TensorProto.INT8)
    built = model([node("Concat", ["a", "b", "a"], ["y"], axis=1)], {},
                  {"a": [2, 3, 4], "b": [2, 5, 4]}, types=types)
    runs(agree(built), "tiny")


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("alike", [True, False])
def test_concat_with_constants(alike, dtype):
    """A class token before the patches of an image, and something behind them."""
    rng = np.random.RandomState(1)
    info = np.iinfo(dtype)
    keys = draw(rng, dtype, 4)
    if alike:
        keys = dict.fromkeys(keys, keys["k0"])
    constants = scales(**keys) | {
        name: rng.randint(info.min, info.max + 1, (2, n, 6)).astype(dtype)
        for name, n in (("token", 1), ("rest", 3))}
    inputs = ["k3_s", "k3_z"]
    for place, name in enumerate(("token", "x", "rest")):
        inputs += [name, f"k{place}_s", f"k{place}_z"]
    built = model(
        [node("QLinearConcat", inputs, ["y"], axis=1, name="it", domain="com.microsoft")],
        constants, {"x": [2, 5, 6]}, types=dict.fromkeys("xy", KINDS[dtype]))
    runs(agree(built), "tiny")


def test_concat_of_codes_and_a_constant():
    types = dict.fromkeys("xy", TensorProto.INT8)
    built = model([node("Concat", ["c", "x", "c"], ["y"], axis=1)],
                  {"c": np.arange(12, dtype=S8).reshape(1, 3, 2, 2)}, {"x": [1, 5, 2, 2]},
                  types=types)
    runs(agree(built), "tiny")


def test_scales_that_the_requantizer_cannot_express():
    """A product of two roundings, for which no one scale stands: a table before the move."""
    keys = {"a": (0.06, U8(3)), "b": (0.05, U8(9)), "y": (0.02, U8(77))}
    names = ["y_s", "y_z", "a", "a_s", "a_z", "b", "b_s", "b_z"]
    for ratio in np.linspace(0.3, 0.5, 400):
        keys["a"] = (0.02 * ratio, U8(3))
        built = model(
            [node("QLinearConcat", names, ["y"], axis=0, name="it", domain="com.microsoft")],
            scales(**keys), {"a": [16, 16], "b": [2, 16]},
            types=dict.fromkeys(["a", "b", "y"], TensorProto.UINT8),
        )
        codes = np.arange(256).astype(U8).reshape(16, 16)
        graph = agree(built, {"a": codes, "b": codes[:2]})
        if any(n.kind == "table" for n in graph.nodes):
            runs(graph, "default")
            return
    raise AssertionError("every ratio has a scale")


def test_concat_of_layers_feeds_a_layer():
    """The branches of an Inception block: the channels of two convolutions side by side."""
    rng = np.random.RandomState(3)
    constants = scales(x=(0.05, U8(120)), a=(0.1, U8(130)), b=(0.07, U8(110)), w=(0.02, S8(0)))
    constants |= {"U": rng.randint(-9, 9, (3, 2, 1, 1)).astype(S8),
                  "V": rng.randint(-9, 9, (18, 2, 3, 3)).astype(S8),
                  "W": rng.randint(-9, 9, (4, 21, 3, 3)).astype(S8)}
    x, a, b, w = (["x_s", "x_z"], ["a_s", "a_z"], ["b_s", "b_z"], ["w_s", "w_z"])
    nodes = [
        q("x", "xq", "x"),
        node("QLinearConv", ["xq", *x, "U", *w, *a], ["c"], name="one"),
        node("QLinearConv", ["xq", *x, "V", *w, *b], ["d"], name="two", pads=[1] * 4),
        node("QLinearConcat", [*b, "c", *a, "d", *b], ["e"], name="it", axis=1,
             domain="com.microsoft"),
        node("QLinearConv", ["e", *b, "W", *w, *a], ["yq"], name="three"), dq("yq", "y", "a"),
    ]
    graph = agree(model(nodes, constants, {"x": [2, 2, 7, 5]}))
    assert [n.kind for n in graph.nodes] == ["conv", "conv", "move", "conv"]
    for config in ("tiny", "wide", "default"):
        runs(graph, config)


def sliced(form, shape, dtype, starts, ends, axes, steps):
    constants = scales(x=(0.05, dtype(3)), y=(0.05, dtype(3))) | {
        "starts": np.array(starts), "ends": np.array(ends), "axes": np.array(axes),
        "steps": np.array(steps)}
    names = ["starts", "ends", "axes", "steps"]
    if form == "QOperator":
        types = dict.fromkeys("xy", KINDS[dtype])
        return model([node("Slice", ["x", *names], ["y"], name="it")], constants, {"x": shape},
                     types=types)
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"),
             node("Slice", ["xf", *names], ["s"], name="it"), q("s", "sq", "y"), dq("sq", "y", "y")]
    return model(nodes, constants, {"x": shape})


@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
@pytest.mark.parametrize("seed", range(18))
def test_slice(seed, form):
    rng = np.random.RandomState(seed)
    shape = SHAPES[seed % len(SHAPES)]
    axes = [int(axis) for axis in rng.permutation(len(shape))[: 1 + seed % 2]]
    starts, ends, steps = [], [], []
    for axis in axes:
        start = int(rng.randint(shape[axis]))
        starts.append(start - shape[axis] if rng.randint(2) else start)
        ends.append([2**62, int(rng.randint(start + 1, shape[axis] + 1))][rng.randint(2)])
        steps.append(int(rng.randint(1, 4)))
    built = sliced(form, shape, (U8, S8)[seed % 2], starts, ends, axes, steps)
    runs(agree(built), "tiny")


@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
@pytest.mark.parametrize("axis", range(-1, 4))
def test_split(axis, form):
    """In three parts, the second of which nobody reads."""
    shape, opset = [3, 7, 6, 5], 13
    length = shape[axis]
    parts = [1, length - 2, 1]
    constants = scales(x=(0.05, U8(3)), y=(0.05, U8(3))) | {"parts": np.array(parts)}
    if form == "QOperator":
        nodes = [node("Split", ["x", "parts"], ["y", "unread", "z"], axis=axis, name="it")]
        built = model(nodes, constants, {"x": shape}, ("y", "z"), opset=opset,
                      types=dict.fromkeys("xyz", TensorProto.UINT8))
    else:
        nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"),
                 node("Split", ["xf", "parts"], ["a", "unread", "b"], axis=axis, name="it"),
                 q("a", "aq", "y"), dq("aq", "y", "y"), q("b", "bq", "y"), dq("bq", "z", "y")]
        built = model(nodes, constants, {"x": shape}, ("y", "z"), opset=opset)
    graph = agree(built)
    assert [n.kind for n in graph.nodes] == ["move", "move"]
    runs(graph)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_split_in_equal_parts(count):
    """The last part is shorter where the length is no multiple."""
    outputs = [f"y{place}" for place in range(count)]
    built = model([node("Split", ["x"], outputs, axis=1, num_outputs=count, name="it")], {},
                  {"x": [2, 5, 3]}, outputs, opset=18,
                  types=dict.fromkeys(["x", *outputs], TensorProto.INT8))
    runs(agree(built))


@pytest.mark.parametrize("behind", [("Relu",), ("Slice", "Relu"), ("Relu", "Slice", "MaxPool")])
@pytest.mark.parametrize("scale", [(0.03, U8(9)), (0.06, U8(99))])
def test_a_part_in_a_float_chain_rescales_and_clamps(behind, scale):
    """A Relu on one part of a Split must not clamp the other part."""
    constants = scales(x=(0.05, U8(100)), a=scale, b=(0.05, U8(100))) | {
        "starts": np.array([1]), "ends": np.array([3]), "axes": np.array([2]),
        "W": np.eye(6, dtype=S8).reshape(6, 6, 1, 1)} | scales(w=(0.5, S8(0)), c=(0.06, U8(99)))
    nodes = [q("x", "xq", "x"), node("QLinearConv", ["xq", "x_s", "x_z", "W", "w_s", "w_z", "c_s",
                                                     "c_z"], ["v"], name="first"),
             dq("v", "xf", "c"), node("Split", ["xf"], ["p", "o"], axis=1, name="split")]
    last = "p"
    for place, operator in enumerate(behind):
        more = {"Slice": ["starts", "ends", "axes"]}.get(operator, [])
        window = {"kernel_shape": [2, 1]} if operator == "MaxPool" else {}
        nodes.append(node(operator, [last, *more], [f"f{place}"], name=f"n{place}", **window))
        last = f"f{place}"
    nodes += [q(last, "yq", "a"), dq("yq", "y", "a"), q("o", "oq", "b"), dq("oq", "z", "b")]
    graph = agree(model(nodes, constants, {"x": [2, 6, 5, 4]}, ("y", "z"), opset=13))
    runs(graph, "default")


@pytest.mark.parametrize("operator", ["Concat", "Split"])
def test_no_order_of_axes(operator):
    """The channels of a flattened image are not side by side in memory."""
    constants = scales(x=(0.03, U8(120)), w=(0.02, S8(0)), a=(0.1, U8(130)))
    constants["W"] = np.ones((4, 2, 3, 3), S8)
    inputs = ["xq", "x_s", "x_z", "W", "w_s", "w_z", "a_s", "a_z"]
    nodes = [q("x", "xq", "x"), node("QLinearConv", inputs, ["c"], name="conv"),
             node("Flatten", ["c"], ["r"], name="flat")]
    if operator == "Concat":
        nodes.append(node("Concat", ["r", "r"], ["yq"], axis=1, name="it"))
    else:
        nodes.append(node("Split", ["r"], ["yq", "unread"], axis=1, name="it"))
    built = model([*nodes, dq("yq", "y", "a")], constants, {"x": [1, 2, 6, 6]}, opset=13)
    runs(agree(built), "default")


@pytest.mark.parametrize("operator", ["Slice", "Split"])
@pytest.mark.parametrize("first", [True, False])
def test_a_part_and_a_table(operator, first):
    """ONNX Runtime moves DequantizeLinear and QuantizeLinear past a Slice, but not past a Split;
    where a value is in the tensor may decide its last bit, so that both are never one node."""
    constants = scales(x=(0.05, U8(100)), a=(0.01, U8(90))) | {
        "starts": np.array([1]), "ends": np.array([3]), "axes": np.array([1])}
    more, outputs, given = {
        "Slice": (["starts", "ends", "axes"], ["o"], {}), "Split": ([], ["o", "z"], {"axis": 1}),
    }[operator]

    def cut(source, target):
        return node(operator, [source, *more], [target, *outputs[1:]], name="part", **given)

    nodes = [cut("xf", "p"), node("Tanh", ["p"], ["f"], name="tanh")]
    if not first:
        nodes = [node("Tanh", ["xf"], ["p"], name="tanh"), cut("p", "f")]
    ends = [q("f", "yq", "a"), dq("yq", "y", "a")]
    if operator == "Split":
        ends += [q("z", "zq", "a"), dq("zq", "w", "a")]
    outputs = ("y", "w") if operator == "Split" else ("y",)
    built = model([q("x", "xq", "x"), dq("xq", "xf", "x"), *nodes, *ends], constants,
                  {"x": [2, 6, 5, 4]}, outputs, opset=13)
    try:
        graph = legalize(lower(built))
    except UnsupportedModel as error:
        assert operator == "Split"
        told = "the float result of Split" if first else "the result of Tanh must be quantized"
        assert told in str(error)
        return
    agree(built)
    runs(graph, "default")


@pytest.mark.parametrize("step", [1, 2, 3])
def test_nothing_is_read_behind_the_tensor(step):
    """Rows of several bytes of which some are skipped: not those behind the last one."""
    graph = legalize(lower(sliced("QOperator", [8, 4], U8, [0], [8], [0], [step])))
    (node_,) = graph.nodes
    (move,) = move_works(node_, {"x": 0, "y": 64}, preset("default"))
    work = move.work
    assert work.x.height * work.x.row_bytes - (work.x.row_bytes - work.x.channels) <= 32


def test_statistics_of_all_channels_only():
    graph = legalize(lower(sliced("QOperator", [3, 6, 4], U8, [1], [4], [1], [1])))
    config = preset("tiny").replace(statistics={"elements": 256})
    assert compile_graph(graph, config, statistics=["it"]).statistics
    with pytest.raises(KiwichaError, match=r"'it' \(Slice\) moves bytes of several channels"):
        compile_graph(graph, config, statistics=["it[0]"])


REFUSED = {
    "a float result": (
        [node("Concat", ["xf", "xf"], ["y"], axis=1, name="it")],
        r"'it' \(Concat\): stays in float, since its output 'y' is not quantized"),
    "no element": (
        [node("Slice", ["xf", "starts", "starts"], ["f"], name="it"), q("f", "yq", "a"),
         dq("yq", "y", "a")], "dimension 0 is 0; it has no element"),
    "only part of it a constant": (
        [node("Concat", ["xf", "ones"], ["f"], axis=1, name="it"), q("f", "yq", "a"),
         dq("yq", "y", "a")], r"'it' \(Concat\): stays in float"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    nodes, told = REFUSED[case]
    constants = scales(x=(0.05, U8(100)), a=(0.01, U8(90))) | {
        "starts": np.array([1]), "ones": np.ones((2, 1, 5), np.float32)}
    built = model([q("x", "xq", "x"), dq("xq", "xf", "x"), *nodes], constants, {"x": [2, 6, 5]})
    with pytest.raises(UnsupportedModel, match=told):
        legalize(lower(built))


def test_many_rows():
    """More rows than the machine counts to."""
    types = dict.fromkeys("xy", TensorProto.UINT8)
    built = model([node("Slice", ["x", "starts", "ends", "axes"], ["y"], name="it")],
                  {"starts": np.array([1]), "ends": np.array([3]), "axes": np.array([1])},
                  {"x": [32800, 4]}, types=types)
    runs(agree(built), "default")
