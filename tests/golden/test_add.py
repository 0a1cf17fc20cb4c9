# SPDX-License-Identifier: Apache-2.0
"""QLinearAdd against ONNX Runtime."""

import itertools

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.golden.add import add, exchanged

TYPES = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}

SHAPES = (
    ((), ()), ((1,), (1,)), ((1, 1), (1,)), ((5,), ()), ((), (5,)), ((7,), (7,)),
    ((30, 17), (30, 17)), ((4, 33), (33,)), ((33,), (4, 33)), ((40, 33), (40, 1)),
    ((40, 1), (40, 33)), ((2, 3, 1), (2, 1, 1)), ((2, 1, 1), (2, 3, 1)), ((2, 1, 5), (2, 3, 1)),
    ((2, 3, 1), (2, 1, 5)), ((3, 6, 4, 1), (3, 1, 4, 1)), ((3, 1, 4, 1), (3, 6, 4, 1)),
    ((1, 1, 1), (2, 3, 4)), ((2, 3, 4), (1,)), ((64, 1), (1, 64)), ((1, 64), (64, 1)),
    ((1, 1, 1), (5, 1, 1)), ((5, 1, 1), (1, 1, 1)), ((2, 3, 4, 5), (3, 1, 5)),
)


def ort_add(a, b, scales, zeros, types=None):
    return ort_binary("QLinearAdd", a, b, scales, zeros, types)


def ort_binary(operator, a, b, scales, zeros, types=None):
    kinds = types or [a.dtype.type] * 3
    names = ["a", "sa", "za", "b", "sb", "zb", "sy", "zy"]
    constants = {}
    for name, scale, zero, kind in zip("aby", scales, zeros, kinds, strict=True):
        constants |= {f"s{name}": np.float32(scale), f"z{name}": kind(zero)}
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], domain="com.microsoft")],
        operator,
        [
            helper.make_tensor_value_info("a", TYPES[kinds[0]], a.shape),
            helper.make_tensor_value_info("b", TYPES[kinds[1]], b.shape),
        ],
        [helper.make_tensor_value_info("y", TYPES[kinds[2]], None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"a": a, "b": b})[0]


def model_add(a, b, scales, zeros):
    (sa, sb, sy), (za, zb, zy) = scales, zeros
    return add(a, b, sa, za, sb, zb, sy, zy, a.dtype)


def all_pairs(dtype):
    codes = np.arange(256, dtype=np.uint8).view(dtype)
    return np.repeat(codes, 256), np.tile(codes, 256)


def random_scales(rng, kind):
    """Any, powers of two (exact halves), small ratios (sums an ulp from a half), decimal fractions
    of up to four digits, ratios that differ by far, and all of binary32 but for the least scales.
    """
    digits = 10 ** rng.integers(1, 5, 3)
    makers = {
        "any": lambda: np.exp(rng.normal(-3, 1.5, 3)),
        "powers": lambda: 2.0 ** rng.integers(-6, 3, 3),
        "ratios": lambda: rng.integers(1, 40, 3) / 10,
        "decimals": lambda: rng.integers(1, digits + 1) / digits,
        "far": lambda: 10.0 ** rng.uniform(-7, 7, 3),
        "whole range": lambda: 2.0 ** rng.uniform(-126, 127.9, 3),
    }
    return [float(np.float32(scale)) for scale in makers[kind]()]


@pytest.mark.parametrize("kind", ["any", "powers", "ratios", "decimals", "far", "whole range"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_every_pair(dtype, kind):
    rng = np.random.default_rng([21, dtype is np.int8, len(kind)])
    a, b = all_pairs(dtype)
    for _ in range(15):
        scales = random_scales(rng, kind)
        zeros = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, 3).tolist()
        real = ort_add(a, b, scales, zeros)
        assert np.array_equal(model_add(a, b, scales, zeros), real), (scales, zeros)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_corners_of_zero_points(dtype):
    """Every pair for all combinations of least, middle and greatest."""
    a, b = all_pairs(dtype)
    bounds = np.iinfo(dtype)
    corners = (bounds.min, bounds.max // 2 + 1, bounds.max)
    for zeros in itertools.product(corners, repeat=3):
        real = ort_add(a, b, (0.06, 0.05, 0.1), zeros)
        assert np.array_equal(model_add(a, b, (0.06, 0.05, 0.1), zeros), real), zeros


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_sums_from_2_31_on_are_the_lowest_code(dtype):
    """Also where they are infinite, or the difference of two infinities."""
    a, b = all_pairs(dtype)
    low = int(np.iinfo(dtype).min)
    limit = float(np.nextafter(np.float32(2.0**24), np.float32(0)))
    least = 0
    for scales, count in (
        ((limit, limit, 1.0), None),  # a sum is 2^31 - 128
        ((2.0**24, 2.0**24, 1.0), None),
        ((2.0**60, 2.0**59, 1.0), None),
        ((8.0, 1.0, 2.0**-126), 65536),
        ((1.0, 8.0, 2.0**-126), 65536),
        ((2.0**126, 2.0**126, 0.5), None),
    ):
        real = ort_add(a, b, scales, (low, low, low))
        assert np.array_equal(model_add(a, b, scales, (low, low, low)), real), scales
        total = (a.astype(float) - low) * scales[0] + (b.astype(float) - low) * scales[1]
        wrapped = (total >= scales[2] * 2.0**31) & (real == low)
        least += np.count_nonzero(wrapped)
        assert count is None or np.count_nonzero(real == low) == count
    assert least > 100_000


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_every_pair_cancels(dtype):
    """Zero points far apart: large products whose sum is small."""
    rng = np.random.default_rng([22, dtype is np.int8])
    a, b = all_pairs(dtype)
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    for _ in range(10):
        scales = [9.7 + rng.random(), 9.7 + rng.random(), 0.11 + rng.random()]
        real = ort_add(a, b, scales, (low, high, low + 128))
        assert np.array_equal(model_add(a, b, scales, (low, high, low + 128)), real)


@pytest.mark.parametrize(
    "dtype,scales,zeros",
    [
        (np.int8, (3.8, 3.3, 3.6), (-72, 93, -16)),
        (np.int8, (1.0, 3.1, 0.6), (-118, 16, -3)),
        (np.uint8, (3.1, 2.3, 2.0), (143, 199, 132)),
        (np.uint8, (1.6, 0.5, 2.6), (62, 105, 149)),
    ],
)
def test_zero_points_are_added_in_order(dtype, scales, zeros):
    """Scales with which hundreds of sums show where F rounds: only b's zero point is multiplied."""
    a, b = all_pairs(dtype)
    real = ort_add(a, b, scales, zeros)
    assert np.array_equal(model_add(a, b, scales, zeros), real)
    ratio_a, ratio_b = (np.float32(scale) / np.float32(scales[2]) for scale in scales[:2])
    zero = ratio_a * np.float32(zeros[0]) + ratio_b * np.float32(zeros[1])
    total = a * ratio_a.astype(np.float64) + b * ratio_b.astype(np.float64)
    bounds = np.iinfo(dtype)
    other = np.clip(np.rint(total + (np.float32(zeros[2]) - zero)), bounds.min, bounds.max)
    assert np.count_nonzero(other != real) > 50


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_broadcasting(shapes):
    rng = np.random.default_rng([23, SHAPES.index(shapes)])
    for dtype in (np.int8, np.uint8):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max + 1
        for kind in ("any", "any", "ratios", "ratios"):
            a, b = (np.asarray(rng.integers(low, high, shape), dtype) for shape in shapes)
            scales, zeros = random_scales(rng, kind), rng.integers(low, high, 3).tolist()
            real = ort_add(a, b, scales, zeros)
            model = model_add(a, b, scales, zeros)
            assert model.shape == real.shape
            assert np.array_equal(model, real), (scales, zeros)


@pytest.mark.parametrize("length", range(1, 70))
def test_lengths(length):
    rng = np.random.default_rng([24, length])
    a, b = rng.integers(0, 256, (2, length)).astype(np.uint8)
    scales, zeros = random_scales(rng, "ratios"), (10, 250, 128)
    assert np.array_equal(model_add(a, b, scales, zeros), ort_add(a, b, scales, zeros))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_operands_are_exchanged(dtype):
    """All pairs with one operand broadcast along the innermost axis; the order shows."""
    rng = np.random.default_rng([25, dtype is np.int8])
    codes = np.arange(256, dtype=np.uint8).view(dtype)
    column, square = codes[:, None], np.broadcast_to(codes, (256, 256)).copy()
    assert exchanged(column.shape, square.shape)
    assert not exchanged(square.shape, column.shape)
    shown = 0
    for _ in range(15):
        scales = random_scales(rng, "ratios")
        zeros = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, 3).tolist()
        real = ort_add(column, square, scales, zeros)
        assert np.array_equal(model_add(column, square, scales, zeros), real)
        shown += int((real != model_add(square * 0 + column, square, scales, zeros)).sum())
        real = ort_add(square, column, scales, zeros)
        assert np.array_equal(model_add(square, column, scales, zeros), real)
    assert shown


def test_the_products_are_not_rounded():
    """A multiplication and an addition of their own give other sums, seen here."""
    rng = np.random.default_rng(26)
    a, b = all_pairs(np.uint8)
    different = 0
    for _ in range(10):
        (sa, sb, sy), (za, zb, zy) = scales, zeros = random_scales(rng, "ratios"), (3, 200, 100)
        ra, rb, single = (
            np.float32(sa) / np.float32(sy),
            np.float32(sb) / np.float32(sy),
            np.float32,
        )
        fixed = single(zy) - (ra * single(za) + rb * single(zb))
        apart = np.rint((fixed + b.astype(single) * rb) + a.astype(single) * ra)
        different += int((np.clip(apart, 0, 255) != model_add(a, b, scales, zeros)).sum())
    assert different > 100


@pytest.mark.parametrize(
    "types",
    [(np.int8, np.uint8, np.int8), (np.uint8, np.int8, np.uint8), (np.int8, np.int8, np.uint8)],
)
def test_onnx_runtime_takes_one_type_only(types):
    a, b = np.zeros(3, types[0]), np.zeros(3, types[1])
    with pytest.raises(Exception, match="Type parameter"):
        ort_add(a, b, (1, 1, 1), (0, 0, 0), types)
