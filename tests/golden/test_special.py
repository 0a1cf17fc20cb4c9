# SPDX-License-Identifier: Apache-2.0
"""The SPECIAL instruction with the tables of `machine.tables` gives the operators' results."""

import numpy as np
import pytest

from kiwicha.golden.add import add, exchanged
from kiwicha.golden.mul import mul
from kiwicha.golden.normalize import normalize
from kiwicha.golden.softmax import softmax
from kiwicha.golden.special import special
from kiwicha.machine.encoding import decode, encode
from kiwicha.machine.isa import Opcode, SpecialOperation
from kiwicha.machine.pair_tables import add_tables, mul_tables
from kiwicha.machine.tables import (
    normalize_epsilon,
    normalize_parameters,
    softmax_tables,
)

from ..parts.float_cases import bits_of

TYPES = (np.int8, np.uint8)


def random_codes(rng, dtype, shape):
    return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape).astype(dtype)


def run(operation, x, y_dtype, tables, second=None, *, lanes=3, table=1, mode="onnx", **fields):
    """Execute one instruction on the rows of ``x`` spread over the lanes; all else is noise."""
    rng = np.random.default_rng(61)
    total, length = x.shape
    rows = -(-total // lanes)
    size = 3 * rows * length + 64
    places = {"x": 5, "z": 7 + rows * length, "y": 11 + rows * length}
    operand, result = rng.integers(0, 256, (2, lanes, size)).astype(np.uint8)
    before = result.copy()
    for name, values in (("x", x), ("z", second)):
        for row in range(total if values is not None else 0):
            start = places[name] + row % rows * length
            operand[row // rows, start : start + length] = values[row].view(np.uint8)
    memory = rng.integers(0, 1 << 32, (2, 256 * table + len(tables[0]) + 3)).astype(np.uint32)
    memory[:, 256 * table : 256 * table + len(tables[0])] = [t.view(np.uint32) for t in tables]
    if second is None:
        del places["z"]
    bounds = np.iinfo(y_dtype)
    words = encode(
        Opcode.SPECIAL, operation=operation, x_signed=x.dtype == np.int8,
        z_signed=second is not None and second.dtype == np.int8, table=table, rows=rows,
        length=length, total=total, low=bounds.min, high=bounds.max, **places, **fields,
    )
    special(decode(Opcode.SPECIAL, words), operand, memory, result, mode)
    y = np.empty(x.shape, y_dtype)
    for row in range(total):
        start = places["y"] + row % rows * length
        y[row] = result[row // rows, start : start + length].view(y_dtype)
        before[row // rows, start : start + length] = y[row].view(np.uint8)
    assert np.array_equal(result, before), "bytes around the rows changed"
    return y


@pytest.mark.parametrize("x_dtype", TYPES)
def test_table(x_dtype):
    rng = np.random.default_rng(62)
    x = random_codes(rng, x_dtype, (7, 40))
    entries = rng.integers(0, 256, 256, np.uint8)
    # Only the low byte counts, and there is no clamp.
    a = entries.astype(np.uint32) | rng.integers(0, 1 << 24, 256).astype(np.uint32) << 8
    y = run(SpecialOperation.TABLE, x, np.int8, (a, a), zero_point=5)
    assert np.array_equal(y, entries[x.view(np.uint8)].view(np.int8))


@pytest.mark.parametrize("kind", ["any", "decimals", "far"])
@pytest.mark.parametrize("x_dtype", TYPES)
@pytest.mark.parametrize("z_dtype", TYPES)
def test_add_every_pair(x_dtype, z_dtype, kind):
    rng = np.random.default_rng([63, len(kind)])
    codes = np.arange(256, dtype=np.uint8)
    x = np.repeat(codes, 256).view(x_dtype).reshape(256, 256)
    z = np.tile(codes, 256).view(z_dtype).reshape(256, 256)
    for turn in range(20):
        if kind == "decimals":
            scales = rng.integers(1, 10 ** (1 + turn % 4), 3) / 10.0 ** (1 + turn % 4)
        else:
            scales = np.exp(rng.normal(-3, 1, 3) if kind == "any" else rng.uniform(-85, 85, 3))
        scales = scales.astype(np.float32).tolist()
        zeros = [int(random_codes(rng, dtype, ())) for dtype in (x_dtype, z_dtype, x_dtype)]
        operands = (scales[0], zeros[0], x_dtype, scales[1], zeros[1], z_dtype)
        *tables, shift = add_tables(*operands, scales[2], zeros[2])
        y = run(SpecialOperation.ADD, x, x_dtype, tables, z, shift=shift)
        real = (scales[0], zeros[0], scales[1], zeros[1], scales[2], zeros[2], x_dtype)
        assert np.array_equal(y, add(x, z, *real)), (scales, zeros)


@pytest.mark.parametrize("kind", ["any", "decimals", "far"])
@pytest.mark.parametrize("x_dtype", TYPES)
@pytest.mark.parametrize("z_dtype", TYPES)
def test_mul_every_pair(x_dtype, z_dtype, kind):
    rng = np.random.default_rng([68, len(kind)])
    codes = np.arange(256, dtype=np.uint8)
    x = np.repeat(codes, 256).view(x_dtype).reshape(256, 256)
    z = np.tile(codes, 256).view(z_dtype).reshape(256, 256)
    for turn in range(20):
        if kind == "decimals":
            scales = rng.integers(1, 10 ** (1 + turn % 4), 3) / 10.0 ** (1 + turn % 4)
        else:
            scales = np.exp(rng.normal(-3, 1, 3) if kind == "any" else rng.uniform(-85, 85, 3))
        a, b, c = scales.astype(np.float32)
        zeros = [int(random_codes(rng, dtype, ())) for dtype in (x_dtype, z_dtype, x_dtype)]
        with np.errstate(over="ignore", under="ignore"):
            *tables, shift = mul_tables(zeros[0], x_dtype, zeros[1], z_dtype, a * b / c, zeros[2])
        y = run(SpecialOperation.MUL, x, x_dtype, tables, z, shift=shift)
        real = (a, zeros[0], b, zeros[1], c, zeros[2], x_dtype)
        assert np.array_equal(y, mul(x, z, *real)), (scales, zeros)


def test_add_exchanged():
    """The compiler's part when the first operand is broadcast along the innermost axis."""
    rng = np.random.default_rng(64)
    x, z = random_codes(rng, np.int8, (6, 1)), random_codes(rng, np.int8, (6, 50))
    assert exchanged(x.shape, z.shape)
    expected = add(x, z, 0.0317, 3, 0.0521, -70, 0.0613, 11, np.int8)
    *tables, shift = add_tables(0.0521, -70, np.int8, 0.0317, 3, np.int8, 0.0613, 11)
    y = run(SpecialOperation.ADD, z, np.int8, tables, np.repeat(x, 50, axis=1), shift=shift)
    assert np.array_equal(y, expected)


@pytest.mark.parametrize("mode", ["onnx", "tflite", "integer"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("length", [2, 3, 64, 1000])
def test_softmax(mode, dtype, length):
    rng = np.random.default_rng([65, length])
    low = int(np.iinfo(dtype).min)
    outputs = [(1 / 256, low)]
    if mode == "onnx":
        outputs += [(0.01, low + 30), (1 / 290, low + 1)]
    for x_scale in (1e-5, 0.01, 0.07, 0.3, 0.7, 1.3, 20.0):
        for y_scale, y_zero in outputs:
            x = random_codes(rng, dtype, (7, length))
            x[1] = x[1, 0]
            x[2] = low
            x[2, length // 2] = np.iinfo(dtype).max
            tables = softmax_tables(mode, x_scale, length, y_scale)
            y = run(SpecialOperation.SOFTMAX, x, dtype, tables, mode=mode, zero_point=y_zero)
            expected = softmax(x, x_scale, y_scale, y_zero, dtype, mode)
            assert np.array_equal(y, expected), (x_scale, y_scale, y_zero)


@pytest.mark.parametrize("x_dtype", TYPES)
@pytest.mark.parametrize("length", [1, 5, 96, 700])
def test_normalize(x_dtype, length):
    rng = np.random.default_rng([66, length])
    x = random_codes(rng, x_dtype, (7, length))
    gamma, beta = rng.normal(1, 0.5, length), rng.normal(0, 1, length)
    gains, offsets, shift = normalize_parameters(gamma, beta, 0.02)
    epsilon = normalize_epsilon(length, 0.05, 1e-5)
    y = run(
        SpecialOperation.NORMALIZE, x, np.uint8, (gains, offsets),
        shift=shift, zero_point=120, z=epsilon,
    )
    expected = normalize(x, gamma, beta, 0.02, 120, np.uint8, x_scale=0.05, epsilon=1e-5)
    assert np.array_equal(y, expected)


@pytest.mark.parametrize("zero", [-128, -3, 127])
@pytest.mark.parametrize("x_dtype", TYPES)
def test_normalize_uncentred(x_dtype, zero):
    rng = np.random.default_rng([68, zero + 128])
    x, gamma = random_codes(rng, x_dtype, (7, 96)), rng.normal(1, 0.5, 96)
    gains, offsets, shift = normalize_parameters(gamma, np.zeros(96), 0.02)
    epsilon = normalize_epsilon(96, 0.05, 1e-5, uncentred=True)
    y = run(
        SpecialOperation.NORMALIZE, x, np.uint8, (gains, offsets),
        shift=shift, zero_point=120, z=epsilon, uncentred=1, x_zero=zero,
    )
    x_zero = zero + (128 if x_dtype == np.uint8 else 0)
    expected = normalize(
        x, gamma, np.zeros(96), 0.02, 120, np.uint8, x_scale=0.05, epsilon=1e-5, x_zero=x_zero
    )
    assert np.array_equal(y, expected)


def fields_of(**changed):
    fields = {
        "operation": SpecialOperation.TABLE, "x_signed": 1, "z_signed": 1, "table": 0, "rows": 2,
        "length": 10, "x": 4, "z": 80, "y": 30, "total": 3, "zero_point": 0, "low": -128,
        "high": 127, "shift": 0, "x_row": 0, "x_byte": 0, "z_row": 0, "z_byte": 0, "uncentred": 0,
        "x_zero": 0,
    }
    return {**fields, **changed}


def test_lanes_beyond_the_total_do_nothing():
    rng = np.random.default_rng(67)
    operand, result = rng.integers(0, 256, (2, 4, 100)).astype(np.uint8)
    tables = rng.integers(0, 1 << 32, (2, 256)).astype(np.uint32)
    before = result.copy()
    special(fields_of(), operand, tables, result, "onnx")
    changed = np.argwhere(result != before)
    assert set(changed[:, 0]) == {0, 1}
    assert changed[changed[:, 0] == 0, 1].max() >= 40
    assert changed[changed[:, 0] == 1, 1].max() < 40
    # What lane 2 would have read does not matter: it has no rows.
    special(fields_of(total=2, x=80), operand[:1], tables, result, "onnx")


def test_clamp_and_zero_point():
    x = np.arange(256, dtype=np.uint8).reshape(1, 256)
    sums = np.stack([np.arange(256) << 24, bits_of([-0.5] * 256)]).astype(np.uint32)
    quotients = np.repeat(np.eye(1, 256, dtype=np.float32), 2, axis=0).view(np.uint32)
    factors = np.stack([np.arange(256) | 0xBF000000, np.full(256, 256 + 1)]).astype(np.uint32)
    for operation, tables in (
        (SpecialOperation.ADD, sums), (SpecialOperation.SOFTMAX, quotients),
        (SpecialOperation.MUL, factors),
    ):
        fields = fields_of(
            operation=operation, length=256, rows=1, total=1, x=0, y=0, z=0, low=-3, high=100,
            x_signed=0, zero_point=50, shift=-24 + (operation == SpecialOperation.MUL),
        )
        result = np.zeros((1, 256), np.uint8)
        special(fields, x, tables, result, "onnx")
        if operation == SpecialOperation.SOFTMAX:
            assert result[0].tolist() == [50] * 255 + [51]
        elif operation == SpecialOperation.ADD:
            assert result[0, :3].tolist() == [50, 50, 52]
            assert result[0, 50:].tolist() == [100] * 206
        else:
            assert result[0, :4].tolist() == [50, 48, 48, 46]
            assert result[0, 60:].view(np.int8).tolist() == [-3] * 196


@pytest.mark.parametrize("b", [-0.75, 2.0**30, -np.inf, np.inf, np.nan])
def test_sums_that_are_no_int32(b):
    """The least code, as x86 has it, from 2^31 on; a's sign is that of the byte."""
    x = np.array([[0, 1, 2, 126, 129, 130]], np.uint8)
    tables = np.stack([np.abs(np.arange(256, dtype=np.uint8).view(np.int8)), bits_of([b] * 256)])
    tables[0] <<= 23
    for signed in (0, 1):
        for shift in (-23, 7, 8, 90):
            fields = fields_of(
                operation=SpecialOperation.ADD, length=6, rows=1, total=1, x=0, z=0, y=0,
                x_signed=signed, shift=shift,
            )
            result = np.zeros((1, 6), np.uint8)
            special(fields, x, tables.astype(np.uint32), result, "onnx")
            signs = np.where(signed & (x[0] > 127), -1.0, 1.0)
            total = (signs * tables[0, x[0]] * 2.0**shift + b).astype(np.float32)
            expected = np.where(total < 2.0**31, np.clip(np.rint(total), -128, 127), -128)
            assert result[0].view(np.int8).tolist() == expected.tolist()


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"x": 81}, r"lane 0: x ends at 101 of 100 bytes"),
        ({"y": 81}, r"lane 0: y ends at 101 of 100 bytes"),
        ({"operation": SpecialOperation.ADD, "z": 81}, r"lane 0: z ends at 101 of 100 bytes"),
        ({"operation": SpecialOperation.MUL, "z": 91, "z_row": 1}, "lane 0: z ends at 101"),
        ({"operation": SpecialOperation.MUL, "z": 99, "z_byte": 1}, "lane 0: z ends at 101"),
        ({"rows": 1, "total": 2, "length": 97}, r"lane 0: x ends at 101 of 100 bytes"),
        ({"table": 1}, r"tables end at 512 of 300 entries"),
        ({"operation": SpecialOperation.NORMALIZE, "length": 301}, r"tables end at 301 of 300"),
    ],
)
def test_ranges(changed, message):
    operand, result = np.zeros((2, 2, 100), np.uint8)
    with pytest.raises(IndexError, match=f"^{message}"):
        special(fields_of(**changed), operand, np.zeros((2, 300), np.uint32), result, "onnx")
    special(fields_of(x=80, y=80, z=80), operand, np.zeros((2, 300), np.uint32), result, "onnx")


@pytest.mark.parametrize("name", ["x", "z"])
@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("byte", [0, 1])
@pytest.mark.parametrize("operation", ["ADD", "MUL"])
def test_rows_and_bytes_that_are_met_again(operation, name, row, byte):
    other = {"x": "z", "z": "x"}[name]
    rng = np.random.default_rng(69)
    operand = random_codes(rng, np.uint8, (1, 100))
    if operation == "ADD":
        tables = add_tables(0.1, 3, np.uint8, 0.2, 5, np.uint8, 0.31, 7)
    else:
        tables = mul_tables(3, np.uint8, 5, np.uint8, np.float32(0.004), 7)
    part = operand[0, 40 : 40 + (1 if row else 4) * (1 if byte else 6)]
    whole = np.broadcast_to(part.reshape(1 if row else 4, -1), (4, 6)).reshape(-1)
    again, plain = np.zeros((2, 1, 100), np.uint8)
    fields = fields_of(
        operation=SpecialOperation[operation], rows=4, total=4, length=6, y=0,
        shift=tables[2], low=0, high=255, x_signed=0, **{name: 40, other: 10},
    )
    flags = {f"{name}_row": row, f"{name}_byte": byte}
    special(fields | flags, operand, np.stack(tables[:2]), again, "onnx")
    operand[0, 70:94] = whole
    special(fields | {name: 70}, operand, np.stack(tables[:2]), plain, "onnx")
    assert np.array_equal(again, plain)
    assert len(set(again[0, :24])) > 5


def test_unknown_operation():
    memory = np.zeros((1, 100), np.uint8)
    with pytest.raises(ValueError, match="is not a valid SpecialOperation"):
        special(fields_of(operation=9), memory, np.zeros((2, 300), np.uint32), memory, "onnx")
