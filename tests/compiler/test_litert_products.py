# SPDX-License-Identifier: Apache-2.0
"""Transposed convolutions and products of activations from the graph to the golden machine, with
the scales of LiteRT's kernels, and both against LiteRT."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.fixed_scales import convolution_scale, product_scale

from .onnx_models import dq, model, node, scales
from .test_conv_transpose import between

pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")

from ..support.litert import Operand, run_operator

TFLITE = AcceleratorConfig(
    rows=4, columns=4, axi_data_width=64, requantize_mode="tflite", transposer=True,
)


def machine_result(graph, tensors):
    compiled = compile_graph(graph, TFLITE)
    memory = compiled.load(tensors)
    Machine(TFLITE, memory, compiled.read_window, compiled.write_window).run(compiled.words)
    return compiled.read(memory, graph.nodes[-1].y)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize(("strides", "kernel"), [
    ((2, 2), (3, 3)), ((1, 2), (4, 2)), ((3, 3), (2, 5)),
])
def test_transposed_convolution(dtype, strides, kernel):
    """Windows that meet and windows that do not; channels of scales of their own (int8)."""
    whole = between(
        (2, 5, 4, 3), (5, 7, *kernel), dtype=dtype, channel=True, bias=1, strides=list(strides)
    )
    graph = legalize(lower(whole))
    (back,) = graph.nodes
    w_scale = (back.scale64 * back.y.scale / back.x.scale).astype(np.float32)
    if dtype == np.uint8:  # per tensor only, and its weights are uint8, too
        w_scale = np.full_like(w_scale, w_scale[0])
    scale = convolution_scale(back.x.scale, w_scale, back.y.scale, dtype)
    back = replace(back, scale64=scale)
    graph = replace(graph, nodes=(back,))
    x = np.random.default_rng(3).integers(0, 256, (2, 5, 4, 3)).astype(np.uint8).view(dtype)
    weights = np.ascontiguousarray(back.weights.transpose(0, 2, 3, 1))
    w_zero = 0
    if dtype == np.uint8:
        weights, w_zero = (weights.astype(np.int16) + 128).astype(np.uint8), 128
        w_scale = w_scale[:1]
    sizes = [(n - 1) * s + k for n, s, k in zip((4, 3), strides, kernel, strict=True)]
    expected = run_operator(
        "TRANSPOSE_CONV",
        [
            Operand(np.array([2, *sizes, 7], np.int32), constant=True),
            Operand(weights, w_scale, w_zero, constant=True),
            Operand(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), back.x.scale, back.x.zero_point),
            Operand(back.bias, back.x.scale * w_scale, constant=True),
        ],
        Operand(np.empty((2, *sizes, 7), dtype), back.y.scale, back.y.zero_point), 3,
        {"padding": 1, "strideH": strides[0], "strideW": strides[1]}, "TransposeConv",
    ).transpose(0, 3, 1, 2)
    tensors = evaluate_codes(graph, x)
    np.testing.assert_array_equal(tensors["yq"], expected)
    assert 20 < len(np.unique(expected))
    np.testing.assert_array_equal(machine_result(graph, tensors), expected)


def evaluate_codes(graph, x):
    """The golden network on codes of x, of which the graph's input is the float."""
    (edge,) = graph.quantize
    real = ((x.astype(np.float64) - edge.tensor.zero_point) * edge.tensor.scale).astype(np.float32)
    tensors = evaluate(graph, {"x": real}, "tflite")
    np.testing.assert_array_equal(tensors[edge.tensor.name], x)
    return tensors


@pytest.mark.parametrize("y_scale", [0.5, 0.37, 2.0])
def test_batches_of_products(y_scale):
    rng = np.random.default_rng(7)
    constants = scales(x=(0.11, np.int8(-7)), z=(0.09, np.int8(20)), y=(y_scale, np.int8(3)))
    names = ["x", "x_s", "x_z", "z", "z_s", "z_z", "y_s", "y_z"]
    shapes = {"x": (3, 9, 26), "z": (3, 26, 11)}
    whole = model(
        [node("QLinearMatMul", names, ["yq"]), dq("yq", "y", "y")], constants, shapes,
        types=dict.fromkeys(shapes, TensorProto.INT8),
    )
    graph = legalize(lower(whole))
    (product,) = graph.nodes
    scale = product_scale(product.x.scale, product.z.scale, product.y.scale)
    graph = replace(graph, nodes=(replace(product, scale64=scale[()]),))
    x, z = (rng.integers(-128, 128, shape, dtype=np.int8) for shape in shapes.values())
    expected = run_operator(
        "BATCH_MATMUL",
        [Operand(x, product.x.scale, -7), Operand(z, product.z.scale, 20)],
        Operand(np.empty((3, 9, 11), np.int8), product.y.scale, 3), 4, {}, "BatchMatMul",
    )
    tensors = evaluate(graph, {"x": x, "z": z}, "tflite")
    np.testing.assert_array_equal(tensors["yq"], expected)
    np.testing.assert_array_equal(machine_result(graph, tensors), expected)
