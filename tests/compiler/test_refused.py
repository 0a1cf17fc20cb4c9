# SPDX-License-Identifier: Apache-2.0
"""Refusals: all nodes in the way, once each, by the names that the user gave, with one reason."""

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError, UnsupportedModel

from .onnx_models import dq, model, node, q, scales

U8, S8, F32 = np.uint8, np.int8, np.float32
CONSTANTS = scales(
    x=(0.03, U8(120)), w=(0.02, S8(0)), a=(0.1, U8(130)),
) | {
    "h_s": np.float16(0.1), "h_z": U8(3), "W": np.ones((4, 2, 3, 3), S8), "ones": np.ones(2, F32),
    "one": U8(1),
    "F": np.ones((4, 2, 3, 3), F32), "W16": np.ones((4, 2, 3, 3), np.int16),
    "blocks": np.ones((2, 2, 3, 3), F32), "zeros": np.zeros((2, 2, 3, 3), S8),
}
IMAGE = {"x": [1, 2, 6, 6]}
START = [q("x", "xq", "x"), dq("xq", "xf", "x"), dq("W", "wf", "w")]


def end(source, target="y"):
    """Quantize and dequantize a float value into a graph output."""
    return [q(source, f"{target}_q", "a"), dq(f"{target}_q", target, "a")]


def refusals(nodes, constants=CONSTANTS, inputs=IMAGE, outputs=("y",), **rest):
    with pytest.raises(UnsupportedModel) as caught:
        legalize(lower(model(nodes, constants, inputs, outputs, **rest)))
    return list(caught.value.refusals)


def conv(source, target, name):
    return node("Conv", [source, "wf"], [target], name=name)


NO_SUCH = "the machine has no such operation"
NONE_FITS = "stays in float: ONNX Runtime has no integer form of it for these types and attributes"

CASES = {
    "behind a refused integer node": (
        [*START, node("BitShift", ["xq", "one"], ["p"], name="shift", direction="LEFT"),
         dq("p", "pf", "x"), node("Hardmax", ["pf"], ["d"], name="hard"), *end("d")],
        [("shift", "BitShift", NO_SUCH), ("hard", "Hardmax", NO_SUCH)]),
    "behind a refused float node": (
        [*START, node("Det", ["xf"], ["e"], name="det"), node("Pow", ["e", "ones"], ["p"],
                                                            name="powers"), *end("p")],
        [("det", "Det", NO_SUCH),
         ("powers", "Pow", "constant 'ones' has shape [2]: a function for each channel or place, "
        "and the machine has one table for the whole tensor; use one value")]),
    "fed by refused ones, but fine": (
        [*START, node("Hardmax", ["xf"], ["d"], name="hard"),
         node("Relu", ["d"], ["r"], name="relu"), q("r", "rq", "x"), dq("rq", "rf", "x"),
         conv("rf", "c", "conv"), q("c", "cq", "a"), dq("cq", "cf", "a"),
         node("Sigmoid", ["cf"], ["s"], name="sigmoid"), *end("s")],
        [("hard", "Hardmax", NO_SUCH)]),
    "two of one float chain": (
        [*START, node("Det", ["xf"], ["e"], name="det"), node("Hardmax", ["e"], ["i"],
                                                            name="hard"), *end("i")],
        [("det", "Det", NO_SUCH), ("hard", "Hardmax", NO_SUCH)]),
    "float last layer": (
        [*START, conv("xf", "y", "last")],
        [("last", "Conv", "stays in float, since its output 'y' is not quantized; put "
          "QuantizeLinear and DequantizeLinear there")]),
    "float input": (
        [*START, node("Relu", ["x"], ["r"]), conv("r", "c", "conv"), *end("c")],
        [("conv", "Conv", "stays in float, since its input 'r' is float; put QuantizeLinear and "
          "DequantizeLinear there")]),
    "float weight and output": (
        [*START, node("Conv", ["xf", "F"], ["y"], name="conv")],
        [("conv", "Conv", "stays in float, since its weight 'F' is float and its output 'y' is not "
          "quantized; put QuantizeLinear and DequantizeLinear there")]),
    "fused": (
        [*START, conv("xf", "c", "conv"), node("Relu", ["c"], ["y"], name="relu")],
        [("conv + relu", "Conv + Relu", "stays in float, since its output 'y' is not quantized; "
          "put QuantizeLinear and DequantizeLinear there")]),
    "written out by ONNX Runtime": (
        [*START, node("GroupNormalization", ["xf", "ones", "ones"], ["n"], name="groups",
                      num_groups=2), *end("n")],
        [("groups", "GroupNormalization", NO_SUCH)]),
    "blocks": (
        [*START[:2], node("DequantizeLinear", ["W", "blocks", "zeros"], ["wb"], name="d_wb",
                          axis=0, block_size=2), node("Conv", ["xf", "wb"], ["c"], name="conv"),
         *end("c")],
        [("d_wb", "DequantizeLinear", "has a scale for each block of 2 along axis 0; must have "
          "one, or one for each channel")]),
    "weights of 16 bits": (
        [*START[:2], node("DequantizeLinear", ["W16", "x_s"], ["wb"], name="d_wb"),
         node("Conv", ["xf", "wb"], ["c"], name="conv"), *end("c")],
        [("d_wb", "DequantizeLinear", "'W16' is int16; must be int8 or uint8")]),
    "a bad scale and more": (
        [q("x", "xq", "x"), dq("xq", "xf", "z"), node("Hardmax", ["xf"], ["d"], name="hard"),
         *end("d")],
        [("d_xf", "DequantizeLinear", "scale 'z_s' is 0.0; must be positive, normal and finite"),
         ("hard", "Hardmax", NO_SUCH)]),
}


@pytest.mark.parametrize("case", CASES)
def test_refusals(case):
    nodes, expected = CASES[case]
    constants = CONSTANTS | scales(z=(0, U8(0)))
    assert refusals(nodes, constants, opset=21) == expected


def test_float16_scales():
    """ONNX Runtime inserts casts of its own."""
    nodes = [node("Cast", ["x"], ["xh"], to=TensorProto.FLOAT16, name="down"), q("xh", "xq", "h"),
             dq("xq", "xf", "h"), dq("W", "wf", "h"), conv("xf", "c", "conv"), q("c", "cq", "h"),
             dq("cq", "yh", "h"), node("Cast", ["yh"], ["y"], to=TensorProto.FLOAT, name="up")]
    found = refusals(nodes, CONSTANTS | {"W": np.ones((4, 2, 3, 3), U8)}, opset=21)
    reason = "scale 'h_s' is float16; must be float32"
    names = ("q_xq", "d_xf", "d_wf", "q_cq", "d_yh")
    assert [(name, why) for name, _, why in found if name in names] == [(n, reason) for n in names]
    assert {name for name, _, _ in found} == set(names)


def dynamic(source, target, activation, name):
    """A dynamically quantized linear layer and what follows it."""
    return [
        node("DynamicQuantizeLinear", [source], [f"{target}q", f"{target}s", f"{target}z"]),
        node("MatMulInteger", [f"{target}q", "M", f"{target}z"], [f"{target}i"]),
        node("Cast", [f"{target}i"], [f"{target}f"], to=TensorProto.FLOAT),
        node("Mul", [f"{target}s", "m_s"], [f"{target}p"]),
        node("Mul", [f"{target}f", f"{target}p"], [f"{target}m"]),
        node("Add", [f"{target}m", "bias"], [f"{target}b"]),
        node(activation, [f"{target}b"], [target], name=name),
    ]


def test_all_refused_nodes_of_a_dynamic_model():
    constants = {"M": np.ones((4, 4), U8), "m_s": F32(0.1), "bias": np.ones(4, F32)}
    nodes = [*dynamic("x", "a", "Sigmoid", "first"), *dynamic("a", "b", "Relu", "fine"),
             *dynamic("b", "c", "Tanh", "second"), *dynamic("c", "y", "Tanh", "last")]
    found = refusals(nodes, constants, {"x": [3, 4]})
    assert [(name, op) for name, op, _ in found] == [("first", "Sigmoid"), ("second", "Tanh")]


def test_what_no_refused_node_explains():
    nodes = [*dynamic("x", "y", "Relu", "fine"), node("Neg", ["ys"], ["n"], name="neg")]
    constants = {"M": np.ones((4, 4), U8), "m_s": F32(0.1), "bias": np.ones(4, F32)}
    assert refusals(nodes, constants, {"x": [3, 4]}, ("y", "n")) == [
        ("neg", "Neg", "computes with a scale, a zero point or a sum")
    ]


def test_a_nameless_node_is_called_after_a_result():
    constants = CONSTANTS | {
        "w": np.ones((1, 16, 6), F32), "r": np.ones((1, 16, 4), F32), "p": np.ones((1, 12), F32),
    }
    inputs = ["x", "w", "r", "", "", "", "", "p"]
    nodes = [node("LSTM", inputs, ["", "h"], hidden_size=4), *end("h")]
    ((name, op, _),) = refusals(nodes, constants, {"x": [3, 1, 6]})
    assert (name, op) == ("h", "LSTM")


def test_a_refusal_is_one_line_whatever_the_name():
    name = "a\nb\t\x1b[31m\u202e[bold]" + "n" * 5000
    nodes = [*START, node("Det", ["xf"], ["e"], name=name), *end("e")]
    with pytest.raises(UnsupportedModel) as caught:
        legalize(lower(model(nodes, CONSTANTS, IMAGE)))
    first, line = str(caught.value).split("\n")
    assert first == "1 node cannot be mapped"
    assert line.isprintable()
    assert line.startswith(r"  'a\nb\t\x1b[31m\u202e[bold]nnn")
    assert len(line) < 300
    assert caught.value.refusals[0][0] == name


def test_the_same_words_in_float_and_as_integers():
    """ONNX Runtime makes an integer operator of this where a QuantizeLinear follows."""
    nodes = [*START, node("AveragePool", ["xf"], ["o"], name="it", kernel_shape=[2, 2, 2])]
    volume = {"x": [1, 2, 6, 6, 6]}
    integer = refusals([*nodes, *end("o")], CONSTANTS, volume)
    nodes[-1].output[0] = "y"
    assert integer == refusals(nodes, CONSTANTS, volume)
    assert integer[0][:2] == ("it", "AveragePool")


EMPTY = {
    "input": ([1, 0, 6, 6], (4, 2, 3, 3), "input 'x': dimension 1 is 0; it has no element"),
    "outputs": ([1, 2, 6, 6], (0, 2, 3, 3), "its weight: dimension 0 is 0; it has no element"),
    "inputs": ([1, 2, 6, 6], (4, 0, 3, 3), "its weight: dimension 1 is 0; it has no element"),
}


@pytest.mark.parametrize("case", EMPTY)
def test_no_elements(case):
    shape, weight, told = EMPTY[case]
    names = ["xq", "x_s", "x_z", "V", "w_s", "w_z", "a_s", "a_z"]
    nodes = [q("x", "xq", "x"), node("QLinearConv", names, ["c"], name="conv"), dq("c", "y", "a")]
    with pytest.raises(KiwichaError) as caught:
        legalize(lower(model(nodes, CONSTANTS | {"V": np.ones(weight, S8)}, {"x": shape})))
    assert str(caught.value).endswith(told)


def test_a_view_of_no_elements():
    """ONNX Runtime would run it; there is nothing to compute."""
    nodes = [q("x", "xq", "x"), node("Slice", ["xq", "none", "none"], ["s"], name="slice"),
             node("Flatten", ["s"], ["f"], name="flat"), dq("f", "y", "x")]
    found = refusals(nodes, CONSTANTS | {"none": np.array([0])})
    assert found[0][:2] == ("slice", "Slice")
