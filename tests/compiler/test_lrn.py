# SPDX-License-Identifier: Apache-2.0
"""LRN as three layers, equal to its golden model."""

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.lrn import lrn
from kiwicha.golden.network import evaluate

from .agree import agree
from .onnx_models import dq, model, node, q, scales

TYPES = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}


def lrn_model(dtype, zero, behind=(), shape=(2, 11, 3, 4), **given):
    constants = scales(x=(0.05, dtype(zero)), y=(0.03, dtype(zero + 3)))
    nodes = [dq("xq", "xf", "x"), node("LRN", ["xf"], ["f0"], name="it", **given), *behind,
             q("f" if behind else "f0", "yq", "y"), dq("yq", "y", "y")]
    return model(nodes, constants, {"xq": shape}, types={"xq": TYPES[dtype]})


@pytest.mark.parametrize("dtype,zero", [(np.int8, -7), (np.uint8, 121), (np.uint8, 0)])
@pytest.mark.parametrize("given", [{"size": 5}, {"size": 1, "alpha": 0.5},
                                   {"size": 21, "alpha": 0.3, "beta": 0.5, "bias": 2.0}], ids=str)
def test_equal_to_the_golden_model(given, dtype, zero):
    graph = legalize(lower(lrn_model(dtype, zero, **given)))
    assert [(n.kind, n.promise) for n in graph.nodes] == [
        ("table", "golden"), ("conv", "golden"), ("tables", "golden")]
    info = np.iinfo(dtype)
    x = np.random.default_rng(92).integers(info.min, info.max + 1, (2, 11, 3, 4)).astype(dtype)
    expected = lrn(x, np.float32(0.05), zero, np.float32(0.03), zero + 3, dtype, **given)
    assert np.array_equal(evaluate(graph, {"xq": x})["yq"], expected)


@pytest.mark.parametrize("behind", [
    [node("Relu", ["f0"], ["f"])],
    [node("Flatten", ["f0"], ["f1"]), node("Clip", ["f1", "", "x_s"], ["f"])],
], ids=["relu", "view and clip"])
def test_what_follows_is_fused(behind):
    graph = legalize(lower(lrn_model(np.int8, 3, behind, size=3, alpha=0.1)))
    assert len([n for n in graph.nodes if n.kind != "view"]) == 3


def test_behind_a_convolution():
    nodes = [q("x", "xq", "x"), node("QLinearConv", ["xq", "x_s", "x_z", "W", "w_s", "w_z", "x_s",
                                                     "x_z"], ["cq"]),
             dq("cq", "c", "x"), node("LRN", ["c"], ["f"], size=3, alpha=0.2), q("f", "yq", "y"),
             dq("yq", "y", "y")]
    constants = scales(x=(0.05, np.uint8(100)), y=(0.03, np.uint8(90)), w=(0.02, np.int8(0)))
    weights = np.random.default_rng(93).integers(-127, 128, (6, 4, 3, 3)).astype(np.int8)
    whole = model(nodes, constants | {"W": weights}, {"x": [1, 4, 8, 8]})
    graph = agree(whole, exact=False)
    assert graph.notes[-1].text.startswith("lowered by kiwicha: LRN")
