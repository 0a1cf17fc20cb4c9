# SPDX-License-Identifier: Apache-2.0
"""golden.buffer_tags against bytes that each remember their value, in fractions."""

from fractions import Fraction

import numpy as np
import pytest

from kiwicha.golden.buffer_tags import BufferTags, Tag
from kiwicha.machine.line_tags import TagFormat

LINE, LINES = 8, 4


def random_codes(rng, count):
    return rng.integers(-128, 128, count).astype(np.int8)


@pytest.mark.parametrize("requantize", [False, True])
def test_a_border_at_every_offset(requantize):
    """Two quantizations in lines side by side, the last and the first line among them."""
    rng = np.random.default_rng(1)
    unit = BufferTags(LINE, LINES, requantize=requantize)
    tags = [Tag(3), Tag(-7, 4), Tag(5, 8, TagFormat.SLOT), Tag(-128)]
    codes = [random_codes(rng, LINE) for _ in tags]
    for number in (2, 0, 3, 1):
        unit.write(number * LINE, codes[number], tags[number])
    flat = np.concatenate(codes).tolist() * 2
    of_bytes = [tag for tag in tags for _ in range(LINE)] * 2
    for address in range(LINE * LINES):
        found, found_tags = unit.read(address, LINE)
        assert found.tolist() == flat[address : address + LINE]
        assert found_tags == of_bytes[address : address + LINE]


def test_one_write_over_several_lines():
    rng = np.random.default_rng(2)
    unit = BufferTags(LINE, LINES)
    codes = random_codes(rng, 3 * LINE)
    unit.write(LINE, codes, Tag(9, 6))
    found, tags = unit.read(LINE, 3 * LINE)
    assert np.array_equal(found, codes)
    assert tags == [Tag(9, 6)] * (3 * LINE)


@pytest.mark.parametrize("spread", [2, 12])
@pytest.mark.parametrize("seed", range(4))
def test_requantizing_writes(seed, spread):
    """Runs of bytes at any place; each line has the greatest exponent since it was whole."""
    rng = np.random.default_rng(seed)
    unit = BufferTags(LINE, LINES, requantize=True)
    start = random_codes(rng, LINE * LINES)
    unit.write(0, start, Tag(0))
    values, exponents = [int(v) for v in start], [0] * LINES
    lossy = 0
    for _ in range(200):
        count = int(rng.integers(1, 2 * LINE))
        address = int(rng.integers(0, LINE * LINES - count + 1))
        codes, exponent = random_codes(rng, count), int(rng.integers(-spread, spread + 1))
        fresh = bool(rng.random() < 0.1)
        unit.write(address, codes, Tag(exponent), fresh=fresh)
        for number in range(LINES):
            inside = [k for k in range(count) if (address + k) // LINE == number]
            if not inside:
                continue
            whole = len(inside) == LINE or fresh
            top = exponent if whole else max(exponent, exponents[number])
            if not whole:
                for at in range(number * LINE, (number + 1) * LINE):
                    exact = values[at] / Fraction(2) ** (top - exponents[number])
                    values[at] = round(exact)
                    lossy += values[at] != exact
            for k in inside:
                values[address + k] = round(int(codes[k]) / Fraction(2) ** (top - exponent))
            exponents[number] = top
        found, tags = unit.read(0, LINE * LINES)
        assert found.tolist() == values
        assert tags == [Tag(exponents[at // LINE]) for at in range(LINE * LINES)]
    assert lossy > 10


def test_every_code_and_shift():
    every = np.arange(-128, 128).astype(np.int8)
    for shift in (0, 1, 2, 5, 7, 8, 9, 100, 255):
        unit = BufferTags(257, 1, requantize=True)
        unit.write(0, every, Tag(-128), fresh=True)
        unit.write(256, every[:1], Tag(shift - 128))
        rounded = [round(Fraction(int(v), 1 << shift)) for v in every]
        assert unit.read(0, 256)[0].tolist() == rounded
        other = BufferTags(257, 1, requantize=True)
        other.write(256, every[:1], Tag(shift - 128), fresh=True)
        other.write(0, every, Tag(-128))
        assert other.read(0, 256)[0].tolist() == rounded
        assert other.tags == [Tag(shift - 128)]


def test_requantizing_depends_on_the_order():
    """Why it is not the default."""
    five = np.full(2, 5, np.int8)
    results = []
    for order in ((0, 1, 3), (3, 0, 1)):
        unit = BufferTags(LINE, 1, requantize=True)
        unit.write(0, np.zeros(LINE, np.int8), Tag(-9))
        for exponent in order:
            unit.write(2 * exponent, five, Tag(exponent))
        assert unit.tags == [Tag(3)]
        results.append(unit.read(0, 2)[0].tolist())
    # 5 / 2 = 2, 2 / 4 = 0; but 5 / 8 = 1.
    assert results == [[0, 0], [1, 1]]


def test_refusals():
    codes = np.zeros(4, np.int8)
    unit = BufferTags(LINE, LINES)
    with pytest.raises(ValueError, match=r"^line 1 is covered in part: 4 of 8 bytes from 2$"):
        unit.write(10, codes, Tag(0))
    with pytest.raises(ValueError, match=r"^4 bytes from 29 on leave the scratchpad$"):
        unit.write(29, codes, Tag(0))
    unit = BufferTags(LINE, LINES, requantize=True)
    with pytest.raises(ValueError, match=r"^line 1 has no tag: its first write is whole or fresh$"):
        unit.write(8, codes, Tag(0))
    unit.write(8, codes, Tag(0, 8, TagFormat.SLOT), fresh=True)
    unit.write(8, codes, Tag(0, 8, TagFormat.SLOT))
    for other in (Tag(0), Tag(0, 4, TagFormat.SLOT), Tag(1, 8, TagFormat.SLOT)):
        with pytest.raises(ValueError, match=r"^line 1 is Tag\(.*, what is written Tag\("):
            unit.write(8, codes, other)
    for exponent in (-129, 128):
        with pytest.raises(ValueError, match=r"^exponent is -?\d+; legal: -128 to 127$"):
            Tag(exponent)
    with pytest.raises(ValueError, match=r"^width is 9; legal: 1 to 8$"):
        Tag(0, 9)
