# SPDX-License-Identifier: Apache-2.0
"""The tables of quantization in blocks: whole, from the RTL's arithmetic, and drawn."""

import pytest

from kiwicha.bench import quantization
from kiwicha.bench.quantization import COLUMNS, DISTRIBUTIONS, block_scales, picture, several_ways
from kiwicha.golden.block_quantize import QuantizedBlocks, block_quantize


@pytest.fixture(scope="module")
def scales():
    return block_scales(seeds=1, rtl_samples=512, progress=lambda _: None)


def test_the_rtl_agrees_and_every_column_is_there(scales) -> None:
    assert len(scales.values) == len(DISTRIBUTIONS) * len(COLUMNS)
    assert all(len(row) == len(scales.columns) for row in scales.rows)
    for figures in scales.values:
        assert figures["rtl_differences"] == 0
        assert figures["least"] <= figures["decibels"] <= figures["greatest"]


def test_an_rtl_that_differs_is_counted(monkeypatch) -> None:
    x = quantization.draw("normal", 0)[:512]

    def wrong(*arguments):
        right = block_quantize(*arguments)
        right.values[7] ^= 1
        return QuantizedBlocks(right.values, right.magnitude, right.shift)

    monkeypatch.setattr(quantization, "block_quantize", wrong)
    assert quantization._rtl_differences(x, 256) == 1


@pytest.fixture(scope="module")
def ways():
    return several_ways(seeds=1, progress=lambda _: None)


def test_several_ways(ways) -> None:
    for figures in ways.values:
        assert figures["l2"] >= figures["one way"]
        assert figures["l2"] >= max(figures[name] for name in ("cosine", "bias", "l1"))


@pytest.mark.bench
def test_picture(scales, ways, tmp_path) -> None:
    picture(scales, ways, tmp_path / "new" / "quantization.svg")
    assert "<svg" in (tmp_path / "new" / "quantization.svg").read_text()
