# SPDX-License-Identifier: Apache-2.0
"""COMPUTE does a convolution, a maximum pooling and a product when it is told so."""

import numpy as np
import pytest

from kiwicha.compiler.schedule.loops import Loop, jumps
from kiwicha.golden.compute import compute

ROWS, COLUMNS, PITCH = 4, 3, 4


def instruction(loops, **fields):
    names = (
        "accumulate maximum activation_signed weight_signed activation_zero weight_zero pad y x "
        "address weight weight_stride accumulator filter tail line_tail"
    ).split()
    whole = {"rows": ROWS, "y_limit": 65535, "x_limit": 65535, "levels": jumps(loops)}
    return dict.fromkeys(names, 0) | whole | fields


def padded(image, value):
    return np.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=value)


@pytest.mark.parametrize("accumulate", [0, 1])
def test_convolution(accumulate):
    """3x3, padding 1, stride 1 x 2, four channels to three, zero points on both sides."""
    rng = np.random.default_rng(1)
    height, width, channels = 5, 6, ROWS
    image = rng.integers(0, 256, (height, width, channels), np.uint8)
    kernel = rng.integers(-128, 128, (3, 3, channels, COLUMNS), np.int8)
    activation = np.zeros(256, np.uint8)
    activation[: image.size] = image.reshape(-1)
    weight = np.zeros((64, PITCH), np.uint8)
    weight[2 : 2 + 36, :COLUMNS] = kernel.reshape(-1, COLUMNS).view(np.uint8)
    line = width * channels
    loops = [
        Loop(3, 0, 2 * channels, 2 * channels),
        Loop(height, 1, 0, line),
        Loop(),
        Loop(),
        Loop(3, 0, channels, channels),
        Loop(3, 1, 0, line),
        Loop(),
    ]
    fields = instruction(
        loops, y=-1, x=-channels, address=-line - channels, y_limit=height, x_limit=line,
        activation_zero=7, weight_zero=-3, weight_signed=1, weight=2, weight_stride=ROWS,
        accumulator=5, accumulate=accumulate,
    )
    accumulator = rng.integers(-(1 << 31), 1 << 31, (32, COLUMNS)).astype(np.int32)
    before = accumulator.copy()
    compute(fields, activation, weight, accumulator, ROWS)

    values = padded(image.astype(np.int64) - 7, 0)
    expected = before.astype(np.int64)
    for y in range(height):
        for x in range(3):
            patch = values[y : y + 3, 2 * x : 2 * x + 3]
            total = np.tensordot(patch, kernel.astype(np.int64) + 3, 3)
            held = before[5 + 3 * y + x] if accumulate else 0
            expected[5 + 3 * y + x] = held + total
    assert np.array_equal(accumulator, expected.astype(np.uint64).astype(np.uint32).view(np.int32))


def test_maximum():
    """2x2 pooling of signed bytes, a channel a row; padding never wins."""
    rng = np.random.default_rng(2)
    image = rng.integers(-128, 128, (4, 4, COLUMNS), np.int8)
    activation = np.zeros(64, np.uint8)
    activation[: image.size] = image.reshape(-1).view(np.uint8)
    weight = np.zeros((8, PITCH), np.uint8)
    weight[:COLUMNS, :COLUMNS] = np.eye(COLUMNS)
    line = 4 * COLUMNS
    loops = [
        Loop(3, 0, 2 * COLUMNS, 2 * COLUMNS),
        Loop(3, 2, 0, 2 * line),
        Loop(),
        Loop(),
        Loop(2, 0, COLUMNS, COLUMNS),
        Loop(2, 1, 0, line),
        Loop(),
    ]
    fields = instruction(
        loops, rows=COLUMNS, y=-1, x=-COLUMNS, address=-line - COLUMNS, y_limit=4, x_limit=line,
        activation_signed=1, maximum=1, pad=-128,
    )
    accumulator = np.full((16, COLUMNS), 99, np.int32)
    compute(fields, activation, weight, accumulator, ROWS)
    values = padded(image, -128)
    expected = values.reshape(3, 2, 3, 2, COLUMNS).max((1, 3)).reshape(9, COLUMNS)
    assert np.array_equal(accumulator[:9], expected)
    assert (accumulator[9:] == 99).all()


@pytest.mark.parametrize("stride", [1, 2])
def test_filter(stride):
    """Two kernel rows of two taps each, of three channels, over blocks of two image rows."""
    rng = np.random.default_rng(4)
    height, width = 5 * stride, 6 * stride
    image = rng.integers(0, 256, (height, width, COLUMNS), np.uint8)
    kernel = rng.integers(-128, 128, (2, 2, COLUMNS), np.int8)
    activation = np.zeros(1024, np.uint8)
    activation[: image.size] = image.reshape(-1)
    # Taps lie as the walk meets them: down the three rows of a block, then one to the right.
    weight = np.zeros((8, PITCH), np.uint8)
    for row, (x, y) in zip((0, 1, 3, 4), [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True):
        weight[row, :COLUMNS] = kernel[y, x].view(np.uint8)
    line, pixel = width * COLUMNS * stride, COLUMNS * stride
    loops = [
        Loop(3, stride, 0, line), Loop(6, 0, pixel, pixel), Loop(2, 2 * stride, 0, 2 * line),
        Loop(), Loop(), Loop(), Loop(),
    ]
    fields = instruction(
        loops, filter=1, tail=1, line_tail=1, rows=5, weight_signed=1, activation_zero=9,
        y_limit=height, x_limit=width * COLUMNS,
    )
    accumulator = np.full((24, COLUMNS), 99, np.int32)
    compute(fields, activation, weight, accumulator, 6)
    values = image.astype(np.int64)[::stride, ::stride] - 9
    expected = sum(
        values[y : y + 4, x : x + 5] * kernel[y, x].astype(np.int64)
        for y in range(2) for x in range(2)
    )
    blocks = expected.reshape(2, 2, 5, COLUMNS).transpose(0, 2, 1, 3)
    assert np.array_equal(accumulator[:20], blocks.reshape(20, COLUMNS))
    assert (accumulator[20:] == 99).all()
    with pytest.raises(IndexError, match=r"^6 taps from vector 31 of 36 on$"):
        compute({**fields, "rows": 6}, activation, weight, accumulator, 6)


def test_two_channel_tiles():
    """Level 6 moves to the next weights and the next accumulators, back to the same vectors."""
    rng = np.random.default_rng(3)
    left = rng.integers(0, 256, (5, ROWS), np.uint8)
    right = rng.integers(0, 256, (2, ROWS, PITCH), np.uint8)
    activation = np.zeros(32, np.uint8)
    activation[: left.size] = left.reshape(-1)
    loops = [Loop(5, 0, 0, ROWS), Loop(), Loop(), Loop(), Loop(), Loop(), Loop(2)]
    fields = instruction(loops, weight_stride=ROWS)
    accumulator = np.zeros((10, COLUMNS), np.int32)
    compute(fields, activation, right.reshape(-1, PITCH), accumulator, ROWS)
    for tile in range(2):
        expected = left.astype(int) @ right[tile].astype(int)[:, :COLUMNS]
        assert np.array_equal(accumulator[5 * tile : 5 * tile + 5], expected)


def test_out_of_range():
    loops = [Loop(5), *[Loop()] * 6]
    memories = np.zeros(32, np.uint8), np.zeros((8, PITCH), np.uint8)
    accumulator = np.ones((8, COLUMNS), np.int32)
    with pytest.raises(IndexError, match=r"^accumulator entry 8 of 8$"):
        compute(instruction(loops, accumulator=4), *memories, accumulator, ROWS)
    with pytest.raises(IndexError, match=r"^weight rows 5 to 8 of 8$"):
        compute(instruction(loops, weight=5), *memories, accumulator, ROWS)
    assert (accumulator == 1).all()
