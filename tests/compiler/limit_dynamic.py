# SPDX-License-Identifier: Apache-2.0
"""The part of `limit_examples` that is about dynamic quantization."""

import numpy as np
from onnx import TensorProto

from .limit_models import F32, START, U8, dynamic, dynamic_conv
from .onnx_models import node

__all__ = ["DYNAMIC"]

def again(source):
    """Return another layer, of weights V, that makes y of float value ``source``."""
    return (
        node("DynamicQuantizeLinear", [source], ["p8", "p_s", "p_z"]),
        node("MatMulInteger", ["p8", "V", "p_z"], ["o"]),
        node("Cast", ["o"], ["of"], to=TensorProto.FLOAT),
        node("Mul", ["p_s", "d_s"], ["o_s"]), node("Mul", ["of", "o_s"], ["y"]),
    )


DYNAMIC = {
    "is a scale": dynamic(outputs=("m", "s")),
    "is the integer sum": dynamic(middle={"scaled": None}, outputs=("c",)),
    "{following} of a": dynamic(node("LpNormalization", ["m"], ["y"], name="it")),
    "quantizes integer": dynamic(
        node("DynamicQuantizeLinear", ["c"], ["y", "s2", "z2"]), outputs=("m", "s2")),
    "{done} of a graph": dynamic(
        before=[node("MaxPool", ["x"], ["r"], kernel_shape=[1])], source="r", outputs=("m",),
        inputs={"x": [1, 3, 6]}),
    "weight scale '{name}' is not": dynamic(
        middle={"scale": node("Mul", ["s", "u"], ["p"])}, outputs=("m",),
        inputs={"x": [3, 6], "u": [1]}),
    "{what} '{name}' is infinite": dynamic(constants={"d_s": F32(np.inf)}, outputs=("m",)),
    "bound '{name}' is not": dynamic(
        node("Clip", ["m", "u"], ["e"], name="it"), *again("e"),
        inputs={"x": [3, 6], "u": []}, constants={"V": np.ones((5, 5), U8)}),
    "the first operand": dynamic(middle={
        "product": node("MatMulInteger", ["D", "q"], ["i"])},
        inputs={"x": [5, 6]}, outputs=("m",)),
    "zero point '{zero}'": dynamic(
        middle={"product": node("MatMulInteger", ["q", "D", "zero"], ["i"])},
        constants={"zero": U8(3)}, outputs=("m",)),
    "input '{name}' is {x}": dynamic(constants={"D": np.ones((2, 6, 5), U8)}, outputs=("m",)),
    "scale '{name}' is that": dynamic(
        middle={"scale": node("Mul", ["s2", "d_s"], ["p"])}, outputs=("m",),
        before=[node("DynamicQuantizeLinear", ["u"], ["q2", "s2", "z2"])],
        inputs={"x": [3, 6], "u": [3, 6]}),
    "the result of": dynamic(
        before=[*START, node("Sqrt", ["xf"], ["r"])], source="r", outputs=("m",)),
    "operands are {x} and {z}": dynamic(
        before=[node("DynamicQuantizeLinear", ["u"], ["q2", "s2", "z2"])],
        middle={"product": node("MatMulInteger", ["q", "q2", "z", "z2"], ["i"])},
        inputs={"x": [6], "u": [6, 5]}, outputs=("m",)),
    "{op} of a dynamically quantized layer's result with": dynamic_conv(
        node("MaxPool", ["m"], ["mp"], name="it", kernel_shape=[2, 2], dilations=[2, 2]),
        *again("mp"), constants={"V": np.ones((2, 5), U8)}),
    "{op} of a dynamically quantized layer's result along": dynamic(
        node("Split", ["m", "n"], ["m1", "m2"], name="it", axis=0), *again("m2"),
        constants={"n": np.array([1, 2]), "V": np.ones((5, 5), U8)}),
    "{op} of '{name}'": dynamic(
        node("Concat", ["m", "k"], ["y"], name="it", axis=0),
        constants={"k": np.ones((1, 5), F32)}),
    "{op} of value '{name}'": dynamic_conv(
        node("Resize", ["m", "", "F"], ["r"], name="it", mode="linear"),
        *again("r"), constants={"V": np.ones((8, 5), U8), "F": F32([1, 1, 2, 2])}),
    "neither '{first}'": dynamic(
        node("Concat", ["m", "m"], ["t"], axis=0), node("Add", ["t", "t"], ["y"], name="it")),
    "'{first}' is {x}": dynamic(
        node("Add", ["m", "u"], ["y"], name="it"), inputs={"x": [3, 6], "u": [1, 5]}),
    "{what} is {shape}": dynamic(constants={"d_s": np.ones((3, 1), F32)}, outputs=("m",)),
    "is {rank}-D": dynamic_conv(
        constants={"D": np.ones((4, 2, 2, 2, 2), U8)}, inputs={"x": [1, 2, 3, 3, 3]},
        outputs=("m",)),
    "kernel spans": dynamic_conv(inputs={"x": [1, 2, 2, 2]}, outputs=("m",)),
}
