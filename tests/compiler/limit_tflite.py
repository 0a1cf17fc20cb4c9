# SPDX-License-Identifier: Apache-2.0
"""For each limit of a TFLite operator a file that breaks it, as `limit_examples` has them."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..support.tflite_files import WINDOW, Network

__all__ = ["TFLITE"]

IMAGE = (1, 4, 4, 2)


def changed(network, index, **fields):
    """The network with fields of a tensor, or of its quantization, changed."""
    tensor = network.writer.graph.tensors[index]
    for name, value in fields.items():
        owner = tensor if hasattr(tensor, name) else tensor.quantization
        assert hasattr(owner, name), name
        setattr(owner, name, value)
    return network.file()


def typed(kind):
    """A convolution whose result has another type, and one behind it."""
    network = Network(IMAGE).conv(3, (1, 1), (4, 4))
    network.writer.graph.tensors[network.last].type = getattr(schema.TensorType, kind)
    return network.conv(3, (1, 1), (4, 4)).file()


def unquantized():
    network = Network(IMAGE).conv(3, (1, 1), (4, 4))
    middle = network.last
    network.conv(3, (1, 1), (4, 4))
    network.writer.graph.tensors[middle].quantization = None
    return network.file()


def without_options():
    network = Network(IMAGE)
    weights = network.weights((3, 1, 1, 2), 0)
    return network.add("CONV_2D", [network.last, *weights], (1, 4, 4, 3), "", 3).file()


def flat_kernel():
    network = Network(IMAGE)
    weights = network.weights((3, 1, 2), 0)
    return network.add("CONV_2D", [network.last, *weights], (1, 4, 4, 3), "Conv2D", 3,
                       **WINDOW).file()


def axis(network, kind):
    """Scales of weights along another axis."""
    place = next(
        index for index, tensor in enumerate(network.writer.graph.tensors)
        if tensor.name.startswith(b"w")
    )
    return changed(network, place, quantizedDimension=kind)


def softmax(scale=1 / 256, beta=1.0):
    network = Network((3, 8)).dense(5)
    y = network.writer.tensor("y", (3, 5), "int8", np.float32(scale), -128)
    network.writer.operator("SOFTMAX", [network.last], [y], "Softmax", 2, beta=beta)
    network.last = y
    return network.file()


def pool(name):
    network = Network(IMAGE)
    window = WINDOW | {"filterHeight": 2, "filterWidth": 2}
    return network.add(name, [network.last], (1, 3, 3, 2), "Pool2D", 2, **window).file()


def reshape():
    network = Network((2, 6))
    shape = network.writer.tensor("s", (1,), "int32", values=np.array([12], np.int32))
    return network.add("RESHAPE", [network.last, shape], (12,)).file()


def dense_of_other_rows():
    network = Network((3, 8))
    return network.add(
        "FULLY_CONNECTED", [network.last, *network.weights((4, 5), 0)], (3, 4), "FullyConnected", 4
    ).file()


def float_constant():
    network = Network((2, 6)).dense(5)
    real = network.writer.tensor("real", (2, 5), "float32", values=np.ones((2, 5), np.float32))
    return network.add("QUANTIZE", [real], (2, 5), "Quantize", 1).file()


def float_inside():
    """A DEQUANTIZE whose result is quantized again."""
    network = Network((2, 6)).dense(5)
    real = network.writer.tensor("real", (2, 5), "float32")
    network.writer.operator("DEQUANTIZE", [network.last], [real], "Dequantize", 2)
    network.add("QUANTIZE", [real], (2, 5), "Quantize", 1)
    return network.file()


def added(one, other="int8"):
    """A sum of two constants, or of other types."""
    network = Network((2, 6))
    codes = [
        network.writer.tensor(f"c{place}", (2, 6), kind, np.float32(0.1), 0, values=np.ones(
            (2, 6), kind))
        for place, kind in enumerate((one, other))
    ]
    first = codes[0] if one == other else network.last
    return network.add("ADD", [first, codes[1]], (2, 6), "Add", 2).file()


def transposed(depth=2, images=1):
    """A transposed convolution of 3 channels, its kernel of so many."""
    network = Network(IMAGE)
    shape = network.writer.tensor("s", (4,), "int32", values=np.array([images, 8, 8, 3], np.int32))
    weight, bias = network.weights((3, 2, 2, depth), 0)
    window = {"strideH": 2, "strideW": 2, "padding": "SAME"}
    return network.add("TRANSPOSE_CONV", [shape, weight, network.last, bias], (images, 8, 8, 3),
                       "TransposeConv", 3, **window)


def batches(shape, kind="int8", scales=1, first=False):
    """A product of codes with an activation or a constant of a shape."""
    network = Network((2, 3, 4), kind)
    codes = network.writer.tensor(
        "z", shape, kind, np.float32([0.1] * scales), 0, len(shape) - 1, np.ones(shape, kind)
    )
    pair = [codes, network.last] if first else [network.last, codes]
    return network.add("BATCH_MATMUL", pair, (2, 3, 5), "BatchMatMul", 4).file()


def beside(constants=1, like=True, **options):
    """A concatenation with a constant, or of two."""
    network = Network((2, 6))
    given = network.writer.graph.tensors[network.last].quantization
    scale = given.scale[0] if like else 0.2
    codes = [
        network.writer.tensor(f"c{place}", (2, 6), "int8", np.float32(scale), given.zeroPoint[0],
                              values=np.ones((2, 6), np.int8))
        for place in range(constants)
    ]
    inputs = [*codes, network.last][:2]
    return network.add("CONCATENATION", inputs, (4, 6), "Concatenation", 2, network.last, axis=0,
                       **options).file()


def strided(like=True, **options):
    network = Network((2, 6))
    given = [
        network.writer.tensor(name, (2,), "int32", values=np.array(values, np.int32))
        for name, values in (("begin", (0, 0)), ("end", (2, 3)), ("strides", (1, 1)))
    ]
    return network.add("STRIDED_SLICE", [network.last, *given], (2, 3), "StridedSlice", 2,
                       network.last if like else None, **options).file()


def padded():
    network = Network((2, 6))
    pads = network.writer.tensor("p", (2, 2), "int32", values=np.ones((2, 2), np.int32))
    return network.add("PAD", [network.last, pads], (4, 8), "Pad", 2).file()


def unlike():
    """Operands that do not broadcast."""
    network = Network((1, 2, 3, 4)).conv(4, (2, 1), (1, 3)).reshape((1, 1, 4, 3))
    return network.add("ADD", [network.first, network.last], (1, 2, 3, 4), "Add", 2).file()


TFLITE = {
    "all of TFLite": {
        "'{name}' is int16": typed("INT16"),
        "'{name}' is {kind}: the model": typed("FLOAT32"),
        "'{name}' is {kind}; must": typed("INT64"),
        "'{name}' has no scale": unquantized(),
        "'{name}' has zero point": changed(Network(IMAGE).conv(3, (1, 1), (4, 4)), 0,
                                           zeroPoint=[200]),
        "the file gives no": without_options(),
        "reads {read} tensors": Network(IMAGE).add(
            "ADD", [0], (1, 4, 4, 2), "Add", 2).file(),
        "kernel, strides and dilations": Network(IMAGE).conv(3, (1, 1), (4, 4), strideH=0).file(),
        "its result is": changed(Network(IMAGE).conv(3, (1, 1), (4, 4)), 3, shape=[1, 4, 5, 3]),
        "fused activation": Network(IMAGE).conv(
            3, (1, 1), (4, 4), fusedActivationFunction="TANH").file(),
        "'{name}' has {rank} dimensions": changed(Network(IMAGE).conv(3, (1, 1), (4, 4)), 0,
                                                  shape=[4, 4, 2]),
    },
    "Conv": {
        "weight has {rank}": flat_kernel(),
        "weight scales along": axis(Network(IMAGE).conv(3, (1, 1), (4, 4)), 3),
    },
    "Gemm": {
        "input is {x}, no": dense_of_other_rows(),
        "weight scales along": axis(Network((2, 4)).dense(4, per_channel=True), 1),
    },
    "MaxPool": {"its operand has scale": pool("MAX_POOL_2D")},
    "AveragePool": {"its operand has scale": pool("AVERAGE_POOL_2D")},
    "Softmax": {"beta": softmax(beta=0.3), "its result has scale": softmax(scale=1 / 128)},
    "Flatten, Reshape, Squeeze, Unsqueeze, Transpose, Identity, Dropout": {
        "scale and zero point are": reshape(),
    },
    "TRANSPOSE_CONV": {
        "input is {x}, the": transposed(depth=4).file(),
        "weight scales along": axis(transposed(), 3),
        "its result is {shape}": transposed(images=2).file(),
    },
    "BATCH_MATMUL": {
        "its first operand is": batches((2, 3, 4), first=True),
        "operands are {x} and {z}, no": batches((2, 3, 5)),
        "operands are {x} and {z}; LiteRT": batches((2, 4, 5), kind="uint8"),
        "its second operand has": batches((2, 4, 5), scales=5),
    },
    "CONCATENATION": {
        "fused activation {word}; a": beside(fusedActivationFunction="RELU"),
        "all operands are constants": beside(2),
        "its operand has scale": beside(like=False),
    },
    "SPLIT, SPLIT_V, SLICE, STRIDED_SLICE, RESIZE_NEAREST_NEIGHBOR": {
        "its operand has scale": strided(like=False),
    },
    "Pad": {"its operand has scale": padded()},
    "ADD, SUB, MUL": {
        "operands of {a}": unlike(),
        "both operands are constants": added("int8"), "operands are {a}": added("int8", "uint8"),
    },
    "QUANTIZE, DEQUANTIZE": {
        "'{name}' is float, and no": float_constant(), "'{name}' is read": float_inside(),
    },
}
