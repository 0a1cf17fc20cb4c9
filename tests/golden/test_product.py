# SPDX-License-Identifier: Apache-2.0
"""golden.product against plain loops and against ONNX Runtime's QLinearMatMul."""

from itertools import product as places

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.golden.product import product
from kiwicha.golden.requantize import requantize_onnx

LEADS = [((), ()), ((3,), ()), ((), (2,)), ((2, 3), (2, 3)), ((2, 1), (1, 3)), ((2, 3), (3,))]


def draw(seed):
    rng = np.random.RandomState(seed)
    dtype = [np.uint8, np.int8][seed % 2]
    info = np.iinfo(dtype)
    first, second = LEADS[seed % len(LEADS)]
    m, k, n = rng.randint(1, 9, 3)

    def values(shape):
        return rng.randint(info.min, info.max + 1, shape).astype(dtype)

    zeros = [int(values(())), int(values(()))]
    return rng, values((*first, m, k)), values((*second, k, n)), *zeros


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_definition(seed):
    _, x, z, x_zero, z_zero = draw(seed)
    acc = product(x, z, x_zero, z_zero)
    lead = np.broadcast_shapes(x.shape[:-2], z.shape[:-2])
    assert acc.shape == (*lead, x.shape[-2], z.shape[-1])
    assert acc.dtype == np.int32
    left = np.broadcast_to(x, (*lead, *x.shape[-2:])).astype(int)
    right = np.broadcast_to(z, (*lead, *z.shape[-2:])).astype(int)
    for at in places(*map(range, acc.shape)):
        *stack, m, n = at
        pairs = zip(left[(*stack, m)], right[(*stack, slice(None), n)], strict=True)
        assert acc[at] == sum((a - x_zero) * (b - z_zero) for a, b in pairs)


@pytest.mark.parametrize("seed", range(100, 124))
def test_equals_onnx_runtime(seed):
    rng, x, z, x_zero, z_zero = draw(seed)
    acc = product(x, z, x_zero, z_zero)
    info = np.iinfo(x.dtype)
    y_scale = np.float32(1e-5 * max(1, np.abs(acc).max()))
    y_zero = rng.randint(info.min, info.max + 1)
    constants = {
        "xs": np.float32(0.02), "xz": x.dtype.type(x_zero), "zs": np.float32(0.05),
        "zz": x.dtype.type(z_zero), "ys": y_scale, "yz": x.dtype.type(y_zero),
    }
    kind = TensorProto.UINT8 if x.dtype == np.uint8 else TensorProto.INT8
    names = ["x", "xs", "xz", "z", "zs", "zz", "ys", "yz"]
    graph = helper.make_graph(
        [helper.make_node("QLinearMatMul", names, ["y"])], "product",
        [helper.make_tensor_value_info(n, kind, a.shape) for n, a in (("x", x), ("z", z))],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    scale = np.float32(0.02) * np.float32(0.05) / y_scale
    expected = requantize_onnx(acc, scale, y_zero, info.min, info.max)
    assert np.array_equal(session.run(None, {"x": x, "z": z})[0], expected)


@pytest.mark.parametrize(("first", "second"), [((3,), (3, 2)), ((2, 3), (3,)), ((2, 3), (2, 3))])
def test_operands_have_to_fit(first, second):
    with pytest.raises(ValueError, match="operands are"):
        product(np.zeros(first, np.int8), np.zeros(second, np.int8), 0, 0)
