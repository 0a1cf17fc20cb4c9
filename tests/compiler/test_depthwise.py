# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions on columns that filter: the same bits by every walk, in fewer cycles."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest

from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.depthwise import can_filter, drains, walk_of
from kiwicha.compiler.schedule.search import Plan, choose_tiling
from kiwicha.compiler.schedule.tiling import legal_tilings
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Opcode, Reduction
from kiwicha.machine.presets import preset

from ..accelerator.configs import random_config
from .test_emit import CONFIGS as PLAIN
from .test_emit import random_work, run

CONFIGS = {name: config.replace(depthwise=True) for name, config in PLAIN.items()}
CONFIGS["micro"] = CONFIGS["micro"].replace(activation_bytes=8192)
ECP5 = preset("ecp5-8x8-full")


def depthwise(
    rng: np.random.Generator, images: int, height: int, width: int, channels: int,
    kernel: tuple[int, int] = (3, 3), strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (1, 1, 1, 1), dilations: tuple[int, int] = (1, 1),
) -> tuple[Contraction, np.ndarray]:
    shape = (images, height, width, channels, channels, kernel, strides, pads, dilations)
    return random_work(rng, *shape, groups=channels)


def random_layer(seed: int) -> tuple[Contraction, np.ndarray]:
    rng = np.random.default_rng(seed)

    def pick(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    kernel = [(3, 3), (pick(1, 5), pick(1, 5)), (pick(2, 11), 1), (1, pick(2, 11))][seed % 4]
    dilations = (pick(1, 3), pick(1, 3)) if seed % 3 == 0 else (1, 1)
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = (pick(0, 2), pick(0, 2), pick(0, 2), pick(0, 2))
    height = pick(max(1, span[0] - pads[0] - pads[2]), 8 + span[0])
    width = pick(max(1, span[1] - pads[1] - pads[3]), 8 + span[1])
    strides = (pick(1, 3), pick(1, 3))
    shape = (pick(1, 2), height, width, pick(2, 20), kernel, strides)
    return depthwise(rng, *shape, pads, dilations)


@pytest.mark.parametrize("seed", range(60))
def test_any_cut_gives_the_same_bits(seed: int) -> None:
    work, x = random_layer(seed)
    if min(work.y.height, work.y.width) < 1:
        pytest.skip("no output")
    config = CONFIGS[list(CONFIGS)[seed // 4 % len(CONFIGS)]]
    assert can_filter(work, config)
    filtering = [t for t in legal_tilings(work, config) if t.filter]
    chooser = np.random.default_rng(seed)
    for index in chooser.choice(len(filtering), min(3, len(filtering)), replace=False):
        builder = run(work, x, config, Plan(lambda work: work, filtering[index]))
        computes = [i for i in builder.instructions if i.opcode == Opcode.COMPUTE]
        assert computes
        assert all(each.fields["filter"] for each in computes)
    run(work, x, config)


# In the first eight, what was loaded ahead lay on what was still needed.
@pytest.mark.parametrize("seed", [50, 81, 101, 105, 145, 177, 218, 367, *range(30, 40)])
def test_machines_of_any_size(seed: int) -> None:
    config = random_config(seed).replace(depthwise=True, requantize_mode="onnx")
    work, x = random_layer(seed + 1000)
    filtering = [t for t in legal_tilings(work, config) if t.filter]
    if filtering:
        run(work, x, config, Plan(lambda work: work, filtering[seed % len(filtering)]))


@pytest.mark.parametrize("seed", range(16))
def test_windows_are_added_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernels = [((2, 2), (2, 2)), ((3, 3), (2, 1)), ((8, 9), (1, 1)), ((5, 2), (1, 3))]
    kernel, strides = kernels[seed % 4]
    pads = (0, 0, 0, 0) if seed % 2 else (1, 1, 0, 1)
    shape = (2, 8, 9, 13, 13, kernel, strides, pads, (1, 1))
    work, x = random_work(rng, *shape, pool=Reduction.SUM)
    config = CONFIGS[list(CONFIGS)[seed // 4 % len(CONFIGS)]]
    filtering = [t for t in legal_tilings(work, config) if t.filter]
    for index in rng.choice(len(filtering), min(3, len(filtering)), replace=False):
        run(work, x, config, Plan(lambda work: work, filtering[index]))
    run(work, x, config)


def test_a_whole_image_is_added_up_in_a_few_passes() -> None:
    """Keyword spotting's last pooling: a tap a pass is a pass of seven cycles at least."""
    shape = (1, 25, 5, 64, 64, (25, 5), (1, 1), (0, 0, 0, 0), (1, 1))
    work, x = random_work(np.random.default_rng(1), *shape, pool=Reduction.SUM)
    without = run(work, x, ECP5.replace(depthwise=False)).timeline().total
    assert run(work, x, ECP5).timeline().total < 0.4 * without


def taps_of(walk, work):
    """Return how often each tap of the kernel is in a pass."""
    count = np.zeros(work.kernel, int)
    for each in walk.passes:
        places = [
            [taps.first + k * taps.every for k in range(taps.count)] for taps in each.taps
        ]
        count[np.ix_(*places)] += 1
    return count


@pytest.mark.parametrize("rows", [1, 3, 4, 8, 16, 128])
def test_every_tap_once(rows: int) -> None:
    for seed in range(40):
        work, _ = random_layer(seed)
        config = AcceleratorConfig(rows=rows, columns=8, depthwise=True)
        tile = work.y.images, work.y.height, work.y.width
        walk = walk_of(work, config, tile)
        assert walk is not None
        assert (taps_of(walk, work) == 1).all()
        assert all(each.rows <= rows for each in walk.passes)
        assert walk.block * walk.blocks == tile[1 + walk.inner]
        # The entries of a tile are drained once each, to places of their own.
        entries, octets = [], []
        for first, part in drains(walk, tile, 3, 1000):
            count = part["pixels"] * part["lines"]
            entries += range(first, first + count)
            octets += [
                part["local"] + line * part["line_pitch"] + pixel * part["pixel_pitch"]
                for line in range(part["lines"]) for pixel in range(part["pixels"])
            ]
        assert entries == list(range(prod(tile)))
        lines, columns = tile[0] * tile[1], tile[2]
        assert sorted(octets) == [1000 * y + 3 * x for y in range(lines) for x in range(columns)]


def test_cycles_of_three_by_three() -> None:
    """Two passes, of two kernel rows and of one, over two rows of outputs, are 2.5 a result and the
    ends of lines. With a stride of two, each of four kinds of pixels has a pass of its own."""
    rng = np.random.default_rng(1)
    work, _ = depthwise(rng, 1, 48, 48, 8)
    walk = walk_of(work, ECP5, (1, 48, 48))
    assert walk is not None
    per_result = walk.cycles / 48**2
    assert 2.5 < per_result < 2.5 * 50 / 48 + 0.01
    work, _ = depthwise(rng, 1, 48, 48, 16, strides=(2, 2), pads=(0, 0, 1, 1))
    walk = walk_of(work, ECP5, (1, 24, 24))
    assert walk is not None
    assert walk.cycles / 24**2 < 4.7


@pytest.mark.parametrize("size", [(48, 8, 1), (48, 16, 2), (24, 32, 1), (12, 64, 2), (6, 128, 1)])
def test_faster_than_the_diagonal(size: tuple[int, int, int]) -> None:
    side, channels, stride = size
    rng = np.random.default_rng(2)
    work, x = depthwise(rng, 1, side, side, channels, strides=(stride, stride))
    without = run(work, x, ECP5.replace(depthwise=False)).timeline().total
    assert choose_tiling(work, ECP5).filter
    filtered = run(work, x, ECP5).timeline().total
    assert filtered < 0.85 * without


def test_what_cannot_filter() -> None:
    rng = np.random.default_rng(3)
    work, _ = depthwise(rng, 1, 6, 6, 8)
    assert can_filter(work, ECP5)
    assert not can_filter(work, ECP5.replace(depthwise=False))
    assert not can_filter(replace(work, weight_zero=np.arange(8)), ECP5)
    shape = (1, 6, 6, 8, 16, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    assert not can_filter(random_work(rng, *shape, groups=8)[0], ECP5)
    assert not can_filter(random_work(rng, *shape)[0], ECP5)
    pool = random_work(rng, *shape[:4], 8, *shape[5:], pool=Reduction.SUM)[0]
    assert can_filter(pool, ECP5)
    assert not can_filter(replace(pool, kernel=(1, 1)), ECP5)
    assert not can_filter(replace(pool, reduction=Reduction.MAX), ECP5)


def test_multipliers_and_mixed_zero_points_fall_back() -> None:
    rng = np.random.default_rng(4)
    shape = (1, 6, 5, 6, 12, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    for name in ("tiny", "micro"):
        run(*random_work(rng, *shape, groups=6), CONFIGS[name])
        mixed = random_work(rng, *shape[:4], 6, *shape[5:], groups=6, mixed=True)
        run(*mixed, CONFIGS[name])
