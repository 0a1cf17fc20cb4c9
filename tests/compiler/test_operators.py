# SPDX-License-Identifier: Apache-2.0
"""Models written by hand: what the quantizer never writes but ONNX allows, and every refusal."""

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError, UnsupportedModel

from .agree import agree
from .onnx_models import dq, model, node, q, scales

rng = np.random.RandomState(5)
U8, S8 = np.uint8, np.int8
WEIGHT = rng.randint(-127, 128, (6, 3, 3, 3)).astype(S8)
MATRIX = rng.randint(-127, 128, (6, 5)).astype(S8)
CONSTANTS = scales(
    x=(0.03, U8(120)), w=(0.02, S8(0)), v=(0.02, S8(0)), a=(0.1, U8(130)), b=(0.043, U8(7)),
    c=(0.1, S8(2)),
) | {"W": WEIGHT, "M": MATRIX}
IMAGE = {"x": [2, 3, 8, 8]}


def conv(source="xq", target="aq", **attributes):
    names = [source, "x_s", "x_z", "W", "w_s", "w_z", "a_s", "a_z"]
    return node("QLinearConv", names, [target], name="conv", **attributes)


def matmul(source, target, key):
    names = [source, f"{key}_s", f"{key}_z", "M", "v_s", "v_z", "b_s", "b_z"]
    return node("QLinearMatMul", names, [target], name="matmul")


def relu(source, target):
    return node("Relu", [source], [target], name="relu")


def pool(source, target, **attributes):
    return node("MaxPool", [source], [target], name="pool", kernel_shape=[2, 2], **attributes)


def check(nodes, constants=CONSTANTS, inputs=IMAGE, outputs=("y",), *, exact=True, **rest):
    return agree(model(nodes, constants, inputs, outputs, **rest), exact=exact)


def operators(graph):
    return [node.op for node in graph.nodes]


def test_relu_between_different_scales_is_a_second_requantization():
    graph = check([q("x", "xq", "x"), conv(), dq("aq", "a", "a"), relu("a", "r"),
                   q("r", "bq", "b"), dq("bq", "y", "b")])
    assert operators(graph) == ["QLinearConv", "Relu"]
    assert graph.nodes[1].low == 7
    assert graph.nodes[1].scale == np.float32(0.1) / np.float32(0.043)
    assert [(n.node, n.text[:19]) for n in graph.notes] == [("q_bq", "lowered by kiwicha:")]


def test_relu_that_changes_the_type_is_fused_where_the_scale_stays():
    graph = check([q("x", "xq", "x"), conv(), dq("aq", "a", "a"), relu("a", "r"),
                   q("r", "cq", "c"), dq("cq", "y", "c")])
    assert operators(graph) == ["QLinearConv+Relu"]
    assert (graph.nodes[0].low, graph.nodes[0].high, graph.nodes[0].y.zero_point) == (2, 127, 2)


def test_change_of_scale_alone():
    graph = check([q("x", "xq", "x"), conv(), dq("aq", "a", "a"), q("a", "bq", "b"),
                   dq("bq", "y", "b")])
    assert operators(graph) == ["QLinearConv", "Requantize"]


def test_clamp_is_not_fused_where_somebody_else_reads():
    graph = check([q("x", "xq", "x"), conv(), dq("aq", "a", "a"), relu("a", "r"),
                   q("r", "cq", "c"), dq("cq", "y", "c"), dq("aq", "z", "a")],
                  outputs=("y", "z"))
    assert operators(graph) == ["QLinearConv", "Relu"]


def test_clamp_is_not_fused_where_a_graph_output_is_read_on():
    graph = check([q("x", "xq", "x"), conv(), dq("aq", "a", "a"), relu("a", "y"),
                   q("y", "bq", "b"), dq("bq", "z", "b")], outputs=("y", "z"))
    assert operators(graph) == ["QLinearConv", "Relu", "Relu"]


def test_clamp_is_not_fused_under_another_zero_point():
    graph = check([q("x", "xq", "x"), conv(), dq("aq", "a", "d"), relu("a", "r"),
                   q("r", "bq", "d"), dq("bq", "y", "d")],
                  CONSTANTS | scales(d=(0.1, U8(90))))
    assert operators(graph) == ["QLinearConv", "Relu"]
    assert graph.nodes[1].low == 90


def test_two_quantizations_of_one_float_chain():
    graph = check([q("x", "xq", "x"), conv(), dq("aq", "a", "a"), relu("a", "r"), pool("r", "p"),
                   q("p", "bq", "b"), dq("bq", "y", "b"), q("p", "cq", "c"), dq("cq", "z", "c")],
                  outputs=("y", "z"))
    assert operators(graph) == ["QLinearConv", "MaxPool+Relu", "MaxPool+Relu"]
    assert len({node.name for node in graph.nodes}) == 3


def test_float_pool_relu_and_views_before_the_first_quantization():
    graph = check([node("Reshape", ["x", "shape"], ["s"]), pool("s", "p"), relu("p", "r"),
                   q("r", "xq", "x"), conv(), dq("aq", "y", "a")],
                  CONSTANTS | {"shape": np.array([0, 3, 8, -1])}, {"x": ["N", 192]})
    assert operators(graph) == ["MaxPool+Relu", "QLinearConv"]
    assert graph.quantize[0].view.steps == (("reshape", (1, 3, 8, 8)),)


def test_float_relu_pool_and_flatten_after_the_last_dequantization():
    graph = check([q("x", "xq", "x"), conv(), dq("aq", "a", "a"), relu("a", "r"), pool("r", "p"),
                   node("Flatten", ["p"], ["y"])])
    assert operators(graph) == ["QLinearConv+Relu", "MaxPool", "Flatten"]


def test_clip_at_the_end_between_codes_is_noted():
    graph = check([q("x", "xq", "x"), conv(), dq("aq", "a", "a"),
                   node("Clip", ["a", "low", "high"], ["y"], name="clip")],
                  CONSTANTS | {"low": np.float32(-0.33), "high": np.float32(1.27)})
    values = graph.dequantize[0].values
    assert (values.min(), values.max()) == (np.float32(-0.33), np.float32(1.27))
    assert graph.notes[0].text == "lowered by kiwicha: Clip in float, limits applied by the host"


def test_integer_inputs_and_outputs():
    kinds = {"xq": TensorProto.UINT8, "aq": TensorProto.UINT8}
    graph = check([conv()], inputs={"xq": [2, 3, 8, 8]}, outputs=("aq",), types=kinds)
    assert (graph.quantize, graph.dequantize) == ((), ())
    assert [t.name for t in graph.input_tensors] == ["xq"]
    assert [t.name for t in graph.output_tensors] == ["aq"]


def test_matmul_after_a_transpose_reads_channels_last_memory():
    graph = check([q("x", "xq", "x"), conv(), node("Transpose", ["aq"], ["t"], perm=[0, 2, 3, 1]),
                   matmul("t", "m", "a"), dq("m", "y", "b")])
    assert operators(graph) == ["QLinearConv", "Transpose", "QLinearMatMul"]


@pytest.mark.parametrize("shape", [[6], [1, 6], [4, 6], [3, 4, 6], [2, 3, 4, 6]])
def test_matmul_of_any_rank(shape):
    graph = check([q("x", "xq", "x"), matmul("xq", "m", "x"), dq("m", "y", "b")],
                  inputs={"x": shape})
    assert graph.nodes[0].rows == np.prod(shape[:-1], dtype=int)


def test_matmul_by_a_vector():
    check([q("x", "xq", "x"), matmul("xq", "m", "x"), dq("m", "y", "b")],
          CONSTANTS | {"M": MATRIX[:, 0]}, {"x": [4, 6]})


@pytest.mark.parametrize(("left", "right"), [([5], [5]), ([5], [2, 5, 3]), ([2, 3, 5], [5])])
def test_products_with_vectors(left, right):
    """Of two activations, either or both of one dimension."""
    constants = CONSTANTS | scales(z=(0.04, np.uint8(70)))
    product = ["xq", "x_s", "x_z", "zq", "z_s", "z_z", "b_s", "b_z"]
    graph = check([q("x", "xq", "x"), q("z", "zq", "z"),
                   node("QLinearMatMul", product, ["m"], name="it"), dq("m", "y", "b")],
                  constants, {"x": left, "z": right})
    assert "product" in operators(graph) or any(n.kind == "product" for n in graph.nodes)


def test_size_and_shape_are_constants():
    """Of what the machine computes, read by nothing that it does."""
    nodes = [q("x", "xq", "x"), dq("xq", "y", "x"), node("Size", ["y"], ["n"]),
             node("Shape", ["y"], ["s"])]
    types = dict.fromkeys("ns", TensorProto.INT64)
    check(nodes, outputs=("y", "n", "s"), types=types)


@pytest.mark.parametrize("pads", [[0, 0], [1, 2]])
def test_one_dimensional_convolution_and_pool(pads):
    graph = check([q("x", "xq", "x"), conv(strides=[2], pads=pads, dilations=[2]),
                   node("MaxPool", ["aq"], ["p"], kernel_shape=[3], pads=[1, 1]),
                   dq("p", "y", "a")],
                  CONSTANTS | {"W": WEIGHT[:, :, 0]}, {"x": [2, 3, 17]})
    assert graph.nodes[0].x.image == (2, 3, 1, 17)
    assert graph.nodes[0].kernel == (1, 3)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 1), (3, 2), (2, 3), (1, 2)])
def test_auto_pad(mode, kernel, stride):
    weight = rng.randint(-127, 128, (2, 3, kernel, kernel)).astype(S8)
    check([q("x", "xq", "x"), conv(auto_pad=mode, strides=[stride] * 2),
           node("MaxPool", ["aq"], ["p"], kernel_shape=[2, 2], auto_pad=mode), dq("p", "y", "a")],
          CONSTANTS | {"W": weight}, {"x": [1, 3, 9, 8]})


@pytest.mark.parametrize("size", range(4, 12))
@pytest.mark.parametrize("pads", [[0] * 4, [1, 0, 1, 1], [0, 1, 0, 1]])
def test_ceil_mode(size, pads):
    check([q("x", "xq", "x"), node("MaxPool", ["xq"], ["p"], name="pool", kernel_shape=[3, 2],
           strides=[3, 3], pads=pads, ceil_mode=1), dq("p", "y", "x")],
          inputs={"x": [1, 2, size, size + 1]})


def test_batch_in_a_computed_shape():
    nodes = [q("x", "xq", "x"), conv(), node("Shape", ["aq"], ["s"]),
             node("Gather", ["s", "zero"], ["g"]), node("Unsqueeze", ["g", "axis"], ["u"]),
             node("Concat", ["u", "rest"], ["shape"], axis=0),
             node("Reshape", ["aq", "shape"], ["r"]), dq("r", "y", "a")]
    constants = {"zero": np.int64(0), "axis": np.array([0]), "rest": np.array([-1])}
    graph = agree(model(nodes, CONSTANTS | constants, {"x": ["N", 3, 8, 8]}), batch=3)
    assert graph.outputs[0].shape == (3, 216)


REFUSALS = {
    "float_gemm_output": (
        [q("x", "xq", "x"), node("QGemm", ["xq", "x_s", "x_z", "M", "v_s", "v_z"], ["y"],
                                 name="fc", domain="com.microsoft")], {"x": [4, 6]},
        "'fc' (com.microsoft.QGemm): its output is float; quantize it"),
    "channels_last": (
        [q("x", "xq", "x"), node("QLinearConv", ["xq", "x_s", "x_z", "W", "w_s", "w_z", "a_s",
                                                 "a_z"], ["aq"], name="conv", channels_last=1,
                                 domain="com.microsoft"), dq("aq", "y", "a")], {"x": [1, 8, 8, 3]},
        "'conv' (com.microsoft.QLinearConv): channels_last=1; give the model as it was before "
        "layout optimization"),
    "float_to_the_end": (
        [q("x", "xq", "x"), conv(), dq("aq", "y", "a"), node("Flatten", ["x"], ["z"])], IMAGE,
        "'z' (graph output): is float all the way from the graph input; quantize it"),
    "window_of_padding": (
        [q("x", "xq", "x"), node("MaxPool", ["xq"], ["p"], name="pool", kernel_shape=[2, 2],
                                 pads=[1, 1, 1, 1], dilations=[9, 9]), dq("p", "y", "x")],
        {"x": [1, 1, 8, 8]}, "'pool' (MaxPool): a window lies in the padding altogether"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    nodes, inputs, line = REFUSALS[name]
    outputs = ("y", "z") if name == "float_to_the_end" else ("y",)
    with pytest.raises(UnsupportedModel) as caught:
        legalize(lower(model(nodes, CONSTANTS, inputs, outputs)))
    assert str(caught.value) == f"1 node cannot be mapped\n  {line}"


def test_three_dimensional_convolution_is_refused():
    weight = rng.randint(-9, 9, (2, 3, 3, 3, 3)).astype(S8)
    nodes = [q("x", "xq", "x"), conv(), dq("aq", "y", "a")]
    with pytest.raises(KiwichaError) as caught:
        legalize(lower(model(nodes, CONSTANTS | {"W": weight}, {"x": [1, 3, 7, 7, 7]})))
    assert str(caught.value).endswith("is 3-D; the machine has 1-D and 2-D windows")


def test_every_refused_node_is_listed():
    nodes = [q("x", "xq", "x"), conv(), dq("aq", "a", "a"),
             node("Softmax", ["a"], ["s"], name="soft"), q("s", "bq", "b"),
             node("Det", ["a"], ["m"], name="top"),
             node("Add", ["m", "s"], ["n"], name="sum"), node("Neg", ["x"], ["g"], name="neg"),
             dq("bq", "y", "b")]
    with pytest.raises(UnsupportedModel) as caught:
        legalize(lower(model(nodes, CONSTANTS, {"x": [1, 3, 8, 8]}, ("y", "n", "g"))))
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 nodes cannot be mapped"
    assert sorted(lines[1:]) == [
        "  'g' (graph output): is float all the way from the graph input; quantize it",
        "  'soft' (Softmax): stays in float, since its output 's' is also read in float; put "
        "QuantizeLinear and DequantizeLinear there",
        "  'top' (Det): the machine has no such operation",
    ]


def test_combined_scale_must_be_finite():
    nodes = [q("x", "xq", "x"), conv(), dq("aq", "y", "a")]
    constants = CONSTANTS | {"w_s": np.float32(1e31), "a_s": np.float32(1e-10)}
    pattern = r"'conv' .*: input scale \* weight scale / output scale is inf; must be positive"
    with pytest.raises(UnsupportedModel, match=pattern):
        legalize(lower(model(nodes, constants, IMAGE)))


def test_channels_without_weight_have_their_zero_point():
    """Combined scales that are denormal or 0: no sum reaches half a code, whatever the bias."""
    each = np.array([0.02, 1e-36, 0.02, 1e-38 * 2, 3e-30, 0.02], np.float32)
    constants = CONSTANTS | {
        "w_s": each, "w_z": np.zeros(6, S8), "a_s": np.float32(1e4),
        "bias": np.array([5, -2**30, 0, 2**30, 7, 0], np.int32),
    }
    made = conv()
    made.input.append("bias")
    agree(model([q("x", "xq", "x"), made, dq("aq", "y", "a")], constants, IMAGE))


VIEWS = {
    "squeeze_all": node("Squeeze", ["p"], ["v"]),
    "squeeze_axes": node("Squeeze", ["p", "axes"], ["v"]),
    "unsqueeze": node("Unsqueeze", ["p", "axes"], ["v"]),
    "flatten_0": node("Flatten", ["p"], ["v"], axis=0),
    "flatten_negative": node("Flatten", ["p"], ["v"], axis=-1),
    "reshape_zero": node("Reshape", ["p", "zero_rest"], ["v"]),
    "transpose": node("Transpose", ["p"], ["v"], perm=[0, 3, 1, 2]),
    "transpose_reversed": node("Transpose", ["p"], ["v"]),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_at_the_end(name):
    """6 x 8 convolution outputs pooled to one row: dimensions of one to squeeze."""
    constants = CONSTANTS | {"axes": np.array([-2]), "zero_rest": np.array([0, 2, -1])}
    nodes = [q("x", "xq", "x"), conv(), node("MaxPool", ["aq"], ["p"], kernel_shape=[6, 1]),
             VIEWS[name], dq("v", "y", "a")]
    graph = check(nodes, constants, {"x": [1, 3, 8, 8]})
    assert operators(graph)[-1] == VIEWS[name].op_type


@pytest.mark.parametrize("operator", ["Squeeze", "Unsqueeze"])
def test_axes_as_an_attribute(operator):
    nodes = [node("QLinearMatMul", ["x", "x_s", "x_z", "M", "v_s", "v_z", "b_s", "b_z"], ["m"]),
             node(operator, ["m"], ["y"], axes=[0])]
    kinds = {"x": TensorProto.UINT8, "y": TensorProto.UINT8}
    graph = check(nodes, inputs={"x": [1, 6]}, opset=11, types=kinds)
    assert graph.outputs[0].shape == ((5,) if operator == "Squeeze" else (1, 1, 5))
