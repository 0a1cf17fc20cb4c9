# SPDX-License-Identifier: Apache-2.0
"""QLinearConcat equals ONNX Runtime on every code, whatever the scales."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from kiwicha.golden.concat import concat

from ..compiler.onnx_models import model, node, scales

KINDS = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}


def draw(rng, dtype):
    """Return a scale, near 0.05 or anywhere in binary32, and a zero point."""
    info = np.iinfo(dtype)
    wide = 10.0 ** rng.uniform(-37, 37)
    scale = [0.05, 0.1, rng.uniform(0.02, 0.1), wide][rng.randint(4)]
    return np.float32(scale), dtype(rng.randint(info.min, info.max + 1))


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("seed", range(40))
def test_every_code(seed, dtype):
    rng = np.random.RandomState(seed)
    info = np.iinfo(dtype)
    x = np.arange(info.min, info.max + 1).astype(dtype).reshape(16, 16)
    keys = [f"x{place}" for place in range(3)]
    made = dict(zip([*keys, "y"], [draw(rng, dtype) for _ in range(4)], strict=True))
    made["x2"] = made["y"]
    names = ["y_s", "y_z"] + [name for key in keys for name in (key, f"{key}_s", f"{key}_z")]
    concatenate = node("QLinearConcat", names, ["y"], domain="com.microsoft", axis=1)
    types = dict.fromkeys([*keys, "y"], KINDS[dtype])
    built = model([concatenate], scales(**made), dict.fromkeys(keys, [16, 16]), types=types)
    session = onnxruntime.InferenceSession(built.SerializeToString())
    expected = session.run(None, dict.fromkeys(keys, x))[0]
    y_scale, y_zero = made["y"]
    operands = [(x, made[key][0], int(made[key][1])) for key in keys]
    assert np.array_equal(concat(operands, 1, y_scale, int(y_zero)), expected)
