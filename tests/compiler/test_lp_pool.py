# SPDX-License-Identifier: Apache-2.0
"""LpPool and GlobalLpPool: within one code of ONNX Runtime's float, compiled too."""

import numpy as np
import pytest

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

U8, S8 = np.uint8, np.int8
FORMS = {
    "plain": ([2, 3, 6, 7], {"kernel_shape": [3, 2]}),
    "strides": ([1, 5, 7, 7], {"kernel_shape": [3, 3], "strides": [2, 3]}),
    "pads": ([1, 2, 5, 6], {"kernel_shape": [2, 3], "pads": [1, 0, 0, 2]}),
    "same": ([1, 2, 5, 6], {"kernel_shape": [3, 2], "auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "line": ([2, 3, 9], {"kernel_shape": [4], "strides": [2], "pads": [1, 1]}),
    "ceil": ([1, 2, 6, 6], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "gaps": ([1, 2, 7, 6], {"kernel_shape": [2, 2], "dilations": [3, 2]}),
    "global": ([2, 4, 3, 5], None),
}


def pooled(name, p, dtype, after=()):
    shape, attributes = FORMS[name]
    made = node("GlobalLpPool" if attributes is None else "LpPool", ["xf"], ["p"], name="it", p=p,
                **(attributes or {}))
    constants = scales(x=(0.05, dtype(70)), y=({1: 0.5, 2: 0.12}.get(p, 0.08), dtype(10)))
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"), made, *after,
             q("f" if after else "p", "pq", "y"), dq("pq", "y", "y")]
    return model(nodes, constants, {"x": shape}, opset=18)


@pytest.mark.parametrize("dtype", [U8, S8])
@pytest.mark.parametrize("p", [1, 2, 3, 5])
@pytest.mark.parametrize("name", FORMS)
def test_norms(name, p, dtype):
    runs(agree(pooled(name, p, dtype), exact=False), "default")


@pytest.mark.parametrize("p", [1, 2])
def test_what_follows(p):
    after = [node("Relu", ["p"], ["r"]), node("Flatten", ["r"], ["f"])]
    runs(agree(pooled("pads", p, U8, after), exact=False), "default")
