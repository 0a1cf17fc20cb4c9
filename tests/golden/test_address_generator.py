# SPDX-License-Identifier: Apache-2.0
"""The vectorised steps against plain nested loops, and the lanes against their definition."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiwicha.golden.address_generator import activation_lanes, compute_steps, weight_tile
from kiwicha.machine.isa import LEVELS


def wrap(value, bits):
    return (value + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))


def walk(fields):
    """Yield (y, x, address, tile, entry, first, result) as the comments in the layout say, step by
    step."""
    counts = [level["count"] for level in fields["levels"]]
    ends = [counts[0] - fields["tail"], counts[1] - fields["line_tail"]]
    pixels = ends[0] * ends[1] * counts[2]
    index = [0] * LEVELS
    y, x, address, tile, pixel = fields["y"], fields["x"], fields["address"], 0, 0
    while True:
        first = not fields["accumulate"] and index[3:6] == [0, 0, 0]
        result = index[0] < ends[0] and index[1] < ends[1]
        entry = fields["accumulator"] + index[6] * pixels + pixel
        yield y, x, address, tile, entry, first, result
        step = next((k for k in range(LEVELS) if index[k] + 1 < counts[k]), None)
        if step is None:
            return
        index[: step + 1] = [0] * step + [index[step] + 1]
        jump = fields["levels"][step]
        y, x = wrap(y + jump["y"], 16), wrap(x + jump["x"], 24)
        address = wrap(address + jump["address"], 24)
        pixel = pixel + result if step < 3 else 0
        tile += step >= 3


def random_fields(chooser):
    def signed(bits):
        return chooser.randrange(-(1 << (bits - 1)), 1 << (bits - 1))

    counts = [chooser.choice((1, 1, 2, 3, 5)) for _ in range(LEVELS)]
    tails = [chooser.choice((0, 0, count - 1, count // 2)) for count in counts[:2]]
    return {
        "accumulate": chooser.randrange(2),
        "filter": 0,
        "tail": tails[0],
        "line_tail": tails[1],
        "y": signed(16),
        "x": signed(24),
        "address": signed(24),
        "weight": chooser.randrange(1000),
        "weight_stride": chooser.randrange(100),
        "accumulator": chooser.randrange(1000),
        "levels": [
            {"count": count, "y": signed(16), "x": signed(24), "address": signed(24)}
            for count in counts
        ],
    }


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 30))
def test_steps(seed):
    fields = random_fields(random.Random(seed))
    steps = compute_steps(fields)
    expected = list(walk(fields))
    found = zip(
        steps.y, steps.x, steps.address, steps.tile, steps.entry, steps.first, steps.result,
        strict=True,
    )
    assert [tuple(map(int, step)) for step in found] == [tuple(map(int, s)) for s in expected]
    rows = fields["weight"] + steps.tile * fields["weight_stride"]
    assert np.array_equal(steps.weight_row, rows)
    counts = [level["count"] for level in fields["levels"]]
    assert steps.pixels == counts[0] * counts[1] * counts[2]


@pytest.mark.parametrize("filtered", [0, 1])
@pytest.mark.parametrize("signed", [0, 1])
def test_lanes(signed, filtered):
    chooser = random.Random(signed)
    activation = np.frombuffer(chooser.randbytes(64), np.uint8)
    fields = random_fields(chooser)
    fields["levels"] = [{"count": 9, "y": 1, "x": 3, "address": 7}] * 2 + [
        {"count": 1, "y": 0, "x": 0, "address": 0}
    ] * (LEVELS - 2)
    fields |= {"y": -2, "x": -5, "address": 40, "y_limit": 5, "x_limit": 31, "rows": 6, "pad": -99}
    fields |= {"activation_signed": signed, "activation_zero": -100, "filter": filtered}
    steps = compute_steps(fields)
    lanes = activation_lanes(fields, steps, activation, 8)
    seen = set()
    for step in range(len(steps)):
        for lane in range(8):
            y, x = int(steps.y[step]), int(steps.x[step]) + lane
            byte = int(activation[(int(steps.address[step]) + lane) % 64])
            value = (byte - 256 if signed and byte > 127 else byte) + 100
            inside = 0 <= y < 5 and 0 <= x < 31
            expected = 0 if lane >= 6 and not filtered else wrap(value, 9) if inside else -99
            assert lanes[step, lane] == expected
            seen.add((lane >= 6, inside, value > 255))
    assert len(seen) == (8 if not signed else 4)


def test_weight_tile():
    weight = np.arange(64, dtype=np.uint8).reshape(16, 4) * 4
    fields = {"rows": 3, "weight_signed": 1, "weight_zero": 200}
    tile = weight_tile(fields, 13, weight, 3)
    assert tile.tolist() == [
        [wrap((4 * (4 * row + column) + 128) % 256 - 128 - 200, 9) for column in range(3)]
        for row in (13, 14, 15)
    ]
    with pytest.raises(IndexError, match=r"^weight rows 14 to 16 of 16$"):
        weight_tile(fields, 14, weight, 3)


@pytest.mark.parametrize(("tail", "line_tail"), [(2, 0), (0, 3), (5, 5)])
def test_tails_are_less_than_their_counts(tail, line_tail):
    fields = random_fields(random.Random(0))
    counts = [{**level, "count": 2 + place} for place, level in enumerate(fields["levels"])]
    fields |= {"levels": counts, "tail": tail, "line_tail": line_tail}
    message = rf"^tails are \({tail}, {line_tail}\); legal: less than the counts, \[2, 3\]$"
    with pytest.raises(ValueError, match=message):
        compute_steps(fields)


def test_zero_count():
    fields = random_fields(random.Random(0))
    fields["levels"] = [{**fields["levels"][0], "count": 0}, *fields["levels"][1:]]
    with pytest.raises(ValueError, match=r"^counts are \[0, .*; legal: 7 counts of at least 1$"):
        compute_steps(fields)
