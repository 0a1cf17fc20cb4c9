# SPDX-License-Identifier: Apache-2.0
"""For each limit of an operator a model that breaks it, by operator and the limit's first words."""

import numpy as np
from onnx import TensorProto

from .limit_dynamic import DYNAMIC
from .limit_maps import MAPS
from .limit_models import (
    ALONE,
    END,
    F32,
    IMAGE,
    LINE,
    MICROSOFT,
    REDUCTION,
    ROOT,
    S8,
    SECOND,
    START,
    STUCK,
    TWICE,
    TWO_TENSORS,
    U8,
    A,
    X,
    back,
    chain,
    conv,
    gemm,
    integer,
    lrn,
    mean,
    normalization,
    of,
    pool,
    product,
    recurrent,
    rows,
)
from .onnx_models import dq, node, q

__all__ = ["EXAMPLES"]

EXAMPLES = {
    **MAPS,
    "ArgMax, ArgMin, TopK": {
        "reads the result": of(
            [*START, node("ArgMax", ["xf"], ["i"], axis=1),
             node("Cast", ["i"], ["c"], to=TensorProto.FLOAT),
             node("Softplus", ["c"], ["f"], name="it"), *END]),
    },
    "all": {
        "{what} is {value}; must be positive": conv({"w_s": F32(1e31), "a_s": F32(1e-10)}),
        "{what} is {dtype}; must be float32": of(
            [node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16), q("h", "hq", "h"),
             dq("hq", "hf", "h"), node("Cast", ["hf"], ["y"], to=TensorProto.FLOAT)],
            {"h_s": np.float16(0.1), "h_z": U8(3)}, opset=21),
        "{what} is {dtype}; must be int8": of(
            [*START, node("DequantizeLinear", ["W32", "w_s"], ["wf"]),
             node("MatMul", ["xf", "wf"], ["n"], name="it"), node("Relu", ["n"], ["f"]), *END],
            {"W32": np.ones((6, 5), np.int32)}),
        "{what} has {scales}": of(
            [*START[:1], node("DequantizeLinear", ["xq", "v2", "z2"], ["xf"], axis=1),
             node("Relu", ["xf"], ["f"]), *END], {"z2": np.zeros(2, U8)}, IMAGE),
        "{what} '{name}' is not a constant": of(
            [q("x", "xq", "x"), q("z", "zq", "s"),
             node("QLinearConv", ["xq", *X, "zq", "s_s", "s_z", *A], ["yq"], name="it"),
             dq("yq", "y", "a")], (), {"x": [1, 2, 6, 6], "z": [4, 2, 3, 3]}),
        "{what}: dimension {axis}": conv({"W": np.ones((0, 2, 3, 3), S8)}),
    },
    "all in float": {
        "on a quantized tensor": of(
            [*START[:1], node("Abs", ["sq"], ["t"], name="it"), dq("t", "y", "s")],
            (), {"x": [3, 6], "sq": [3, 6]}, types={"sq": TensorProto.INT8}),
    },
    "AveragePool": {
        "channels_last": pool("QLinearAveragePool", kernel_shape=[2, 2], channels_last=1),
        "is {rank}-D": pool("QLinearAveragePool", {"x": [1, 2, 4, 4, 4]}, kernel_shape=[2] * 3),
        "kernel spans": pool("QLinearAveragePool", kernel_shape=[9, 9]),
        "a window lies": mean("AveragePool", kernel_shape=[2, 2], pads=[1] * 4, dilations=[9, 9],
                              inputs={"x": [1, 1, 8, 8]}),
        **ALONE["AveragePool"],
    },
    "GlobalAveragePool": {
        "channels_last": pool("QLinearGlobalAveragePool", channels_last=1),
        "is {rank}-D": pool("QLinearGlobalAveragePool", {"x": [1, 2, 4, 4, 4]}, channels_last=0),
        "input scale /": integer("QLinearGlobalAveragePool", ["xq", "big", "x_z", *A],
                                 {"big": F32(1e6)}, IMAGE, channels_last=0),
        **ALONE["GlobalAveragePool"],
    },
    "BatchNormalization": {
        "its input is float from": normalization(node("Neg", ["x"], ["n"]), first="x"),
        "its input is the float result": normalization(STUCK, first="r"),
        "is that of training": normalization(
            outputs=("f", "m2", "v2o"), training_mode=1),
        "normalizes {rank}": normalization(inputs={"x": [3, 2]}),
        "its {what}": normalization(constants={"variance": F32([-1, 1])}),
        "the result of": normalization(
            outputs=("n",), after=[node("MaxPool", ["n"], ["f"], kernel_shape=[2]), *TWICE]),
    },
    "Conv": {
        "channels_last": conv(shapes={"x": [1, 6, 6, 2]}, channels_last=1),
        "is {rank}-D": conv({"W": np.ones((4, 2, 2, 2, 2), S8)}, {"x": [1, 2, 3, 3, 3]}),
        "kernel spans": conv(shapes={"x": [1, 2, 2, 2]}),
        "{size} values": conv({"w_s": F32([1, 1]), "w_z": np.zeros(2, S8)}),
        "bias '{name}' is {shape}": integer(
            "QLinearConv", ["xq", *X, "W", "w_s", "w_z", *A, "B"],
            {"B": np.ones((4, 1), np.int32)}, IMAGE, ""),
    },
    "Conv, MatMul (+ Add), Gemm in float": {
        "its operand": of(
            [*START, dq("M", "wf", "w"),
             node("FusedMatMul", ["xf", "wf"], ["f"], transA=1, name="it", **MICROSOFT), *END],
            (), {"x": [6, 3]}),
        "adds another": of(
            [*START, dq("W", "wf", "w"), *SECOND,
             node("FusedConv", ["xf", "wf", "four", "zf"], ["f"], name="it", **MICROSOFT), *END],
            {"four": np.ones(4, F32)}, {"x": [1, 2, 6, 6], "z": [1, 4, 4, 4]}),
        "the result of": gemm(["bias"], beta=2.0, result=[
            node("Sqrt", ["f"], ["g"]), q("g", "yq", "a"), dq("yq", "y", "a")]),
        "its input is the float result": of(
            [*START, dq("M", "wf", "w"), node("Sqrt", ["xf"], ["r"]),
             node("MatMul", ["r", "wf"], ["f"], name="it"), *END]),
        "its sums": gemm(["c"], {"c": np.full(5, 644244.94, F32)}, beta=2.0),
        "weight '{name}'": gemm(
            [], {"k": F32(range(1, 7)), "k_z": np.zeros(6, S8)},
            [node("DequantizeLinear", ["M", "k", "k_z"], ["wf"], axis=0)], alpha=0.5),
        "its bias is not a": of(
            [*START, dq("M", "wf", "w"), *SECOND,
             node("Gemm", ["xf", "wf", "zf"], ["f"], name="it"), *END], (),
            {"x": [3, 6], "z": [3, 5]}),
        "its bias is {shape}": gemm(["c"], {"c": np.ones((3, 1), F32)}, beta=2.0),
        "its bias is not finite": gemm(["c"], {"c": F32([[np.inf] * 5])}, beta=2.0),
        "its bias needs": gemm(["c"], {"c": np.full(5, 1e7, F32)}, beta=2.0),
        "its bias is no multiple": gemm(
            ["c"], {"c": np.full((1, 5), 0.25, F32), "x_s": F32(2), "w_s": F32(2)}, beta=2.0),
        "weight is a stack": of(
            [*START, dq("S", "wf", "w"), node("MatMul", ["xf", "wf"], ["n"], name="it"),
             node("Relu", ["n"], ["f"]), *END], {"S": np.ones((2, 6, 5), S8)}),
        "is {rank}-D": of(
            [*START, dq("W", "wf", "w"), node("Conv", ["xf", "wf"], ["n"], name="it"),
             node("Relu", ["n"], ["f"]), *END], {"W": np.ones((4, 2, 2, 2, 2), S8)},
            {"x": [1, 2, 3, 3, 3]}),
        "kernel spans": of(
            [*START, dq("W", "wf", "w"), node("Conv", ["xf", "wf"], ["n"], name="it"),
             node("Relu", ["n"], ["f"]), *END], (), {"x": [1, 2, 2, 2]}),
    },
    "ConvTranspose": {
        "the result of": back(result=[
            node("Sqrt", ["f"], ["g"]), q("g", "yq", "a"), dq("yq", "y", "a")]),
        "its input is the float result": back(before=[ROOT], first="r"),
        "its sums": back("c", constants={"c": np.full(2, 1288489.88, F32)}),
        "weight '{name}'": back(weights=[
            node("DequantizeLinear", ["W", "k", "k_z"], ["wf"], axis=0)],
            constants={"k": F32(range(1, 5)), "k_z": np.zeros(4, S8)}),
        "its bias is not a": back("zf", before=SECOND, inputs={"z": [2]}),
        "is {rank}-D": back(constants={"W": np.ones((4, 2, 2, 2, 2), S8)}, x=(1, 4, 3, 3, 3)),
    },
    "DynamicQuantizeLinear, MatMulInteger, ConvInteger and what follows": DYNAMIC,
    "Flatten, Reshape, Squeeze, Unsqueeze, Transpose, Identity, Dropout": {
        "drops elements": chain(
            # Where the ratio is a constant, ONNX Runtime drops nothing.
            dq("tenth", "ratio", "w"),
            node("Dropout", ["xf", "ratio", "training"], ["f"], name="it"),
            constants={"tenth": S8(5), "training": np.array(True)}),
    },
    "Functions of single elements": {
        "constant '{name}' has shape {shape}: a": chain(node("Pow", ["xf", "v6"], ["f"])),
        "a constant makes": chain(
            node("Div", ["xf", "deep"], ["f"]), constants={"deep": np.ones((1, 1, 1), F32)}),
        "its input is float from": of(
            [*START, node("Sub", ["x", "xf"], ["f"], name="it"), *END]),
        "its input is the float": normalization(
            outputs=("n",), after=[node("Neg", ["n"], ["f"]), *END]),
        "its operands are": chain(
            ROOT, node("Transpose", ["r"], ["t"], perm=[1, 0]), node("Sub", ["r", "t"], ["f"]),
            inputs={"x": [4, 4]}),
        "'{name}' is a constant": chain(node("Div", ["v6", "xf"], ["f"])),
        "its result would": of([*START, *SECOND, node("Div", ["xf", "zf"], ["f"]), *END], (),
                               TWO_TENSORS),
        "combines {names}": of([*START, *SECOND, node("Pow", ["xf", "zf"], ["f"]), *END], (),
                               TWO_TENSORS),
    },
    "Gemm": {
        "its output is float": of(
            [q("x", "xq", "x"), node("QGemm", ["xq", *X, "M", "w_s", "w_z"], ["y"], name="it",
                                     **MICROSOFT)]),
        "{size} values": integer("QGemm", ["xq", *X, "M", "w2", "wz2", "", *A],
                                 {"w2": F32([1, 1]), "wz2": np.zeros(2, S8)}),
        "bias '{name}' is {shape}": integer(
            "QGemm", ["xq", *X, "M", "w_s", "w_z", "B", *A], {"B": np.ones((3, 1), np.int32)}),
    },
    "GlobalMaxPool": {
        "is {rank}-D": chain(
            node("GlobalMaxPool", ["xf"], ["f"], name="it"), inputs={"x": [1, 2, 4, 4, 4]}),
    },
    "LayerNormalization": {
        "its input is float from": rows(node("Neg", ["x"], ["n"]), first="x"),
        "its input is the float result": rows(STUCK, first="r"),
        "its mean": rows(outputs=("f", "m"), after=[*END, q("m", "mq", "x")]),
        "the result of": rows(outputs=("n",), after=[node("Relu", ["n"], ["f"]), *END]),
    },
    "LogSoftmax": {
        "reads the result": chain(
            node("LogSoftmax", ["xf"], ["l"]), node("Softplus", ["l"], ["f"], name="it")),
    },
    "LSTM, GRU, RNN": {
        "{done} of a graph input": recurrent(
            "LSTM", first="n", before=[node("MaxPool", ["x"], ["n"], kernel_shape=[1])]),
        "its initial state": recurrent(
            "GRU", "", "h1", before=[node("MaxPool", ["h0"], ["h1"], kernel_shape=[1])],
            inputs={"h0": [1, 2, 4]}),
        "its constant initial": recurrent("LSTM", "", "h0", constants={
            "h0": F32(np.arange(8).reshape(1, 2, 4))}),
        "has peepholes": recurrent("LSTM", "", "", "", "p", constants={"p": np.ones((1, 12), F32)}),
        "its sequence_lens": recurrent("GRU", "n", constants={"n": np.int32([3, 1])}),
        "its gates": recurrent("GRU", activations=["Tanh", "Tanh"]),
    },
    "MatMul": {
        "the first operand": product(("codes", *X), ("zq", *A), shapes={"x": [3, 6], "z": [6, 5]}),
        "weight is a stack": product(
            right=("S", "w_s", "w_z"), constants={"S": np.ones((2, 6, 5), S8)}, shapes={"x": [6]}),
        "its stack": product(
            right=("S", "w5", "z5"), constants={
                "S": np.ones((2, 6, 5), S8), "w5": np.ones(5, F32), "z5": np.zeros(5, S8)}),
        "operands are {x} and {z}; must be of": of(
            [q("x", "xq", "x"), q("z", "zq", "s"),
             node("QLinearMatMul", ["xq", *X, "zq", "s_s", "s_z", *A], ["yq"], name="it"),
             dq("yq", "y", "a")], (), {"x": [3, 6], "z": [6, 5]}),
    },
    "LRN": {
        "its input is float from": lrn(node("Neg", ["x"], ["n"]), first="n"),
        "its input is the float": lrn(STUCK, first="r"),
        "the result of": lrn(after=[node("Sqrt", ["f"], ["s"]), q("s", "yq", "a"),
                                    dq("yq", "y", "a")]),
        "bias is": lrn(bias=-1.0),
    },
    "MaxPool": {
        "is {rank}-D": integer("MaxPool", ["xq"], (), {"x": [1, 2, 4, 4, 4]}, "",
                               kernel_shape=[2] * 3),
        "kernel spans": integer("MaxPool", ["xq"], (), IMAGE, "", kernel_shape=[9, 9]),
        "its second": of(
            [q("x", "xq", "x"), node("MaxPool", ["xq"], ["yq", "at"], name="it",
                                     kernel_shape=[2, 2]), dq("yq", "y", "x"),
             node("Cast", ["at"], ["z"], to=TensorProto.FLOAT)], (), IMAGE, ("y", "z")),
        "a window lies": integer("MaxPool", ["xq"], (), {"x": [1, 1, 8, 8]}, "",
                                 kernel_shape=[2, 2], pads=[1] * 4, dilations=[9, 9]),
    },
    "Pad": {
        "its input is the float": chain(
            STUCK, node("Pad", ["r", "one"], ["f"], name="it"),
            constants={"one": np.array([0, 1, 0, 0])}),
    },
    "QuantizeLinear, DequantizeLinear": {
        "'{name}' is {told}": of(
            [*START, node("DequantizeLinear", ["W16", "x_s"], ["wf"], name="it"),
             node("MatMul", ["xf", "wf"], ["f"]), *END], {"W16": np.ones((6, 5), np.int16)},
            opset=21),
        "has a scale for each": of(
            [*START, node("DequantizeLinear", ["M", "blocks", "zeros"], ["wf"], name="it", axis=0,
                          block_size=2), node("MatMul", ["xf", "wf"], ["f"]), *END],
            {"blocks": np.ones((3, 5), F32), "zeros": np.zeros((3, 5), S8)}, opset=21),
        "scale '{name}' is not finite": of(
            [*START, dq("M", "wf", "w"), node("DequantizeLinear", ["B", "n"], ["bf"], name="it"),
             node("Gemm", ["xf", "wf", "bf"], ["f"]), *END],
            {"B": np.ones(5, np.int32), "n": F32(np.inf)}),
        "the result of": of(
            [*START, node("Tanh", ["xf"], ["t"]), node("MaxPool", ["t"], ["f"], kernel_shape=[2]),
             *TWICE], (), LINE),
        "is float all the way": of(
            [*START, node("Flatten", ["x"], ["z"]), node("Relu", ["xf"], ["f"]), *END],
            outputs=("y", "z")),
        "is the float result": of(
            [*START, node("Tanh", ["xf"], ["t"]), node("MaxPool", ["t"], ["y"], kernel_shape=[2])],
            (), LINE),
    },
    "ReduceSumSquare, ReduceL2": REDUCTION["ReduceL2"],
    "RMSNormalization, LpNormalization": {
        "its input is the float result": chain(
            STUCK, node("LpNormalization", ["r"], ["f"], name="it")),
        "divides by a norm": chain(node("LpNormalization", ["xf"], ["f"], name="it", p=1)),
        "the result of": chain(
            node("LpNormalization", ["xf"], ["n"], name="it"), node("Relu", ["n"], ["f"])),
    },
    "ReduceMax, ReduceMin": REDUCTION["ReduceMax"],
    "ReduceSum, ReduceMean, ReduceL1": {
        **REDUCTION["ReduceSum"],
        "sums up": chain(node("ReduceSum", ["xf"], ["f"], name="it"), inputs={"x": [9, 1 << 20]}),
    },
    "Where": {
        "its input is the float": chain(
            node("LayerNormalization", ["xf", "v6"], ["n"]),
            node("Where", ["yes", "n", "two"], ["f"], name="it")),
        "the result of": of(
            [*START, node("Where", ["yes", "xf", "two"], ["w"], name="it"),
             node("MaxPool", ["w"], ["f"], kernel_shape=[2]), *TWICE], (), LINE),
    },
}
