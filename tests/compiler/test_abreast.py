# SPDX-License-Identifier: Apache-2.0
"""Neighbouring output pixels in columns of their own: the same bytes, in fewer cycles."""

from dataclasses import replace

import numpy as np
import pytest

from kiwicha.compiler.schedule.abreast import abreast, counts
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.search import Plan, choose_plan, choose_tiling
from kiwicha.compiler.schedule.tiling import legal_tilings
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import preset

from .test_emit import CASES, CONFIGS, random_work, run

FIRST = (2, 12, 12, 1, 6, (5, 5), (1, 1), (2, 2, 2, 2), (1, 1))


def plan(work: Contraction, config: AcceleratorConfig, pixels: int) -> Plan:
    """The best way with so many neighbours."""
    return Plan(lambda w: abreast(w, pixels), choose_tiling(abreast(work, pixels), config))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("case", [name for name, shape in CASES.items() if shape[5][1] > 1])
def test_any_number_gives_the_same_bytes(case: str, config: str) -> None:
    work, x = random_work(np.random.default_rng(3), *CASES[case])
    machine = CONFIGS[config]
    for pixels in counts(work, machine):
        if any(True for _ in legal_tilings(abreast(work, pixels), machine)):
            run(work, x, machine, plan(work, machine, pixels))


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_weights_with_zero_points(dtype: type, mixed: bool) -> None:
    rng = np.random.default_rng(11)
    work, x = random_work(rng, *FIRST, mixed=mixed)
    if dtype is np.uint8:
        work = replace(
            work, weights=work.weights.view(np.uint8), weight_zero=work.weight_zero + 128
        )
    for pixels in (2, 3, 5):
        run(work, x, CONFIGS["default"], plan(work, CONFIGS["default"], pixels))


@pytest.mark.parametrize("seed", range(40))
def test_random_geometry(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def pick(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    kernel, dilations = (pick(1, 4), pick(2, 6)), (pick(1, 2), pick(1, 2))
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = tuple(pick(0, 2) for _ in range(4))
    height, width = (span[axis] + pick(0, 12) for axis in (0, 1))
    shape = (pick(1, 3), height, width, pick(1, 4), pick(1, 7), kernel, (pick(1, 3), pick(1, 3)))
    work, x = random_work(rng, *shape, pads, dilations, mixed=bool(seed % 2))
    config = CONFIGS[list(CONFIGS)[seed % len(CONFIGS)]]
    pixels = [p for p in counts(work, config)
              if any(True for _ in legal_tilings(abreast(work, p), config))]
    run(work, x, config, plan(work, config, pixels[pick(0, len(pixels) - 1)]))


def test_a_row_that_they_do_not_divide_is_ragged() -> None:
    work, x = random_work(np.random.default_rng(1), *FIRST)
    made = abreast(work, 5)
    assert (made.y.width, made.y.channels, made.y.row_bytes) == (3, 30, 72)
    assert made.y.ragged
    assert not abreast(work, 4).y.ragged
    run(work, x, CONFIGS["default"], plan(work, CONFIGS["default"], 5))


def test_nothing_where_neighbours_cannot_be_one_pixel() -> None:
    rng, config = np.random.default_rng(2), preset("default")
    work, _ = random_work(rng, *FIRST)
    assert max(counts(work, config)) == 64 // 6
    assert list(counts(replace(work, y=replace(work.y, step=8)), config)) == [1]
    pitched = replace(work, y=replace(work.y, pitch=100))
    assert list(counts(pitched, config)) == [1, 2, 3, 4, 6]
    pooled, _ = random_work(rng, 1, 8, 8, 4, 4, (2, 2), (2, 2), (0,) * 4, (1, 1), groups=4)
    assert list(counts(pooled, config)) == [1]


def test_the_first_layer_of_lenet_takes_half_the_cycles() -> None:
    config = preset("default")
    shape = (1, 28, 28, 1, 6, (5, 5), (1, 1), (2, 2, 2, 2), (1, 1))
    work, x = random_work(np.random.default_rng(4), *shape)
    best = choose_plan(work, config)
    assert choose_plan(work, config, plain=True).form(work) is work
    fast, slow = (run(work, x, config, each) for each in (best, plan(work, config, 1)))
    assert fast.timeline().total < 0.6 * slow.timeline().total


def test_full_columns_stay_as_they_are() -> None:
    work, _ = random_work(np.random.default_rng(5), *CASES["deep"])
    assert choose_plan(work, preset("default")).form(work) is work
