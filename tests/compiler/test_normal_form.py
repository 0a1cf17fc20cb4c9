# SPDX-License-Identifier: Apache-2.0
"""What ONNX lets a model leave out or write in several ways changes nothing."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kiwicha.compiler.frontend.inputs import input_batch, random_inputs
from kiwicha.compiler.frontend.load import load_model
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.frontend.session import open_session
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import ModelError, UnsupportedModel

from .agree import agree
from .onnx_models import dq, model, node, q, scales

U8, S8, F32 = np.uint8, np.int8, np.float32
CONSTANTS = scales(x=(0.02, S8(0)), w=(0.01, S8(0)), a=(0.05, S8(0)), u=(0.02, U8(60))) | {
    "W": np.arange(-36, 36).reshape(4, 2, 3, 3).astype(S8),
    "M": np.arange(-12, 12).reshape(6, 4).astype(S8),
}
IMAGE = {"x": [1, 2, 5, 5]}


def bare(operator, source, target, key, **attributes):
    """QuantizeLinear or DequantizeLinear without a zero point."""
    return node(operator, [source, f"{key}_s"], [target], name=f"n_{target}", **attributes)


def given_answer(proto, inputs):
    """What ONNX Runtime makes of the model as it is, unoptimized."""
    return open_session(proto, ()).run(None, inputs)


def agrees_as_given(proto, exact=True, **options):
    """Compare with the lowered model, and with the one given: float sums round in one place."""
    graph = agree(proto, exact=exact, **options)
    lowered = lower(proto, options.get("batch"))
    inputs = random_inputs(lowered.inputs, 7)
    given = given_answer(lowered.source, inputs)
    found = given_answer(lowered.model, inputs)
    for one, other in zip(given, found, strict=True):
        assert one.shape == other.shape
        if exact:
            np.testing.assert_array_equal(one, other)
    return graph


def test_the_default_zero_point_has_the_type_of_the_input():
    nodes = [q("x", "xq", "x"), bare("DequantizeLinear", "xq", "xf", "x"),
             bare("DequantizeLinear", "W", "wf", "w"), node("Conv", ["xf", "wf"], ["c"]),
             q("c", "cq", "a"), bare("DequantizeLinear", "cq", "y", "a")]
    graph = agrees_as_given(model(nodes, CONSTANTS, IMAGE))
    assert [n.op for n in graph.nodes] == ["QLinearConv"]
    assert graph.nodes[0].y.dtype == S8


@pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.UINT8, 0])
def test_output_dtype(kind):
    """The attribute is what says it where there is no zero point; uint8 without."""
    given = {"output_dtype": kind} if kind else {}
    nodes = [bare("QuantizeLinear", "x", "xq", "x", **given),
             bare("DequantizeLinear", "xq", "xf", "x"), bare("DequantizeLinear", "W", "wf", "w"),
             node("Conv", ["xf", "wf"], ["c"]), bare("QuantizeLinear", "c", "cq", "a", **given),
             node("Flatten", ["cq"], ["f"]), bare("DequantizeLinear", "f", "y", "a")]
    graph = agrees_as_given(model(nodes, CONSTANTS, IMAGE, opset=21))
    assert graph.nodes[0].y.dtype == (S8 if kind == TensorProto.INT8 else U8)
    assert (graph.nodes[0].x.zero_point, graph.nodes[0].y.zero_point) == (0, 0)


def test_output_dtype_beside_a_zero_point():
    nodes = [node("QuantizeLinear", ["x", "x_s", "x_z"], ["xq"], output_dtype=TensorProto.INT8),
             dq("xq", "xf", "x"), node("Relu", ["xf"], ["r"]), q("r", "rq", "x"),
             dq("rq", "y", "x")]
    assert agrees_as_given(model(nodes, CONSTANTS, IMAGE, opset=21)).nodes[0].y.dtype == S8


@pytest.mark.parametrize("operator", ["QLinearAdd", "QLinearSigmoid", "QLinearLeakyRelu"])
def test_zero_points_that_integer_operators_leave_out(operator):
    """ONNX Runtime refuses the first as it is given, and ends the process with the others."""
    inputs = ["xq", "x_s", "", *(["xq", "a_s", ""] if operator == "QLinearAdd" else []), "a_s"]
    nodes = [q("x", "xq", "x"), node(operator, inputs, ["o"], name="it", domain="com.microsoft"),
             dq("o", "y", "a")]
    graph = agree(model(nodes, CONSTANTS, {"x": [4, 6]}))
    assert graph.nodes[0].y.dtype == S8


def linear(source, target):
    """A quantized matrix product from a float value to a float value."""
    names = [f"{target}_q", "x_s", "x_z", "M", "w_s", "w_z", "a_s", "a_z"]
    return [q(source, f"{target}_q", "x"), node("QLinearMatMul", names, [f"{target}_p"]),
            dq(f"{target}_p", target, "a")]


def listed(proto):
    """The same model with its constants among the inputs."""
    for tensor in proto.graph.initializer:
        proto.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    return proto


@pytest.mark.parametrize("version", [3, 8])
@pytest.mark.parametrize("among_inputs", [True, False])
def test_constants_may_be_listed_as_inputs(version, among_inputs, tmp_path):
    proto = model([q("x", "xq", "x"), dq("xq", "xf", "x"), dq("W", "wf", "w"),
                   node("Conv", ["xf", "wf"], ["c"]), q("c", "cq", "a"), dq("cq", "y", "a")],
                  CONSTANTS, {"x": ["N", 2, 5, 5]})
    proto.ir_version = version
    onnx.save(listed(proto) if among_inputs else proto, tmp_path / "model.onnx")
    graph = agree(load_model(tmp_path / "model.onnx"), batch=2)
    assert [value.name for value in graph.inputs] == ["x"]
    assert [n.op for n in graph.nodes] == ["QLinearConv"]


def test_the_batch_is_the_open_dimension_of_any_input():
    proto = model([*linear("b", "yb"), *linear("a", "ya")], CONSTANTS,
                  {"b": [1, 6], "a": ["N", 6]}, ("ya", "yb"))
    graph = agree(proto, batch=3)
    assert [value.shape for value in graph.inputs] == [(1, 6), (3, 6)]
    assert [value.batched for value in graph.inputs] == [False, True]
    arrays = {"b": np.zeros((1, 6), F32), "a": np.zeros((5, 6), F32)}
    assert input_batch(proto, arrays) == 5
    assert input_batch(proto, dict(reversed(arrays.items()))) == 5


def test_the_batch_may_come_before_the_input_that_shows_what_it_is():
    first = [node("Transpose", ["b"], ["t"], perm=[1, 0]), *linear("t", "yb")]
    proto = model([*first, *linear("a", "ya")], CONSTANTS, {"b": [6, "N"], "a": ["N", 6]},
                  ("ya", "yb"))
    assert [value.shape for value in lower(proto, 4).inputs] == [(6, 4), (4, 6)]


def test_an_input_without_a_shape():
    proto = model(linear("a", "y"), CONSTANTS, {"a": [2, 6]})
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelError, match="^input 'a' has no shape; only the batch may be open$"):
        lower(proto)


def test_the_scale_of_a_bias_may_be_subnormal():
    """It follows from those of input and weight, and nothing computes with it."""
    weight = np.array([0.01, 1e-37], F32)
    bias = {"w_s": weight, "w_z": np.zeros(2, S8), "b_s": F32(0.02) * weight,
            "b_z": np.zeros(2, np.int32), "B": np.array([64, 50], np.int32)}
    nodes = [q("x", "xq", "u"), dq("xq", "xf", "u"),
             node("DequantizeLinear", ["W", "w_s", "w_z"], ["wf"], axis=0),
             node("DequantizeLinear", ["B", "b_s", "b_z"], ["bf"], axis=0),
             node("Conv", ["xf", "wf", "bf"], ["c"]), q("c", "cq", "u"), dq("cq", "y", "u")]
    graph = agree(model(nodes, CONSTANTS | bias | {"W": CONSTANTS["W"][:2]}, IMAGE))
    assert graph.nodes[0].bias.tolist() == [64, 50]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_scale_of_a_bias_is_finite(value):
    bias = {"b_s": F32(value), "b_z": np.int32(0), "B": np.array([1] * 4, np.int32)}
    nodes = [q("x", "xq", "u"), dq("xq", "xf", "u"), dq("W", "wf", "w"), dq("B", "bf", "b"),
             node("Conv", ["xf", "wf", "bf"], ["c"]), q("c", "cq", "u"), dq("cq", "y", "u")]
    with pytest.raises(UnsupportedModel, match=r"'d_bf' \(Deq.*: scale 'b_s' is not finite$"):
        legalize(lower(model(nodes, CONSTANTS | bias, IMAGE)))


def test_sum_of_two_is_add():
    nodes = [*linear("a", "c"), *linear("b", "d"), q("c", "cq", "a"), dq("cq", "cf", "a"),
             q("d", "dq", "x"), dq("dq", "df", "x"), node("Sum", ["cf", "df"], ["s"], name="sum"),
             q("s", "sq", "a"), dq("sq", "y", "a")]
    graph = agree(model(nodes, CONSTANTS, {"a": [3, 6], "b": [3, 6]}), exact=False)
    assert (graph.nodes[-1].op, graph.nodes[-1].promise) == ("QLinearAdd", "near")
    assert {n.promise for n in graph.nodes[:-1]} == {"runtime"}
    text = "lowered by kiwicha: Sum of two as Add, which ONNX Runtime leaves in float; at most one"
    assert [n.text[: len(text)] for n in graph.notes if n.node == "sum"] == [text]


def test_an_operator_that_onnx_runtime_writes_out():
    """Swish becomes Mul and Sigmoid, and a Cast of a constant."""
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"), node("Swish", ["xf"], ["s"], name="swish"),
             q("s", "sq", "a"), dq("sq", "y", "a")]
    proto = model(nodes, CONSTANTS, IMAGE, opset=24)
    proto.ir_version = 11
    graph = agrees_as_given(proto)
    assert [n.kind for n in graph.nodes] == ["table"]


def test_an_integer_graph_is_no_float_model():
    kinds = dict.fromkeys(("x", "y"), TensorProto.UINT8)
    graph = agree(model([node("MaxPool", ["x"], ["y"], name="pool", kernel_shape=[2, 2])], {},
                        IMAGE, types=kinds))
    assert [n.op for n in graph.nodes] == ["MaxPool"]


def test_constants_of_other_forms():
    """The values of Constant nodes, and what follows from them."""
    nodes = [node("Constant", [], ["k"], value_float=2.0), node("Neg", ["k"], ["n"]),
             q("x", "xq", "x"), dq("xq", "xf", "x"), node("Mul", ["xf", "n"], ["m"]),
             q("m", "mq", "a"), dq("mq", "y", "a")]
    assert [n.kind for n in agree(model(nodes, CONSTANTS, IMAGE)).nodes] == ["table"]


def test_the_type_of_a_constant_may_be_that_of_another_value():
    """CastLike, as functions of ONNX write their constants, quantized."""
    nodes = [q("x", "xq", "x"), dq("xq", "f", "x"), dq("code", "half", "a"),
             node("CastLike", ["half", "f"], ["h"]),
             node("Mul", ["f", "h"], ["m"]), q("m", "mq", "a"), dq("mq", "y", "a")]
    graph = agree(model(nodes, CONSTANTS | {"code": S8(10)}, IMAGE))
    assert len(graph.nodes) == 1
