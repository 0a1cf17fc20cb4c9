# SPDX-License-Identifier: Apache-2.0
"""Quantized networks for tests: LeNet-5 in every form, and small ones, each for one difficulty.

Everything is built at run time from a table and a seed. `NETWORKS` must run on the machine,
`UNSUPPORTED` must be refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

from kiwicha.models.digits import load_npz
from kiwicha.models.lenet5 import CALIBRATION, FP32
from kiwicha.models.quantize import DEFAULT, Form, quantize

__all__ = [
    "NETWORKS", "SPECIAL", "UNSUPPORTED", "Layer", "Network", "build", "lenet5", "random_input",
]

OPSET, IR_VERSION = 17, 8
SAMPLES = 4  #: calibration inputs of a synthetic network


@dataclass(frozen=True)
class Layer:
    """One ONNX node fed by the one before it.

    Members
    -------
    op : ONNX operator
    weights : shapes of the learned inputs in order (weight, bias), filled from the seed
    constants : literal inputs that follow (Clip's limits, Reshape's shape, another tensor's name)
    attributes : ONNX attributes
    """

    op: str
    weights: tuple[tuple[int, ...], ...] = ()
    constants: tuple[Any, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """A chain of layers; ``shape`` is the input's, batch included."""

    shape: tuple[int, ...]
    layers: tuple[Layer, ...]


def _conv(*weight: int, bias: bool = True, **attributes: Any) -> Layer:
    return Layer("Conv", (weight, weight[:1]) if bias else (weight,), attributes=attributes)


def _gemm(k: int, n: int, *, bias: bool = True, **attributes: Any) -> Layer:
    weight = (n, k) if attributes.get("transB") else (k, n)
    return Layer("Gemm", (weight, (n,)) if bias else (weight,), attributes=attributes)


def _matmul(k: int, n: int) -> Layer:
    return Layer("MatMul", ((k, n),))


def _pool(*kernel: int, **attributes: Any) -> Layer:
    return Layer("MaxPool", attributes={"kernel_shape": kernel, **attributes})


def _average(*kernel: int, **attributes: Any) -> Layer:
    return Layer("AveragePool", attributes={"kernel_shape": kernel, **attributes})


def _clip(low: float, high: float) -> Layer:
    return Layer("Clip", constants=(np.float32(low), np.float32(high)))


def _reshape(*shape: int) -> Layer:
    return Layer("Reshape", constants=(np.array(shape, np.int64),))


def _slice(starts: list[int], ends: list[int], axes: list[int]) -> Layer:
    return Layer("Slice", constants=tuple(np.array(v, np.int64) for v in (starts, ends, axes)))


_RELU, _FLATTEN = Layer("Relu"), Layer("Flatten")

NETWORKS: dict[str, Network] = {
    # Convolution geometry
    "conv_plain": Network((1, 3, 8, 8), (_conv(4, 3, 3, 3),)),
    "conv_same": Network((1, 4, 7, 9), (_conv(8, 4, 3, 3, pads=[1] * 4), _RELU)),
    "conv_no_bias": Network((1, 3, 6, 6), (_conv(5, 3, 3, 3, bias=False),)),
    "conv_strided": Network((1, 3, 11, 9), (_conv(5, 3, 3, 3, strides=[2, 3], pads=[1] * 4),)),
    "conv_dilated": Network((1, 2, 12, 11), (_conv(3, 2, 3, 3, dilations=[2, 3]),)),
    "conv_asymmetric_pads": Network((1, 2, 7, 6), (_conv(3, 2, 3, 3, pads=[0, 2, 1, 1]),)),
    "conv_mixed": Network((2, 3, 13, 10), (
        _conv(7, 3, 3, 2, strides=[2, 1], dilations=[1, 2], pads=[2, 0, 1, 3]), _RELU)),
    "conv_auto_pad": Network((1, 3, 9, 8), (
        _conv(4, 3, 3, 3, auto_pad="SAME_UPPER", strides=[2, 2]),)),
    "conv_auto_pad_lower": Network((1, 3, 8, 8), (_conv(4, 3, 2, 2, auto_pad="SAME_LOWER"),)),
    "conv_non_square": Network((1, 3, 8, 12), (_conv(4, 3, 1, 5, pads=[0, 2, 0, 2]),)),
    "conv_tall": Network((1, 3, 12, 5), (_conv(4, 3, 7, 1),)),
    "conv_1x1": Network((1, 19, 5, 5), (_conv(23, 19, 1, 1), _RELU)),
    "conv_1x1_strided": Network((1, 8, 7, 7), (_conv(9, 8, 1, 1, strides=[2, 2]),)),
    "conv_one_pixel": Network((1, 5, 3, 3), (_conv(6, 5, 3, 3),)),
    "conv_one_channel": Network((1, 1, 9, 9), (_conv(1, 1, 3, 3, pads=[1] * 4),)),
    "conv_depthwise": Network((1, 8, 9, 9), (_conv(8, 1, 3, 3, group=8, pads=[1] * 4), _RELU)),
    "conv_depthwise_x2": Network((1, 3, 8, 8), (_conv(6, 1, 3, 3, group=3, strides=[2, 2]),)),
    "conv_grouped": Network((1, 6, 8, 7), (_conv(8, 3, 3, 3, group=2, pads=[1] * 4),)),
    "conv_batch": Network((5, 3, 6, 6), (_conv(4, 3, 3, 3, pads=[1] * 4), _RELU)),
    "conv_odd_channels": Network((1, 33, 6, 5), (_conv(35, 33, 3, 3, pads=[1] * 4),)),
    # Activations and pooling
    "conv_relu6": Network((1, 3, 8, 8), (_conv(8, 3, 3, 3), _clip(0, 6))),
    "conv_clip": Network((1, 3, 8, 8), (_conv(8, 3, 3, 3), _clip(-1, 1.5))),
    "pool_2x2": Network((1, 3, 8, 8), (_conv(4, 3, 3, 3, pads=[1] * 4), _RELU,
                                       _pool(2, 2, strides=[2, 2]))),
    "pool_padded": Network((1, 3, 9, 9), (_conv(4, 3, 3, 3),
                                          _pool(3, 3, strides=[2, 2], pads=[1] * 4))),
    "pool_overlapping": Network((2, 2, 7, 9), (_conv(3, 2, 3, 3), _pool(3, 2))),
    "pool_ceil": Network((1, 2, 10, 12), (
        _conv(3, 2, 3, 3), _pool(3, 3, strides=[2, 2], ceil_mode=1))),
    "pool_asymmetric_pads": Network((1, 2, 8, 8), (
        _conv(3, 2, 3, 3), _pool(2, 3, strides=[2, 1], pads=[0, 1, 1, 0]))),
    "pool_dilated": Network((1, 2, 10, 10), (_conv(3, 2, 3, 3), _pool(2, 2, dilations=[2, 3]))),
    "average_pool": Network((2, 3, 8, 7), (
        _conv(4, 3, 3, 3), _average(3, 3, strides=[2, 1], pads=[1] * 4, count_include_pad=1))),
    "average_border": Network((2, 3, 7, 7), (
        _conv(4, 3, 3, 3), _average(5, 1, strides=[2, 1], pads=[2, 0, 2, 0]))),
    "global_pool": Network((2, 3, 8, 8), (
        _conv(5, 3, 3, 3), Layer("GlobalAveragePool"), _FLATTEN, _gemm(5, 4, transB=1))),
    # Matrix products
    "mean": Network((2, 3, 8, 8), (
        _conv(4, 3, 3, 3), Layer("ReduceMean", attributes={"axes": [2, 3], "keepdims": 0}),
        _gemm(4, 5))),
    "matmul": Network((5, 20), (_matmul(20, 18),)),
    "matmul_relu": Network((3, 17), (_matmul(17, 33), _RELU)),
    "matmul_3d": Network((2, 5, 16), (_matmul(16, 9),)),
    "matmul_chain": Network((4, 16), (_matmul(16, 24), _RELU, _matmul(24, 8))),
    "gemm": Network((4, 16), (_gemm(16, 9),)),
    "gemm_trans_b": Network((3, 21), (_gemm(21, 13, transB=1), _RELU)),
    "gemm_no_bias": Network((2, 10), (_gemm(10, 7, bias=False),)),
    "gemm_batch_1": Network((1, 100), (_gemm(100, 50, transB=1),)),
    # Shapes of whole networks
    "flatten": Network((2, 3, 6, 6), (_conv(4, 3, 3, 3), _RELU, _FLATTEN,
                                      _gemm(64, 10, transB=1))),
    "flatten_first": Network((2, 4, 3, 3), (_FLATTEN, _gemm(36, 8, transB=1))),
    "reshape": Network((2, 3, 6, 6), (_conv(4, 3, 3, 3), _reshape(0, -1), _gemm(64, 5))),
    "reshape_last": Network((1, 2, 6, 6), (_conv(4, 2, 3, 3), _reshape(1, -1))),
    "separable": Network((1, 3, 16, 16), (
        _conv(8, 3, 3, 3, strides=[2, 2], pads=[1] * 4), _clip(0, 6),
        _conv(8, 1, 3, 3, group=8, pads=[1] * 4), _clip(0, 6), _conv(16, 8, 1, 1),
        _pool(2, 2, strides=[2, 2]), _FLATTEN, _gemm(256, 10, transB=1))),
    # Larger than small scratchpads: must be tiled
    "wide_gemm": Network((2, 1100), (_gemm(1100, 70, transB=1), _RELU)),
    "deep_conv": Network((1, 130, 6, 6), (_conv(40, 130, 3, 3, pads=[1] * 4),)),
    # The two that the performance figures are measured on
    "bench_conv3x3": Network((1, 64, 28, 28), (_conv(64, 64, 3, 3, pads=[1] * 4),)),
    "bench_gemm64": Network((64, 64), (_matmul(64, 64),)),
    # What the special function engine, or a rule of our own, makes possible
    "sigmoid": Network((1, 3, 6, 6), (_conv(4, 3, 3, 3), Layer("Sigmoid"))),
    "softmax": Network((2, 8), (_gemm(8, 6), Layer("Softmax"))),
    "softmax_channels": Network((2, 3, 6, 6), (
        _conv(4, 3, 3, 3), Layer("Softmax", attributes={"axis": 1}))),
    "residual": Network((1, 4, 6, 6), (
        _conv(4, 4, 3, 3, pads=[1] * 4), Layer("Add", constants=("x",)))),
    "bias_add": Network((4, 8), (_matmul(8, 6), Layer("Add", ((6,),)))),
    "gemm_alpha": Network((2, 8), (_gemm(8, 6, alpha=0.5),)),
    "gemm_trans_a": Network((8, 2), (_gemm(8, 6, transA=1),)),
    # Data movement
    "concat": Network((2, 3, 6, 5), (
        _conv(4, 3, 1, 1), Layer("Concat", constants=("x",), attributes={"axis": 1}),
        _conv(5, 7, 3, 3))),
    "global_max": Network((2, 3, 8, 8), (
        _conv(5, 3, 3, 3), Layer("GlobalMaxPool"), _FLATTEN, _gemm(5, 4, transB=1))),
    "pad": Network((2, 3, 6, 5), (
        _conv(4, 3, 3, 3), Layer("Pad", constants=(np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64),)),
        _conv(5, 4, 2, 2))),
    "resize": Network((2, 3, 6, 5), (
        _conv(4, 3, 3, 3), Layer("Resize", constants=("", np.array([1, 1, 2, 3], np.float32)),
                                 attributes={"mode": "nearest"}), _conv(5, 4, 2, 2))),
    "slice": Network((2, 3, 7, 6), (
        _conv(9, 3, 3, 3), _slice([1, 2], [7, -1], [1, 2]), _conv(4, 6, 2, 2))),
    # Products and sums of two tensors
    "gates": Network((2, 4, 6, 7), (  # by channel, by place, with a slope for each channel
        _conv(8, 4, 3, 3, pads=[1] * 4), Layer("GlobalAveragePool"), _conv(8, 8, 1, 1),
        Layer("HardSigmoid"), Layer("Mul", constants=("conv1_out",)), Layer("PRelu", ((8, 1, 1),)),
        _conv(1, 8, 1, 1), Layer("Sigmoid"), Layer("Mul", constants=("conv1_out",)),
        Layer("Sub", constants=("mul1_out",)), _conv(5, 8, 1, 1),
        Layer("ReduceMean", attributes={"axes": [2, 3], "keepdims": 0}), _gemm(5, 4, transB=1))),
    "resize_corners": Network((1, 3, 6, 5), (  # a product with the matrix of all pixels
        _conv(4, 3, 3, 3),
        Layer("Resize", constants=("", np.array([1, 1, 2, 1.5], np.float32)), attributes={
            "mode": "linear", "coordinate_transformation_mode": "align_corners"}),
        _conv(5, 4, 2, 2))),
}

#: those of them that need the special function engine
SPECIAL = ("sigmoid", "softmax", "softmax_channels", "residual", "bias_add", "gates")

#: networks that must be refused: {name: (network, the operator of the node to be named)}
UNSUPPORTED: dict[str, tuple[Network, str]] = {
    "determinant": (Network((1, 3, 6, 6), (_conv(4, 3, 3, 3), Layer("Det"))), "Det"),
    "pool_only": (Network((1, 3, 6, 6), (_pool(2, 2),)), "MaxPool"),
}


def random_input(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """A standard-normal input; a fixed seed gives fixed bits."""
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def _export(name: str, network: Network) -> onnx.ModelProto:
    """The float model of a network: input ``x``, output ``y``, nodes named ``conv1``, ``relu1``."""
    rng = np.random.RandomState(crc32(name.encode()))
    nodes, initializers, counts, tensor = [], [], dict[str, int](), "x"
    for index, layer in enumerate(network.layers):
        counts[layer.op] = counts.get(layer.op, 0) + 1
        node = f"{layer.op.lower()}{counts[layer.op]}"
        values: list[Any] = [rng.standard_normal(shape) for shape in layer.weights]
        values = [np.asarray(v / np.sqrt(v[0].size), np.float32) for v in values]
        inputs = [tensor]
        for position, value in enumerate([*values, *layer.constants]):
            inputs.append(value if isinstance(value, str) else f"{node}.{position}")
            if not isinstance(value, str):
                initializers.append(numpy_helper.from_array(np.asarray(value), inputs[-1]))
        tensor = "y" if index == len(network.layers) - 1 else f"{node}_out"
        nodes.append(helper.make_node(layer.op, inputs, [tensor], name=node, **layer.attributes))
    graph = helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, network.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers,
    )
    model = shape_inference.infer_shapes(helper.make_model(
        graph, producer_name="kiwicha", ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    ), strict_mode=True)
    onnx.checker.check_model(model)
    return model


def build(name: str, form: Form | None = DEFAULT) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """Return (model, input shape) of a network of either table, in the given form.

    Parameters
    ----------
    name : key of `NETWORKS` or `UNSUPPORTED`
    form : how it is quantized; ``None`` leaves it in float
    """
    if name not in NETWORKS and name not in UNSUPPORTED:
        raise ValueError(f"network={name!r}: one of {', '.join([*NETWORKS, *UNSUPPORTED])}")
    network = NETWORKS[name] if name in NETWORKS else UNSUPPORTED[name][0]
    model = _export(name, network)
    if form is not None:
        samples = random_input((SAMPLES, *network.shape), seed=crc32(name.encode()))
        model = quantize(model, form, samples)
    return model, network.shape


def lenet5(form: Form = DEFAULT) -> onnx.ModelProto:
    """The shipped LeNet-5, quantized in the given form, calibrated on shipped training images."""
    return quantize(onnx.load(FP32), form, load_npz(CALIBRATION).images[:, None])
