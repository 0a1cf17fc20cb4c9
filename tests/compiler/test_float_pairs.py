# SPDX-License-Identifier: Apache-2.0
"""Two operands between DequantizeLinear and QuantizeLinear, held to their promise."""

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import UnsupportedModel

from .agree import agree
from .onnx_models import dq, model, node, q, scales

TYPES = {"int8": (np.int8, TensorProto.INT8), "uint8": (np.uint8, TensorProto.UINT8)}
SHAPES = [([16, 256], [16, 256]), ([2, 3, 4, 5], [3, 1, 1]), ([4, 1], [2, 1, 7]),
          ([2, 3, 4, 5], [2, 1, 4, 5])]
ALL = ([256, 256], [256, 256])
RNG = np.random.default_rng(81)


def pair_model(op, shapes, dtype="uint8", behind=(), constant=None, sizes=(0.03, 0.05, 0.04)):
    """xq and zq, integers, or a float constant in place of z; the name of the result is f."""
    kind, code = TYPES[dtype]
    zeros = (-20, 3, 40) if dtype == "int8" else (120, 131, 100)
    constants = scales(**{
        key: (size, kind(zero)) for key, size, zero in zip("xzy", sizes, zeros, strict=True)
    }) | {"low": np.float32(-1.37), "high": np.float32(2.51)}
    inputs = dict(zip(("xq", "zq"), shapes, strict=True))
    first = [dq("xq", "xf", "x"), dq("zq", "zf", "z")]
    if constant is not None:
        del inputs["zq"], first[1]
        constants["zf"] = constant
    nodes = [*first, node(op, ["xf", "zf"], ["f0"], name="pair"), *behind,
             q("f" if behind else "f0", "yq", "y"), dq("yq", "y", "y")]
    return model(nodes, constants, inputs, types=dict.fromkeys(inputs, code))


def every_pair(dtype="uint8"):
    codes = np.arange(256, dtype=np.uint8).view(TYPES[dtype][0])
    return {"xq": np.repeat(codes, 256).reshape(256, 256), "zq": np.tile(codes, (256, 1))}


def kinds(graph):
    return [(n.kind, n.promise) for n in graph.nodes]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("op", ["Sub", "Max", "Min"])
def test_all_pairs_of_codes(op, dtype):
    for sizes in ((0.03, 0.05, 0.04), (0.5, 0.25, 0.5), (0.7, 0.001, 0.02)):
        graph = agree(pair_model(op, ALL, dtype, sizes=sizes), every_pair(dtype), exact=op != "Sub")
        promise = "near" if op == "Sub" else "runtime"
        assert kinds(graph)[0] in (("tables", promise), ("tables", "runtime"))
        assert len(graph.nodes) == (1 if op == "Sub" else 2)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("op", ["Sub", "Max", "Min"])
def test_shapes(op, shapes):
    for turned in (shapes, shapes[::-1]):
        agree(pair_model(op, turned, "int8"), exact=op != "Sub")


def test_halves_are_rounded_as_the_runtime_does():
    """An odd zero point, and sums that are halves: nothing is one code off."""
    graph = agree(pair_model("Sub", ALL, "int8", sizes=(0.5, 0.25, 1.0)), every_pair("int8"))
    assert kinds(graph) == [("tables", "runtime")]


@pytest.mark.parametrize("op", ["Sum", "Mean"])
def test_sums_by_other_names(op):
    for sizes in ((0.03, 0.05, 0.04), (0.5, 0.25, 1.0)):
        whole = pair_model(op, ALL, "int8", sizes=sizes)
        graph = agree(whole, every_pair("int8"), exact=False)
        assert [n.kind for n in graph.nodes] == ["add" if op == "Sum" else "tables"]


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_extremes_of_more(op):
    """Of three tensors and a constant, one of them a function, one seen through views."""
    constants = scales(
        x=(0.03, np.uint8(120)), z=(0.05, np.uint8(131)), w=(0.04, np.uint8(99)),
        y=(0.04, np.uint8(100)),
    ) | {"c": np.float32([[0.1], [-1.0], [3.0]]), "shape": np.array([3, 40])}
    nodes = [dq("xq", "xf", "x"), dq("zq", "zf", "z"), dq("wq", "wf", "w"),
             node("Neg", ["zf"], ["n"]), node("Reshape", ["wf", "shape"], ["r"]),
             node(op, ["xf", "c", "n", "r"], ["f0"]), node("Relu", ["f0"], ["f"]),
             q("f", "yq", "y"), dq("yq", "y", "y")]
    inputs = {"xq": [3, 40], "zq": [1, 40], "wq": [120]}
    graph = agree(model(nodes, constants, inputs, types=dict.fromkeys(inputs, TensorProto.UINT8)))
    assert [n.kind for n in graph.nodes].count("tables") == 6


@pytest.mark.parametrize("steps", [
    [("Reshape", "shape")], [("Reshape", "shape"), ("Sigmoid", "")],
    [("Sigmoid", ""), ("Reshape", "shape")],
], ids=str)
def test_views_before(steps):
    constants = scales(x=(0.03, np.uint8(120)), z=(0.05, np.uint8(131)), y=(0.04, np.uint8(100)))
    nodes, name = [dq("xq", "xf", "x"), dq("zq", "zf", "z")], "zf"
    for place, (op, constant) in enumerate(steps):
        nodes.append(node(op, [name, *filter(None, [constant])], [f"v{place}"]))
        name = f"v{place}"
    nodes += [node("Sub", ["xf", name], ["f"]), q("f", "yq", "y"), dq("yq", "y", "y")]
    inputs = {"xq": [3, 40], "zq": [120]}
    whole = model(nodes, constants | {"shape": np.array([3, 40])}, inputs,
                  types=dict.fromkeys(inputs, TensorProto.UINT8))
    assert "tables" in [n.kind for n in agree(whole, exact=False).nodes]


BEHIND = {
    "relu": [node("Relu", ["f0"], ["f"])],
    "clip": [node("Clip", ["f0", "low", "high"], ["f"])],
    "both": [node("Clip", ["f0", "low", "high"], ["f1"]), node("Relu", ["f1"], ["f"])],
    "view": [node("Relu", ["f0"], ["f1"]), node("Transpose", ["f1"], ["f"], perm=[1, 0])],
    "view first": [node("Transpose", ["f0"], ["f1"], perm=[1, 0]), node("Relu", ["f1"], ["f"])],
}


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("op", ["Add", "Mul", "Max"])
def test_what_follows_is_fused(op, behind):
    whole = pair_model(op, ALL, "int8", BEHIND[behind], sizes=(0.03, 0.05, 0.1))
    graph = agree(whole, every_pair("int8"), exact=op == "Max")
    computing = [n for n in graph.nodes if n.kind not in ("view",)]
    assert len(computing) == (2 if op == "Max" else 1)


CONSTANTS = {
    "channels": RNG.normal(0, 1, (3, 1, 1)), "elements": RNG.normal(0, 1, (3, 4, 5)),
    "batch": RNG.normal(0, 1, (2, 1, 1, 1)), "columns": RNG.normal(0, 1, (5,)),
    "deep": RNG.normal(0, 1, (1, 1, 1, 1, 5)), "far": np.array([0, 1e-6, 300]).reshape(3, 1, 1),
}


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu"])
@pytest.mark.parametrize("name", CONSTANTS)
@pytest.mark.parametrize("turned", [False, True])
def test_constants_of_any_shape(op, name, turned):
    constant = CONSTANTS[name].astype(np.float32)
    if (turned and op in ("Div", "PRelu")) or (op, name) in (("Div", "far"), ("PRelu", "deep")):
        return
    whole = pair_model(op, ([2, 3, 4, 5], [1]), "uint8", constant=constant)
    if turned:
        whole.graph.node[1].input[:] = ["zf", "xf"]
    graph = agree(whole, exact=op in ("Max", "Min"))
    assert {n.kind for n in graph.nodes} == {"tables"}
    assert len(graph.nodes[0].inputs) == 1


@pytest.mark.parametrize("op", ["PRelu", "Add", "Mul", "Sub", "Max"])
def test_constants_of_many_values(op):
    """More than there are codes: those that are close together share one."""
    constant = np.random.default_rng(82).normal(0, 0.5, (600, 1)).astype(np.float32)
    codes = np.tile(np.arange(-128, 128, dtype=np.int8), (600, 1))
    whole = pair_model(op, ([600, 256], [1]), "int8", constant=constant)
    graph = agree(whole, {"xq": codes}, exact=op == "Max")
    assert graph.nodes[0].constant.max() > 200 or op == "Max"


@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("turned", [False, True])
def test_constants_of_as_many_values_as_elements(op, turned):
    constant = np.random.default_rng(83).normal(0, 0.5, (100, 97)).astype(np.float32)
    whole = pair_model(op, ([1, 100, 97], [1]), "int8", constant=constant)
    if turned:
        whole.graph.node[1].input[:] = ["zf", "xf"]
    assert kinds(agree(whole, exact=False)) == [("tables", "near")]


def test_prelu_of_every_code_and_channel():
    slopes = np.linspace(-1.5, 1.5, 255).reshape(255, 1).astype(np.float32)
    whole = pair_model("PRelu", ([255, 256], [1]), "int8", constant=slopes, sizes=(0.05, 1, 0.07))
    codes = np.tile(np.arange(-128, 128, dtype=np.int8), (255, 1))
    graph = agree(whole, {"xq": codes}, exact=False)
    assert kinds(graph) == [("tables", "near")]


def test_gates_with_another_tensors_function():
    nodes = [q("x", "xq", "x"), q("z", "zq", "z"), dq("xq", "xf", "x"), dq("zq", "zf", "z"),
             node("Sigmoid", ["zf"], ["s"]), node("Mul", ["s", "xf"], ["f"]),
             q("f", "yq", "y"), dq("yq", "y", "y")]
    constants = scales(x=(0.03, np.uint8(120)), z=(0.05, np.uint8(131)), y=(0.04, np.uint8(100)))
    whole = model(nodes, constants, {"x": [1, 6, 8, 8], "z": [1, 6, 1, 1]})
    graph = agree(whole, exact=False)
    assert kinds(graph) == [("tables", "near")]


REFUSED = {
    "a function in between": ("Add", ALL, [node("Sigmoid", ["f0"], ["f"])], None,
                              "its input is the float result of Add; quantize it"),
    "divided by codes": ("Div", ALL, [], None, "codes from that in float for some codes"),
    "divides by zero": ("Div", ([4, 2], [1]), [], [0.0, 1.0], "codes from that in float"),
    "too many values": ("Add", ([2, 3000], [1]), [], np.arange(3000) / 20,
                        "codes from that in float for some codes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    op, shapes, behind, constant, told = REFUSED[case]
    constant = None if constant is None else np.float32(constant)
    whole = pair_model(op, shapes, "uint8", behind, constant)
    with pytest.raises(UnsupportedModel, match=told) as caught:
        agree(whole)
    assert "QuantizeLinear" not in str(caught.value)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("op", ["Sum", "Mean"])
def test_sums_of_more_than_two(op, coarse, dtype):
    """In 8 bits in between: within one code where their scale is not coarser than the result's,
    else golden-exact and noted."""
    kind, code = TYPES[dtype]
    y = {("Sum", False): 0.15, ("Mean", False): 0.06}.get((op, coarse), 0.01)
    constants = scales(x=(0.03, kind(40)), z=(0.05, kind(51)), y=(y, kind(30)))
    constants["three"] = RNG.normal(size=(4, 1)).astype(np.float32)
    inputs = {"xq": [2, 4, 5], "zq": [4, 5], "wq": [2, 1, 5]}
    nodes = [dq("xq", "xf", "x"), dq("zq", "zf", "z"), dq("wq", "wf", "x"),
             node(op, ["xf", "zf", "wf", "three"], ["f"], name="it"), q("f", "yq", "y"),
             dq("yq", "y", "y")]
    made = model(nodes, constants, inputs, types=dict.fromkeys(inputs, code))
    if not coarse:
        graph = agree(made, exact=False)
        assert {n.promise for n in graph.nodes} == {"near"}
        return
    graph = legalize(lower(made))
    assert {n.promise for n in graph.nodes} == {"golden"}
    assert any("codes apart" in note.text for note in graph.notes)
