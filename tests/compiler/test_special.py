# SPDX-License-Identifier: Apache-2.0
"""Tables, sums, softmax, masks, normalization and products of activations, by hand: equal to ONNX
Runtime, or refused by name."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import ProductNode, SoftmaxNode, TableNode
from kiwicha.compiler.graph.layout import ROW_MAJOR, channels_last
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.compiler.schedule.broadcast import meetings
from kiwicha.errors import UnsupportedModel
from kiwicha.golden.network import evaluate
from kiwicha.sim.reference import node_reference

from .agree import agree
from .onnx_models import dq, model, node, q, scales

rng = np.random.RandomState(9)
U8, S8 = np.uint8, np.int8
SHAPE = {"x": [2, 3, 7]}
CONSTANTS = scales(
    x=(0.03, U8(120)), a=(0.041, U8(99)), b=(0.043, U8(7)), s=(0.03, S8(-5)), t=(0.05, S8(4)),
    p=(1 / 256, U8(0)), fine=(1e-7, U8(3)),
) | {
    "half": np.float32(0.5), "three": np.float32([3]), "low": np.float32(-9),
    "below": np.float32(-6), "above": np.float32(6),
    "vector": np.ones(7, np.float32), "code": U8(200), "codes": rng.randint(0, 256, 7).astype(U8),
    "mask": rng.rand(3, 7) < 0.6, "gamma": np.ones(7, np.float32), "shape": np.array([6, 7]),
}
MICROSOFT = {"domain": "com.microsoft"}


def check(nodes, shapes=SHAPE, outputs=("y",), *, exact=True, **rest):
    return agree(model(nodes, CONSTANTS, shapes, outputs, **rest), exact=exact)


def kinds(graph):
    return [node.kind for node in graph.nodes]


def chain(*middle, last="f", keys="xa"):
    """Float operators between a quantized graph input and a quantized output."""
    first, end = keys
    return [q("x", "xq", first), dq("xq", "f0", first), *middle, q(last, "yq", end),
            dq("yq", "y", end)]


UNARY = {
    "sigmoid": [node("Sigmoid", ["f0"], ["f"])],
    "tanh": [node("Tanh", ["f0"], ["f"])],
    "leaky_relu": [node("LeakyRelu", ["f0"], ["f"], alpha=0.2)],
    "elu": [node("Elu", ["f0"], ["f"])],
    "product": [node("Mul", ["f0", "half"], ["f"])],
    "quotient": [node("Div", ["f0", "three"], ["f"])],
    "inverse": [node("Div", ["three", "f0"], ["e"]), node("Clip", ["e", "low", "half"], ["f"])],
    "square": [node("Mul", ["f0", "f0"], ["f"])],
    "softplus": [node("Softplus", ["f0"], ["f"])],
    "swish": [node("Sigmoid", ["f0"], ["e"]), node("Mul", ["e", "f0"], ["f"])],
    "hard_swish": [node("HardSwish", ["f0"], ["f"])],
    "gelu_erf": [node("Div", ["f0", "three"], ["e"]), node("Erf", ["e"], ["g"]),
                 node("Add", ["g", "half"], ["h"]), node("Mul", ["f0", "h"], ["f"])],
    "gelu_contrib": [node("Gelu", ["f0"], ["f"], **MICROSOFT)],
    "quick_gelu": [node("QuickGelu", ["f0"], ["f"], **MICROSOFT)],
    "fast_gelu": [node("FastGelu", ["f0"], ["f"], **MICROSOFT)],
    "relu_inside": [node("Relu", ["f0"], ["e"]), node("Sqrt", ["e"], ["f"])],
    "transposed": [node("Transpose", ["f0"], ["e"], perm=[0, 2, 1]), node("Tanh", ["e"], ["f"])],
    "reshaped": [node("Exp", ["f0"], ["e"]), node("Reshape", ["e", "shape"], ["f"])],
}


@pytest.mark.parametrize("keys", ["xa", "st"])
@pytest.mark.parametrize("name", UNARY)
def test_elementwise_functions_are_tables(name, keys):
    graph = check(chain(*UNARY[name], keys=keys))
    assert [k for k in kinds(graph) if k != "view"] == ["table"]
    assert all(isinstance(n, TableNode) == (n.kind == "table") for n in graph.nodes)


def test_a_pooling_may_follow():
    nodes = chain(node("Tanh", ["f0"], ["e"]), node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2]))
    assert kinds(check(nodes, {"x": [1, 2, 4, 5]})) == ["table", "pool"]


def test_a_table_may_change_the_type():
    graph = check(chain(node("Tanh", ["f0"], ["f"]), keys="xt"))
    assert graph.nodes[0].y.dtype == np.int8


@pytest.mark.parametrize("operator", ["QLinearSigmoid", "QLinearLeakyRelu"])
def test_integer_functions_are_tables(operator):
    nodes = [q("x", "xq", "x"), node(operator, ["xq", "x_s", "x_z", "a_s", "a_z"], ["yq"],
                                     **MICROSOFT), dq("yq", "y", "a")]
    assert kinds(check(nodes)) == ["table"]


def test_what_the_requantizer_can_do_is_no_table():
    assert kinds(check(chain(node("Relu", ["f0"], ["f"])))) == ["pool"]


def test_tables_of_tables_of_one_tensor_are_one():
    """x * sigmoid(x) with everything quantized in between."""
    nodes = [q("x", "xq", "x"),
             node("QLinearSigmoid", ["xq", "x_s", "x_z", "p_s", "p_z"], ["sq"], **MICROSOFT),
             node("QLinearMul", ["xq", "x_s", "x_z", "sq", "p_s", "p_z", "a_s", "a_z"], ["mq"],
                  **MICROSOFT),
             node("QLinearAdd", ["code", "b_s", "b_z", "mq", "a_s", "a_z", "a_s", "a_z"], ["yq"],
                  **MICROSOFT), dq("yq", "y", "a")]
    graph = check(nodes)
    assert [n.op for n in graph.nodes] == ["QLinearSigmoid+QLinearMul+QLinearAdd"]


def test_hard_swish_with_everything_quantized_is_one_table():
    """x * Clip(x + 3, 0, 6) / 6; the clip alone is no table."""

    def both(name, key):
        return [q(name, f"{name}q", key), dq(f"{name}q", f"{name}f", key)]

    constants = CONSTANTS | {"zero": np.float32(0)}
    nodes = [q("x", "xq", "x"), dq("xq", "f0", "x"), node("Add", ["f0", "three"], ["t"]),
             *both("t", "a"), node("Clip", ["tf", "zero", "above"], ["u"]), *both("u", "b"),
             node("Mul", ["f0", "uf"], ["v"]), *both("v", "a"), node("Div", ["vf", "above"], ["f"]),
             q("f", "yq", "b"), dq("yq", "y", "b")]
    graph = agree(model(nodes, constants, SHAPE))
    assert [n.op for n in graph.nodes] == ["Add+Clip+QLinearMul+Div"]


def add(first, second, keys="xab", target="yq", operator="QLinearAdd"):
    a, b, y = keys
    names = [first, f"{a}_s", f"{a}_z", second, f"{b}_s", f"{b}_z", f"{y}_s", f"{y}_z"]
    return node(operator, names, [target], name="sum", **MICROSOFT)


SUMS = [([1, 1], [1, 1]), ([2, 3, 7], [2, 3, 7]), ([2, 3, 7], [3, 7]),
        ([2, 3, 7], [1, 1, 7]), ([7], [2, 3, 7]), ([2, 3, 7], [2, 3, 1]),
        ([2, 3, 4, 5], [2, 3, 4, 5]), ([2, 3, 4, 5], [1, 3, 1, 1]),
        ([2, 3, 1, 1], [2, 3, 4, 5]), ([3, 1, 1], [2, 3, 4, 5]), ([2, 1, 4, 5], [2, 3, 4, 5]),
        ([2, 3, 4, 5], [1, 4, 1]), ([2, 3, 1], [2, 1, 7]), ([2, 3, 1, 1], [1, 1, 4, 5]),
        ([2, 3, 4, 5], [3, 4, 5]), ([2, 1, 1, 1], [2, 3, 4, 5]), ([3, 7], [1, 1, 1])]


@pytest.mark.parametrize("operator", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize("shapes", SUMS, ids=str)
@pytest.mark.parametrize("constant", [0, 1, 2])
def test_pairs_equal_onnx_runtime(shapes, constant, operator):
    """Of two activations (0), or with a constant in either place."""
    inputs = {"x": shapes[0], "z": shapes[1]}
    nodes = [q("x", "xq", "x"), q("z", "zq", "a"), add("xq", "zq", operator=operator),
             dq("yq", "y", "b")]
    constants = dict(CONSTANTS)
    if constant:
        given = "xz"[constant - 1]
        values = rng.randint(0, 256, inputs.pop(given)).astype(U8)
        constants[f"{given}q"] = values
        nodes = [n for n in nodes if n.output[0] != f"{given}q"]
    whole = model(nodes, constants, inputs)
    graph = agree(whole)
    (node_,) = graph.nodes
    if constant and shapes == ([1, 1], [1, 1]):
        assert node_.kind == "table"
        return
    assert node_.kind == operator[-3:].lower()
    assert len(node_.inputs) == 2 - bool(constant)
    assert sum(met.rows * met.length for met in meetings(node_)) == node_.y.size


@pytest.mark.parametrize("shape", [(256, 256), (256, 1), (1, 256)])
@pytest.mark.parametrize("place", [0, 1])
def test_sums_are_taken_in_the_runtimes_order(shape, place):
    """Scales for which halves are rounded by the order, and all pairs of codes."""
    codes = np.arange(256, dtype=U8)
    values = np.broadcast_to(codes[:, None] if shape[0] > 1 else codes, shape)
    names = ["cq", "xq"] if place == 0 else ["xq", "cq"]
    constants = scales(k=(0.1, U8(5)), l=(0.05, U8(7)), m=(0.3, U8(9))) | {"cq": values}
    keys = "lkm" if place == 0 else "klm"
    given = np.broadcast_to(codes[:, None] if shape[0] == 1 else codes, (256, 256))
    types = {"xq": TensorProto.UINT8}
    nodes = [add(*names, keys), dq("yq", "y", "m")]
    whole = model(nodes, constants, {"xq": [256, 256]}, types=types)
    graph = agree(whole, {"xq": np.ascontiguousarray(given)})
    (node_,) = graph.nodes
    right = evaluate(graph, {"xq": given})["yq"]
    wrong = replace(graph, nodes=(replace(node_, z_first=not node_.z_first),))
    assert not np.array_equal(evaluate(wrong, {"xq": given})["yq"], right)


def test_sums_of_images_lie_as_the_images_do():
    weight = scales(w=(0.02, S8(0))) | {"W": rng.randint(-9, 9, (3, 3, 1, 1)).astype(S8)}
    nodes = [q("x", "xq", "x"),
             node("QLinearConv", ["xq", "x_s", "x_z", "W", "w_s", "w_z", "a_s", "a_z"], ["cq"]),
             add("xq", "cq"), dq("yq", "y", "b")]
    graph = agree(model(nodes, CONSTANTS | weight, {"x": [2, 3, 4, 5]}))
    assert {n.layout for n in (graph.nodes[1].x, graph.nodes[1].z)} == {channels_last(4)}


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axis", [-1, 2])
def test_softmax(axis, opset):
    names = ["xq", "x_s", "x_z", "p_s", "p_z"]
    nodes = [q("x", "xq", "x"),
             node("QLinearSoftmax", names, ["yq"], axis=axis, opset=opset, **MICROSOFT),
             dq("yq", "y", "p")]
    graph = check(nodes)
    assert isinstance(graph.nodes[0], SoftmaxNode)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("keys", "count"), [("xx", 1), ("xa", 2), ("st", 2)])
def test_masks_in_float(swapped, keys, count):
    operands = ["mask", "low", "f0"] if swapped else ["mask", "f0", "low"]
    graph = check(chain(node("Where", operands, ["f"], name="mask"), keys=keys))
    assert kinds(graph) == ["table", "add"][-count:]
    assert graph.nodes[-1].z.shape == (1, 3, 7)


@pytest.mark.parametrize(("fill", "bounds"), [("below", (-116, 127)), ("above", (-128, 124))])
def test_masks_clamp_to_what_they_fill_with(fill, bounds):
    graph = check(chain(node("Where", ["mask", "f0", fill], ["f"]), keys="st"))
    assert (graph.nodes[1].low, graph.nodes[1].high) == bounds


def test_masks_in_integers():
    nodes = [q("x", "xq", "x"),
             node("QLinearWhere", ["mask", "xq", "x_s", "x_z", "code", "b_s", "b_z", "a_s", "a_z"],
                  ["yq"], name="mask", **MICROSOFT), dq("yq", "y", "a")]
    among = agree(model(nodes, CONSTANTS | {"code": U8(20)}, SHAPE))
    assert kinds(among) == ["table", "add", "table"]
    graph = agree(model(nodes, CONSTANTS, SHAPE))
    assert kinds(graph) == ["table", "add"]
    assert (graph.nodes[1].low, graph.nodes[1].high) == (0, 255)


@pytest.mark.parametrize("bias", [False, True])
def test_normalization(bias):
    inner = node("LayerNormalization", ["f0", "gamma", *["vector"] * bias], ["f"], name="norm")
    lowered = lower(model(chain(inner), CONSTANTS, {"x": [4, 7]}))
    graph = legalize(lowered)
    assert kinds(graph) == ["normalize"]
    assert graph.nodes[0].promise == "golden"
    assert np.array_equal(graph.nodes[0].beta, np.full(7, bias))
    assert "golden-exact" in graph.notes[0].text
    x = rng.standard_normal((4, 7)).astype(np.float32)
    tensors = evaluate(graph, {"x": x})
    runtime = node_reference(lowered, graph, graph.nodes[0], tensors)
    assert np.abs(runtime.astype(int) - tensors["yq"]).max() <= 1


def product(first, second, keys="xab"):
    a, b, y = keys
    names = [first, f"{a}_s", f"{a}_z", second, f"{b}_s", f"{b}_z", f"{y}_s", f"{y}_z"]
    return node("QLinearMatMul", names, ["yq"], name="product")


@pytest.mark.parametrize("keys", ["xab", "sts"])
@pytest.mark.parametrize(
    "shapes", [([3, 4], [4, 5]), ([2, 3, 4], [2, 4, 5]), ([2, 3, 4], [4, 5]), ([3, 1], [2, 1, 5]),
               ([2, 1, 3, 4], [3, 4, 5])], ids=str,
)
def test_products_of_activations(shapes, keys):
    nodes = [q("x", "xq", keys[0]), q("z", "zq", keys[1]), product("xq", "zq", keys),
             dq("yq", "y", keys[2])]
    graph = check(nodes, {"x": shapes[0], "z": shapes[1]})
    assert isinstance(graph.nodes[0], ProductNode)
    assert graph.nodes[0].y.layout == ROW_MAJOR


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_with_itself(transposed):
    nodes = [q("x", "xq", "x"), product("xq", "tq" if transposed else "xq", "xxb"),
             dq("yq", "y", "b")]
    if transposed:
        tensors = {"xq": TensorProto.UINT8}
        nodes[:1] = [node("Transpose", ["xq"], ["tq"], perm=[0, 2, 1])]
        graph = check(nodes, {"xq": [2, 5, 4]}, types=tensors)
        assert graph.nodes[-1].z.strides == (20, 1, 4)
    else:
        check(nodes, {"x": [2, 4, 4]})


REFUSALS = {
    "constant_first": (
        [q("x", "xq", "x"), product("codes", "xq"), dq("yq", "y", "b")], {"x": [7, 4]},
        "'product' (QLinearMatMul): the first operand is a constant; transpose the product"),
    "vector_in_float": (
        chain(node("Pow", ["f0", "vector"], ["f"], name="pow")), SHAPE,
        "'pow' (Pow): constant 'vector' has shape [7]: a function for each channel or place, and "
        "the machine has one table for the whole tensor; use one value"),
    "two_in_float": (
        [q("x", "xq", "x"), q("z", "zq", "a"), dq("xq", "f0", "x"), dq("zq", "f1", "a"),
         node("Pow", ["f0", "f1"], ["f"], name="pow"), q("f", "yq", "b"), dq("yq", "y", "b")],
        {"x": [4], "z": [4]},
         "'pow' (Pow): combines 'xq' and 'zq'; only one activation may vary"),
    "normalized_finely": (
        [q("x", "xq", "x"), dq("xq", "f0", "fine"),
         node("LayerNormalization", ["f0", "gamma"], ["f"], name="norm"), q("f", "yq", "a"),
         dq("yq", "y", "a")], SHAPE,
        "'q_yq' (QuantizeLinear): epsilon / x_scale^2 is 999999951.3"),
    "codes_as_bits": (
        [q("x", "xq", "x"), node("BitShift", ["xq", "xa"], ["a"], name="it", direction="LEFT"),
         dq("a", "y", "x")], {"x": [2, 3]},
        "'it' (BitShift): the machine has no such operation"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    nodes, inputs, line = REFUSALS[name]
    with pytest.raises(UnsupportedModel) as caught:
        constants = CONSTANTS | {"xa": U8([3])}
        legalize(lower(model(nodes, constants, inputs)))
    found, told = str(caught.value), f"1 node cannot be mapped\n  {line}"
    assert found.startswith(told) if name == "normalized_finely" else found == told
