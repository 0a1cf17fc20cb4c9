# SPDX-License-Identifier: Apache-2.0
"""Values in binary32 that are quantized together: as ONNX Runtime does Concat and quantization."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from kiwicha.compiler.graph.dynamic_real import DynamicRealNode, RealPart
from kiwicha.compiler.graph.graph import Tensor
from kiwicha.compiler.graph.layout import channels_last
from kiwicha.golden.dynamic import added_values, real_octets
from kiwicha.golden.dynamic_nodes import dynamic_real, real_values
from kiwicha.machine.records import SLOT_RECORD

from .test_dynamic import runtime

F32, UINT8 = np.float32, np.dtype(np.uint8)


def test_reads_what_was_written():
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-42, -3.5], F32)
    found = real_values(real_octets(special))
    assert found.tobytes() == np.array(
        [0, 0, np.inf, np.inf, np.inf, 1e-42, -3.5], F32).tobytes()


def test_slope_then_operand_then_relu():
    v, operand = np.array([[-2, 3], [-1e-42, 0.5]], F32), np.array([[1, -4], [0, 1]], F32)
    slope = np.array([0.1, 0.7], F32)
    scaled = np.where(v < 0, v * slope, v)
    assert np.array_equal(added_values(v, operand, slope=slope), scaled + operand)
    assert np.array_equal(
        added_values(v, operand, slope=slope, relu=True), np.maximum(scaled + operand, 0))
    assert np.array_equal(added_values(v, operand, alone=True, relu=True), [[1, 0], [0, 1]])


def test_as_the_runtime_has_it():
    """LeakyRelu, a sum with Relu, their concatenation, DynamicQuantizeLinear."""
    rng = np.random.default_rng(2)
    a, b, c = (rng.normal(size=(2, n, 3, 4)).astype(F32) for n in (3, 3, 5))
    make = helper.make_node
    nodes = [
        make("LeakyRelu", ["a"], ["l"], alpha=0.1), make("Add", ["l", "b"], ["s"]),
        make("Relu", ["s"], ["r"]), make("Concat", ["r", "c"], ["t"], axis=1),
        make("DynamicQuantizeLinear", ["t"], ["q", "k", "z"]),
    ]
    kinds = {"q": TensorProto.UINT8, "k": TensorProto.FLOAT, "z": TensorProto.UINT8}
    expected, scale, zero = runtime(nodes, "abc", kinds).run(None, {"a": a, "b": b, "c": c})

    def octets(v):
        return real_octets(np.ascontiguousarray(v.transpose(0, 2, 3, 1)).reshape(24, -1))

    summed = added_values(a, b, slope=F32(0.1))
    parts = tuple(
        RealPart(Tensor(name, (24, 4 * n), UINT8, F32(1), 0), relu, n)
        for name, relu, n in (("s", True, 3), ("c", False, 5))
    )
    y = Tensor("q", (2, 8, 3, 4), UINT8, F32(1), 0, channels_last(4))
    record = Tensor("record", (64,), UINT8, F32(1), 0)
    found = DynamicRealNode("it", "DynamicQuantizeLinear", parts[0].x, parts, y, record, 1)
    codes, slots = dynamic_real(found, octets(summed), octets(c), None)
    np.testing.assert_array_equal(codes, expected)
    assert slots.view(SLOT_RECORD)[1].tolist()[:2] == (scale, zero)
    with pytest.raises(OverflowError, match="'q', which it makes, cannot be quantized"):
        dynamic_real(found, octets(summed), octets(np.sign(c) * F32(3e38)), None)
