# SPDX-License-Identifier: Apache-2.0
"""Formatted loads: matrices byte by byte by the definition, streams back to what was encoded."""

import numpy as np
import pytest

from kiwicha.golden import bitmask, csc, csr, run_length
from kiwicha.golden.load import (
    compressed_rows,
    illegal_format,
    interleaved_places,
    machine_formats,
    matrix_places,
)
from kiwicha.machine.capabilities import WEIGHT_FORMATS
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import LoadTarget, WeightFormat

CONFIGS = [
    AcceleratorConfig(
        rows=4, columns=columns, axi_data_width=width, transposer=True, requantize_lanes=1,
        sparse={"formats": WEIGHT_FORMATS},
    )
    for columns, width in ((5, 64), (8, 128), (16, 64))
]
BOOK = np.array([0, -128, 127, -1, 1, 5, -5, 9, 20, -20, 33, -33, 60, -60, 7, 3], np.int8)


def encoded(name, matrix, rows, beat):
    """The stream of an L x n matrix, whose dense rows are ``rows``."""
    if name == WeightFormat.BITMASK:
        return bitmask.encode(rows, beat_bytes=beat)
    if name == WeightFormat.CSR:
        return csr.encode(matrix.T, beat_bytes=beat)
    if name == WeightFormat.RUN_LENGTH:
        return run_length.encode(matrix, beat_bytes=beat)
    forms = {
        WeightFormat.CSC4: {"index_bits": 4}, WeightFormat.CSC5: {"index_bits": 5},
        WeightFormat.CSC8: {"index_bits": 8},
        WeightFormat.CSC_ABSOLUTE: {"index_bits": 10, "relative": False},
        WeightFormat.CSC4_CODEBOOK: {"index_bits": 4, "codebook": BOOK},
    }
    return csc.encode(matrix, beat_bytes=beat, **forms[name])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.columns}x{c.beat_bytes}")
@pytest.mark.parametrize("name", machine_formats(CONFIGS[0])[2:], ids=lambda n: n.name)
def test_streams(name, config):
    rng = np.random.default_rng(name)
    lanes = config.weight_pitch
    for density in (0, 0.1, 0.6, 1):
        columns, rows = int(rng.integers(1, 7)), int(rng.integers(1, 7))
        values = BOOK[rng.integers(1, 16, (rows * lanes, columns))]
        values[rng.random(values.shape) >= density] = 0
        dense = np.ascontiguousarray(values.T).reshape(-1, lanes)
        octets = encoded(name, values, dense, config.beat_bytes)
        fields = {"format": name, "pitch": columns | rows << 16}
        found = compressed_rows(config, fields, octets)
        assert found.dtype == np.uint8
        assert np.array_equal(found.view(np.int8), dense)


@pytest.mark.parametrize("name", machine_formats(CONFIGS[0])[2:], ids=lambda n: n.name)
def test_jobs_that_no_decoder_takes(name):
    octets = np.zeros(64, np.uint8)
    for pitch in (0, 1, 1 << 16):
        with pytest.raises(ValueError, match="columns of"):
            compressed_rows(CONFIGS[0], {"format": name, "pitch": pitch}, octets)
    if name not in (WeightFormat.BITMASK, WeightFormat.RUN_LENGTH):
        with pytest.raises(ValueError, match="^1025 columns; legal: up to 1024$"):
            compressed_rows(CONFIGS[0], {"format": name, "pitch": 1025 | 1 << 16}, octets)


def test_places_of_rows_and_columns():
    config = CONFIGS[0]
    fields = {"local": 3 * 8, "local_pitch": 10 * 8, "extent": 7}
    for name, transposed in ((WeightFormat.ROWS, False), (WeightFormat.COLUMNS, True)):
        rows, columns = matrix_places(config, {**fields, "format": name}, 31)
        for number in range(31):
            line, byte = divmod(number, 7)
            row, across = (byte, line) if transposed else (line, byte)
            assert rows[number] == 3 + 10 * (across // 5) + row
            assert columns[number] == across % 5


def test_names_of_formats():
    plain = CONFIGS[0].replace(transposer=False, sparse={"formats": ["csr", "csc-absolute"]})
    assert machine_formats(plain) == (WeightFormat.CSC_ABSOLUTE, WeightFormat.CSR)
    others = {WeightFormat.DENSE, WeightFormat.INTERLEAVED}
    assert set(machine_formats(CONFIGS[0])) == set(WeightFormat) - others
    beside = plain.replace(sparse={"formats": []}, interleave={"rows": [5]})
    assert machine_formats(beside) == (WeightFormat.INTERLEAVED,)


def test_interleaved_rows():
    config = CONFIGS[0].replace(interleave={"rows": [3, 5]})
    fields = {"format": WeightFormat.INTERLEAVED, "target": LoadTarget.ACTIVATION, "extent": 5,
              "local": 7, "local_pitch": -4, "segments": 2, "length": 3}
    assert illegal_format(config, fields) is None
    assert "for activations" in illegal_format(config, {**fields, "target": LoadTarget.WEIGHT})
    assert illegal_format(config, {**fields, "extent": 7}) == "extent is 7; legal: (3, 5)"
    assert interleaved_places(fields).tolist() == [[7, 12, 17], [3, 8, 13]]


def test_legal_fields():
    fields = {"target": LoadTarget.WEIGHT, "local": 8, "local_pitch": 16, "extent": 3,
              "segments": 2, "address": 1, "length": 5}
    assert illegal_format(CONFIGS[0], {**fields, "format": WeightFormat.ROWS}) is None
    stream = {**fields, "format": WeightFormat.CSR, "local_pitch": 0, "extent": 0, "segments": 1,
              "address": 8, "length": 16}
    assert illegal_format(CONFIGS[0], stream) is None
    for name in ("local_pitch", "extent"):
        assert "legal of a stream" in illegal_format(CONFIGS[0], {**stream, name: 8})
