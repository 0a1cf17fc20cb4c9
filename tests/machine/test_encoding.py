# SPDX-License-Identifier: Apache-2.0
"""Instructions survive the way to words and back; what does not fit is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiwicha.machine.encoding import decode, encode, flat_index, index_fields, walk_program
from kiwicha.machine.isa import Opcode


@given(st.integers(-(1 << 31), (1 << 31) - 1), st.integers(0, (1 << 64) - 1), st.integers(0, 31))
def test_round_trip(pitch: int, address: int, wait: int) -> None:
    words = encode(Opcode.LOAD, pitch=pitch, address=address, wait=wait, length=7)
    fields = decode(Opcode.LOAD, words)
    assert (fields["pitch"], fields["address"], fields["wait"]) == (pitch, address, wait)
    assert fields["opcode"] == Opcode.LOAD
    assert len(words) == 4


def test_field_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"^COMPUTE\.rows is 256; legal: 0 to 255$"):
        encode(Opcode.COMPUTE, rows=256)
    levels = [{"count": 1, "y": 0, "x": 0, "address": 1 << 23}] * 7
    with pytest.raises(ValueError, match=r"^COMPUTE\.levels\.0\.address is 8388608; legal: "):
        encode(Opcode.COMPUTE, levels=levels)


def test_unknown_field() -> None:
    with pytest.raises(KeyError):
        encode(Opcode.STORE, banana=1)


@given(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 16) - 1))
def test_index(first: int, pitch: int) -> None:
    fields = decode(Opcode.VECTOR, encode(Opcode.VECTOR, **index_fields(first, pitch)))
    assert flat_index(fields) == (first, pitch)
    assert fields["low"] & 0xFFFF == first % (1 << 16)
    assert fields["high"] & 0xFFFF == first >> 16


@pytest.mark.parametrize(
    ("first", "pitch", "message"),
    [
        (-1, 0, "first is -1; legal: 0 to 4294967295"),
        (1 << 32, 0, "first is 4294967296; legal: 0 to 4294967295"),
        (0, 1 << 16, "pitch is 65536; legal: 0 to 65535"),
        (0, -1, "pitch is -1; legal: 0 to 65535"),
    ],
)
def test_index_out_of_range_is_named(first: int, pitch: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        index_fields(first, pitch)


def test_walk_program() -> None:
    parts = [encode(Opcode.STORE, length=3), encode(Opcode.SPECIAL, rows=2), encode(Opcode.END)]
    words = np.concatenate([*parts, [0]])
    found = [(index, opcode) for index, opcode, _ in walk_program(words.astype(np.uint64))]
    assert found == [(0, Opcode.STORE), (4, Opcode.SPECIAL), (8, Opcode.END)]


def test_walk_bad_programs() -> None:
    with pytest.raises(ValueError, match="^illegal opcode 0 at word 0$"):
        list(walk_program(np.zeros(4, np.uint64)))
    with pytest.raises(ValueError, match="^the program ends at word 4 without END$"):
        list(walk_program(encode(Opcode.LOAD)))
