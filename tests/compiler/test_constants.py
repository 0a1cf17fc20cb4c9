# SPDX-License-Identifier: Apache-2.0
"""What a model computes of quantized constants alone, which ONNX Runtime does not fold: equal to
it."""

import numpy as np

from .agree import agree
from .onnx_models import dq, model, node, q, scales

U8, S8, F32 = np.uint8, np.int8, np.float32
CONSTANTS = scales(x=(0.03, U8(120)), w=(0.02, S8(0)), a=(0.1, U8(130))) | {
    "M": np.arange(18).reshape(3, 6).astype(S8), "least": F32(-8), "nothing": F32(0),
}
START = [q("x", "xq", "x"), dq("xq", "xf", "x"), dq("M", "mf", "w")]
END = [q("f", "yq", "a"), dq("yq", "y", "a")]


def test_the_condition_of_a_mask():
    """As an attention written out asks whether a row of its mask hides everything."""
    nodes = [*START, node("ReduceMax", ["mf"], ["r"], axes=[1]), node("Greater", ["r", "least"],
             ["some"]), node("Where", ["some", "xf", "nothing"], ["f"], name="it"), *END]
    agree(model(nodes, CONSTANTS, {"x": [3, 6]}))


def test_an_output():
    """Quantized, dequantized, and given as it is."""
    nodes = [*START, q("mf", "yq", "a"), dq("yq", "y", "a"), q("xf", "o", "a"), dq("o", "z", "a")]
    agree(model(nodes, CONSTANTS, {"x": [3, 6]}, ("y", "z")))
