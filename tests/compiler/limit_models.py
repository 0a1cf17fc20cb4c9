# SPDX-License-Identifier: Apache-2.0
"""Small models around one operator, for `limit_examples`."""

import numpy as np
from onnx import TensorProto

from .onnx_models import dq, model, node, q, scales

__all__ = [
    "ALONE",
    "END",
    "F32",
    "IMAGE",
    "LINE",
    "MICROSOFT",
    "REDUCTION",
    "RELU",
    "ROOT",
    "ROWS",
    "S8",
    "SECOND",
    "START",
    "STUCK",
    "TWICE",
    "TWO_TENSORS",
    "U8",
    "A",
    "B",
    "X",
    "back",
    "chain",
    "conv",
    "dynamic",
    "dynamic_conv",
    "gemm",
    "integer",
    "lrn",
    "mean",
    "normalization",
    "of",
    "pool",
    "product",
    "recurrent",
    "rows",
    "scattered",
]

U8, S8, F32 = np.uint8, np.int8, np.float32
MICROSOFT = {"domain": "com.microsoft"}
CONSTANTS = scales(
    x=(0.03, U8(120)), w=(0.02, S8(0)), a=(0.1, U8(130)), b=(0.1, U8(3)), s=(0.05, S8(1)),
) | {
    "W": np.ones((4, 2, 3, 3), S8), "M": np.ones((6, 5), S8), "codes": np.ones((3, 6), U8),
    "bias": np.ones(5, F32), "two": F32(2), "v2": F32([1, 2]), "v6": np.ones(6, F32),
    "yes": np.ones((1, 6), bool), "column": np.ones((6, 1), F32),
}
ROWS, IMAGE, LINE = {"x": [3, 6]}, {"x": [1, 2, 6, 6]}, {"x": [1, 2, 6]}
X, A, B = (["x_s", "x_z"], ["a_s", "a_z"], ["b_s", "b_z"])
START = [q("x", "xq", "x"), dq("xq", "xf", "x")]
END = [q("f", "yq", "a"), dq("yq", "y", "a")]
TWICE = [*END, q("f", "unread", "b")]  # no QuantizeLinear is moved ahead of a MaxPool then
SECOND = [q("z", "zq", "a"), dq("zq", "zf", "a")]


def of(nodes, constants=(), inputs=ROWS, outputs=("y",), **rest):
    """Return a model of nodes whose quantized result is dequantized by the last of them."""
    return model(nodes, CONSTANTS | dict(constants), inputs, outputs, **rest)


def chain(*nodes, constants=(), inputs=ROWS, **rest):
    """Return a model of float nodes from xf to f."""
    return of([*START, *nodes, *END], constants, inputs, **rest)


def integer(operator, inputs, constants=(), shapes=ROWS, domain="com.microsoft", **attributes):
    """Return a model of one integer operator on xq, whose result has the scale of a."""
    nodes = [q("x", "xq", "x"), q("z", "zq", "a")] if "z" in shapes else [q("x", "xq", "x")]
    made = node(operator, inputs, ["yq"], name="it", domain=domain, **attributes)
    return of([*nodes, made, dq("yq", "y", "a")], constants, shapes)


def conv(constants=(), shapes=IMAGE, **attributes):
    """Return a QLinearConv with the weights W."""
    domain = "com.microsoft" if "channels_last" in attributes else ""
    inputs = ["xq", *X, "W", "w_s", "w_z", *A]
    return integer("QLinearConv", inputs, constants, shapes, domain, **attributes)


def product(left=("xq", *X), right=("M", "w_s", "w_z"), constants=(), shapes=ROWS):
    """Return a QLinearMatMul."""
    return integer("QLinearMatMul", [*left, *right, *A], constants, shapes, "")


def gemm(bias, constants=(), weights=(), result=END, **attributes):
    """Return a Gemm between DequantizeLinear and QuantizeLinear."""
    weights = [*weights] or [dq("M", "wf", "w")]
    made = node("Gemm", ["xf", "wf", *bias], ["f"], name="it", **attributes)
    return of([*START, *weights, made, *result], constants)


def back(*inputs, constants=(), weights=(), before=(), result=END, first="xf", x=(1, 4, 6, 6),
         **more):
    """Return a ConvTranspose of float values with the weights W."""
    weights = [*weights] or [dq("W", "wf", "w")]
    made = node("ConvTranspose", [first, "wf", *inputs], ["f"], name="it")
    shapes = {"x": x} | more.get("inputs", {})
    return of([*START, *before, *weights, made, *result], constants, shapes)


def pool(operator, inputs=IMAGE, **attributes):
    """Return an average in integers."""
    return integer(operator, ["xq", *X, *A], (), inputs, **attributes)


def normalization(*before, first="xf", outputs=("f",), inputs=LINE, constants=(), after=(), **more):
    """Return a BatchNormalization of float values."""
    values = {name: np.ones(2, F32) for name in ("gain", "offset", "mean", "variance")}
    made = node("BatchNormalization", [first, *values], outputs, name="it", **more)
    return of([*START, *before, made, *(after or END)], values | dict(constants), inputs)


def recurrent(kind, *rest, first="xf", before=(), constants=(), inputs=(), **attributes):
    """Return a layer of float values over three steps of a batch of two; inputs behind the bias."""
    gates = {"LSTM": 16, "GRU": 12}[kind]
    weights = {"r": np.ones((1, gates, 4), F32), "k": np.ones((1, gates, 6), F32)}
    made = node(kind, [first, "k", "r", "", *rest], ["", "f"], name="it", hidden_size=4,
                **attributes)
    return of([*START, *before, made, *END], weights | dict(constants),
              {"x": [3, 2, 6]} | dict(inputs))


def rows(*before, first="xf", outputs=("f",), after=(), inputs=ROWS, **more):
    """Return a LayerNormalization of float values."""
    made = node("LayerNormalization", [first, "v6"], outputs, name="it", **more)
    return of([*START, *before, made, *(after or END)], (), inputs)


def dynamic(*after, constants=(), middle=None, inputs=ROWS, outputs=("y",), before=(), source="x",
            **rest):
    """Return a dynamically quantized product of x, or what stands for a part of it."""
    parts = {
        "quantize": node("DynamicQuantizeLinear", [source], ["q", "s", "z"]),
        "product": node("MatMulInteger", ["q", "D", "z"], ["i"]),
        "cast": node("Cast", ["i"], ["c"], to=TensorProto.FLOAT),
        "scale": node("Mul", ["s", "d_s"], ["p"]),
        "scaled": node("Mul", ["c", "p"], ["m"]),
    } | (middle or {})
    given = {"D": np.ones((6, 5), U8), "d_s": F32(0.1), **dict(constants)}
    nodes = [*before, *filter(None, parts.values()), *after]
    return model(nodes, CONSTANTS | given, inputs, outputs, **rest)


def dynamic_conv(*after, constants=(), inputs=IMAGE, outputs=("y",)):
    """Return a dynamically quantized convolution of x."""
    middle = {"product": node("ConvInteger", ["q", "D", "z"], ["i"])}
    given = {"D": np.ones((4, 2, 3, 3), U8)} | dict(constants)
    return dynamic(*after, constants=given, middle=middle, inputs=inputs, outputs=outputs)


RELU = node("Relu", ["xf"], ["r"], name="before")
ROOT = node("Sqrt", ["xf"], ["r"], name="before")
STUCK = node("Add", ["xf", "v6"], ["r"], name="before")
"""A float result that no operator reads as codes."""
TWO_TENSORS = {"x": [3, 6], "z": [3, 6]}

def lrn(*before, first="xf", after=(), **attributes):
    """Return an LRN of float values."""
    made = node("LRN", [first], ["f"], name="it", size=3, **attributes)
    return of([*START, *before, made, *(after or END)], (), IMAGE)


def mean(operator, *before, first="xf", after=(), inputs=IMAGE, **attributes):
    """Return an average that ONNX Runtime leaves in float."""
    made = node(operator, [first], ["p"], name="it", **attributes)
    rest = [*after] or [node("Relu", ["p"], ["f"])]
    return of([*START, *before, made, *rest, *END], (), inputs, opset=19)


ALONE = {
    operator: {
        "its input is float from": mean(
            operator, node("Neg", ["x"], ["n"]), first="n", **attributes),
        "its input is the float": mean(operator, STUCK, first="r", **attributes),
        "the result of": mean(operator, after=[node("Sqrt", ["p"], ["f"])], **attributes),
    }
    for operator, attributes in {
        "AveragePool": {"kernel_shape": [2, 2]}, "GlobalAveragePool": {},
    }.items()
}
REDUCTION = {
    operator: {
        "its input is the float": mean(operator, STUCK, first="r"),
        "the result of": mean(operator, after=[
            node("MaxPool", ["p"], ["m"], kernel_shape=[1, 1]), node("Relu", ["m"], ["f"])]),
    }
    for operator in ("ReduceMax", "ReduceSum", "ReduceL2")
}
REDUCTION["ReduceMax"]["its input is float from"] = of(
    [node("ReduceMax", ["x"], ["p"], name="it"), q("p", "yq", "a"), dq("yq", "y", "a")])


def scattered(**attributes):
    """Rows of one tensor put in the place of another's."""
    made = node("ScatterElements", ["xf", "rows", "zf"], ["f"], name="it", **attributes)
    return of([*START, *SECOND, made, *END], {"rows": np.zeros((3, 6), np.int64)},
              TWO_TENSORS)
