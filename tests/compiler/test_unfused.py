# SPDX-License-Identifier: Apache-2.0
"""Dynamically quantized models that ONNX Runtime has optimized and saved: as those before."""

import numpy as np
import onnx
import onnxruntime
import pytest

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.network import evaluate
from kiwicha.machine.presets import preset
from kiwicha.sim.judge import judge

from .test_dynamic import CONFIGS, branched, check, mlp, quantized


def optimized(tmp_path, model):
    """Return what ONNX Runtime makes of a model."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return onnx.load(tmp_path / "optimized.onnx")


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_products(tmp_path, bias, per_channel):
    rng = np.random.default_rng(bias)
    nodes, constants = mlp(rng, (6, 7, 4), bias)
    model = quantized(tmp_path, nodes, constants, [3, 6], per_channel=per_channel)
    model = optimized(tmp_path, model)
    assert {n.op_type for n in model.graph.node} >= {"DynamicQuantizeMatMul"}
    x = rng.normal(size=(3, 6)).astype(np.float32)
    check(model, CONFIGS["small"], x)
    lowered = lower(model)
    graph = legalize(lowered)
    tensors = evaluate(graph, {"x": x})
    for node in graph.nodes:
        verdict = judge(lowered, graph, (node,), preset("default"), tensors)
        assert verdict.compared
        assert not verdict.differ


def test_an_input_of_several_products(tmp_path):
    rng = np.random.default_rng(3)
    nodes, constants, names = branched(rng, 2)
    model = optimized(tmp_path, quantized(tmp_path, nodes, constants, [3, 5], names))
    assert {n.op_type for n in model.graph.node} >= {"MatMulIntegerToFloat"}
    graph, _ = check(model, CONFIGS["small"], rng.normal(size=(3, 5)).astype(np.float32))
    assert len(graph.dynamic) == 1
