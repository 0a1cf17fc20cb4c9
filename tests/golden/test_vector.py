# SPDX-License-Identifier: Apache-2.0
"""VECTOR's modes against their formulas, one channel at a time, and what is refused."""

import numpy as np
import pytest

from kiwicha.golden.dynamic import dynamic_quantize
from kiwicha.golden.rounding import random_word, round_shift
from kiwicha.golden.statistics import statistics
from kiwicha.golden.vector import VectorState, vector
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import index_fields, window_field
from kiwicha.machine.isa import PARAMETER_BYTES, VECTOR, VectorMode

CONFIG = AcceleratorConfig(
    columns=8, requantize_lanes=2, accumulator_depth=64, output_bytes=1024, parameter_channels=64,
    dynamic=True, blocks={"channels": 8}, statistics={"elements": 256},
)
BASE = dict.fromkeys((name for name, _ in VECTOR), 0) | {
    "low": 0, "high": 255, "channels": 13, "tiles": 1, "tile_entries": 20, "pixels": 3, "lines": 2,
    "pixel_pitch": 60, "line_pitch": 180, "accumulator": 4, "parameter": 2,
}


def execute(fields, state=None, config=CONFIG):
    """Return accumulators [pixel, channel], bias, multiplier and the output buffer."""
    rng = np.random.default_rng(5)
    acc = rng.integers(-(1 << 20), 1 << 20, (64, 8)).astype(np.int32)
    records = np.zeros((64, PARAMETER_BYTES // 4), np.uint32)
    records[:, 0] = rng.normal(size=64).astype(np.float32).view(np.uint32)
    records[:, 1] = rng.uniform(1e-5, 1e-4, 64).astype(np.float32).view(np.uint32)
    output = np.zeros(1024, np.uint8)
    vector(config, BASE | fields, acc, records.reshape(-1).view(np.uint8), output,
           state or VectorState())
    seen = np.concatenate([acc[4:10], acc[24:30, :5]], axis=1)
    return seen, records[4:17, 0], records[4:17, 1], output


def test_raw():
    acc, bias, _, output = execute({"mode": VectorMode.RAW})
    for pixel in range(6):
        for channel in range(13):
            word = output[60 * pixel + 4 * channel :][:4].view("<i4")[0]
            total = int(acc[pixel, channel]) + int(bias[channel].astype(np.int32))
            assert word == (total + (1 << 31)) % (1 << 32) - (1 << 31)


def test_lines_that_overlap_are_written_in_order():
    """A line begins 20 bytes before the one above ends: what is written last counts."""
    apart = execute({"mode": VectorMode.RAW})[-1]
    over = execute({"mode": VectorMode.RAW, "line_pitch": 152})[-1]
    lines = [apart[180 * line :][:172] for line in (0, 1)]
    assert lines[0][152:].any()
    assert (over[:152] == lines[0][:152]).all()
    written = np.zeros(172, bool)
    for pixel in range(3):
        written[60 * pixel :][:52] = True
    expected = np.where(written, lines[1], np.pad(lines[0][152:], (0, 152)))
    assert (over[152:324] == expected).all()


def test_blocks():
    acc, bias, _, output = execute({"mode": VectorMode.BLOCK, "scales": 1000})
    total = (acc.astype(np.int64) + bias.astype(np.int32)).astype(np.int32).astype(np.int64)
    for pixel in range(6):
        for block, part in enumerate((total[pixel, :8], total[pixel, 8:])):
            shift = max(0, int(np.abs(part).max()).bit_length() - 7)
            assert output[1000 + 2 * pixel + block] == shift
            q = output[60 * pixel + 8 * block :][: part.size].view(np.int8)
            assert q.tolist() == [min(127, round(int(x) / 2**shift)) for x in part]


@pytest.mark.parametrize("rounding", ["half_up", "half_away", "pseudo"])
def test_roundings(rounding):
    config = CONFIG.replace(blocks={"rounding": rounding})
    fields = {"mode": VectorMode.BLOCK, "scales": 1000}
    acc, bias, _, output = execute(fields, config=config)
    total = acc.astype(np.int64) + bias.astype(np.int32)
    for pixel in range(6):
        for block, part in enumerate((total[pixel, :8], total[pixel, 8:])):
            shift = max(0, int(np.abs(part).max()).bit_length() - 7)
            q = output[60 * pixel + 8 * block :][: part.size].view(np.int8)
            assert q.tolist() == np.minimum(127, round_shift(part, shift, rounding)).tolist()


def test_random_rounding():
    config = CONFIG.replace(blocks={"rounding": "lfsr", "scale": "free"})
    first, pitch = 2**32 - 40, 40_000
    fields = index_fields(first, pitch) | {"mode": VectorMode.BLOCK, "scales": 900}
    state = VectorState(seed=2**32 - 2, step=9)
    acc, bias, _, output = execute(fields, state, config)
    total = acc.astype(np.int64) + bias.astype(np.int32)
    nearest = 0
    for pixel in range(6):
        for channel in range(13):
            part = total[pixel, :8] if channel < 8 else total[pixel, 8:]
            size = abs(int(total[pixel, channel])) * ((127 << 40) // int(np.abs(part).max()))
            index = (first + pixel * pitch + channel) % 2**32
            up = int(random_word(2**32 - 2, 9, index)) << 8 < size % (1 << 40)
            q = (size >> 40) + up
            found = int(output[60 * pixel + channel].view(np.int8))
            assert found == (q if total[pixel, channel] > 0 else -q)
            nearest += abs(found) == (size + (1 << 39)) >> 40
    assert nearest < 6 * 13


def test_dynamic():
    state = VectorState()
    state.slots["scale"][1] = 0.5
    base = {"slot": 1, "target": 2, "relu": 1}
    acc, bias, scale, _ = execute(
        base | {"mode": VectorMode.MEASURE, "begin": 1, "settle": 1}, state
    )
    *_, output = execute(base | {"mode": VectorMode.QUANTIZE}, state)
    v = acc.astype(np.float32) * (np.float32(0.5) * scale.view(np.float32)) + bias.view(np.float32)
    q, s, zero = dynamic_quantize(np.maximum(v, 0))
    assert (state.slots["scale"][2], state.slots["zero_point"][2]) == (s, zero)
    for pixel in range(6):
        assert output[60 * pixel :][:13].tolist() == q[pixel].tolist()


def test_blocks_in_the_best_of_two_ways():
    ways = {"ways": [(4, 0), (8, 0)], "criterion": "bias"}
    config = CONFIG.replace(blocks={"scale": "multiway", **ways})
    acc, bias, _, output = execute({"mode": VectorMode.BLOCK, "scales": 960}, config=config)
    total = (acc.astype(np.int64) + bias.astype(np.int32)).astype(np.int32).astype(np.int64)
    picked = set()
    for pixel in range(6):
        for block, part in enumerate((total[pixel, :8], total[pixel, 8:])):
            size, tried = int(np.abs(part).max()).bit_length(), []
            for way, top in enumerate((8, 128)):
                shift = max(0, size - top.bit_length() + 1)
                q = [max(-top, min(top - 1, round(int(x) / 2**shift))) for x in part]
                error = np.abs(part).sum() - sum(abs(y) << shift for y in q)
                tried.append((abs(error), way, shift, q))
            _, way, shift, q = min(tried)
            assert output[960 + 4 * pixel + 2 * block :][:2].tolist() == [shift, way]
            assert output[60 * pixel + 8 * block :][: part.size].view(np.int8).tolist() == q
            picked.add(way)
    assert 1 in picked


def test_statistics():
    state, count = VectorState(), {"statistics": 1}
    acc, bias, *_ = execute(count | {"mode": VectorMode.RAW, "only": 1, "channel": 9}, state)
    raw = acc[:, 9] + bias[9].astype(np.int32)
    assert state.statistics.block == statistics(raw)
    state.slots["scale"] = 0.5
    # Pixels that lie upon each other count all the same.
    places = {"pixel_pitch": 0, "line_pitch": 0}
    *_, output = execute(count | places | {"mode": VectorMode.BLOCK, "scales": 900}, state)
    both = state.statistics.block
    assert both.count == 6 + 6 * 13
    *_, output = execute(count | {"mode": VectorMode.QUANTIZE, "begin": 1}, state)
    found = np.concatenate([output[60 * pixel :][:13] for pixel in range(6)])
    assert state.statistics.block == statistics(found)
    execute({"mode": VectorMode.QUANTIZE}, state)
    execute({"mode": VectorMode.MEASURE, "begin": 1}, state)
    assert state.statistics.block == statistics(found)


def test_what_is_illegal_is_refused():
    with pytest.raises(ValueError, match="^slot is 1$"):
        execute({"slot": 1})


@pytest.mark.parametrize(
    "fields",
    [
        {"accumulator": 40}, {"parameter": 26}, {"local": 960}, {"local": 2, "line_pitch": -3},
        {"mode": VectorMode.BLOCK, "scales": 1013}, {"mode": VectorMode.RAW, "local": 673},
    ],
)
def test_outside(fields):
    with pytest.raises(IndexError):
        execute(fields)


def test_windows():
    """The maxima of windows, requantized, are those of the codes that a plain drain writes."""
    config = CONFIG.replace(pooling={"window": 3})
    one = {"tiles": 0, "channels": 7, "tile_entries": 0}
    plain = one | {"pixels": 6, "lines": 5, "pixel_pitch": 7, "line_pitch": 42, "accumulator": 0}
    *_, codes = execute(plain, config=config)
    codes = codes[: 30 * 7].reshape(5, 6, 7)
    shape = window_field(rows=3, columns=2, pixel_entries=2, line_entries=6)
    asked = {"pixels": 3, "lines": 3, "pixel_pitch": 7, "line_pitch": 21, "accumulator": 0}
    *_, output = execute(one | asked | {"scales": shape, "tile_entries": 6}, config=config)
    for line in range(3):
        for pixel in range(3):
            expected = codes[line : line + 3, 2 * pixel : 2 * pixel + 2].max(axis=(0, 1))
            place = line * 21 + pixel * 7
            np.testing.assert_array_equal(output[place : place + 7], expected)


@pytest.mark.parametrize("window,fields", [
    ({"line_entries": 56}, {}), ({"pixel_entries": 64}, {"pixels": 1}), ({}, {"tile_entries": 58}),
])
def test_windows_outside(window, fields):
    shape = {"rows": 2, "columns": 2, "pixel_entries": 2, "line_entries": 4} | window
    asked = {"scales": window_field(**shape), "tiles": 0, "channels": 7, "tile_entries": 2} | fields
    with pytest.raises(IndexError):
        execute(asked, config=CONFIG.replace(pooling={"window": 3}))
