# SPDX-License-Identifier: Apache-2.0
"""Image rows beside each other on chip: the same bytes, in fewer cycles."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from kiwicha.compiler.schedule.abreast import abreast
from kiwicha.compiler.schedule.abreast import counts as abreast_counts
from kiwicha.compiler.schedule.beside import beside, counts, runs
from kiwicha.compiler.schedule.by_range import Dynamic
from kiwicha.compiler.schedule.contraction import Beside, Contraction, Place
from kiwicha.compiler.schedule.search import Plan, choose_plan, choose_tiling
from kiwicha.compiler.schedule.tiling import legal_tilings
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import preset

from . import test_emit
from .test_emit import CASES, random_work, run

CONFIGS = {
    name: config.replace(interleave={"rows": rows})
    for (name, config), rows in zip(
        test_emit.CONFIGS.items(), [(3,), (3, 5), (5, 7), (3, 5, 7)], strict=True
    )
}
LENET = (1, 28, 28, 1, 6, (5, 5), (1, 1), (2, 2, 2, 2), (1, 1))


def plans(
    work: Contraction, config: AcceleratorConfig, pixels: tuple[int, ...] = (1, 2)
) -> Iterator[Plan]:
    """The best way with any number of rows, and some of pixels."""
    for rows in counts(work, config):
        for many in set(pixels) & set(abreast_counts(work, config)):

            def form(w: Contraction, rows: int = rows, many: int = many) -> Contraction:
                return abreast(beside(w, rows), many)

            if any(True for _ in legal_tilings(form(work), config)):
                yield Plan(form, choose_tiling(form(work), config))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("case", [name for name, shape in CASES.items() if shape[5][0] > 1])
def test_any_number_gives_the_same_bytes(case: str, config: str) -> None:
    work, x = random_work(np.random.default_rng(3), *CASES[case])
    for plan in plans(work, CONFIGS[config]):
        run(work, x, CONFIGS[config], plan)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_weights_with_zero_points(dtype: type, mixed: bool) -> None:
    rng, config = np.random.default_rng(11), CONFIGS["default"]
    work, x = random_work(rng, *LENET, mixed=mixed)
    if dtype is np.uint8:
        work = replace(
            work, weights=work.weights.view(np.uint8), weight_zero=work.weight_zero + 128
        )
    for plan in plans(work, config, (1, 2, 5)):
        run(work, x, config, plan)


@pytest.mark.parametrize("seed", range(60))
def test_random_geometry(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def pick(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    kernel, dilations = (pick(2, 8), pick(1, 5)), (pick(1, 3), pick(1, 2))
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = tuple(pick(0, 4) for _ in range(4))
    height = max(1, span[0] - pads[0] - pads[2]) + pick(0, 12)
    width = max(1, span[1] - pads[1] - pads[3]) + pick(0, 12)
    shape = (pick(1, 3), height, width, pick(1, 5), pick(1, 7), kernel, (pick(1, 4), pick(1, 3)))
    work, x = random_work(rng, *shape, pads, dilations, mixed=bool(seed % 2))
    config = CONFIGS[list(CONFIGS)[seed % len(CONFIGS)]]
    for plan in plans(work, config, (1, pick(2, 4))):
        run(work, x, config, plan)


def test_an_image_inside_another() -> None:
    """Rows with others' bytes between are read run by run."""
    config = CONFIGS["default"]
    work, x = random_work(np.random.default_rng(8), *LENET)
    wide = np.zeros((1, 28, 40, 1), x.dtype)
    wide[:, :, :28] = x
    moved = replace(
        work, x=replace(work.x, pitch=40), y=replace(work.y, address=work.y.address + 1024)
    )
    made = list(plans(moved, config))
    assert len(made) == 8
    for plan in made:
        run(moved, x, config, plan, within=wide)


def test_runs_cover_every_row_once() -> None:
    how = Beside(Place(0, 1, 6, 4, 2), 3, -4, 2, 2)
    found = [(r.place, r.row + k, None if r.source is None else r.source + k * how.step)
             for r in runs(how, 1, 6) for k in range(r.rows)]
    assert found == [
        (place, row, source if 0 <= (source := -4 + 2 * place + 2 * row) < 6 else None)
        for place in range(3) for row in range(1, 7)
    ]


def test_nothing_where_it_cannot_be() -> None:
    rng, config = np.random.default_rng(2), CONFIGS["default"]
    work, _ = random_work(rng, *LENET)
    assert list(counts(work, config)) == [1, 3, 5, 7]
    assert list(counts(work, preset("tiny"))) == [1]
    assert list(counts(replace(work, dynamic=Dynamic(0, None, False)), config)) == [1]
    assert list(counts(replace(work, x=replace(work.x, step=2)), config)) == [1]
    pooled, _ = random_work(rng, 1, 8, 8, 4, 4, (2, 2), (2, 2), (0,) * 4, (1, 1), groups=4)
    assert list(counts(pooled, config)) == [1]


def test_the_first_layer_of_lenet_takes_a_third_of_the_cycles() -> None:
    config = CONFIGS["default"]
    work, x = random_work(np.random.default_rng(4), *LENET)
    best = choose_plan(work, config)
    made = best.form(work)
    assert (made.beside.rows, made.y.channels) == (5, 12)
    fast, slow = (run(work, x, config, each) for each in (best, next(plans(work, config))))
    # The image has to be there first, so that one by itself takes a third.
    assert fast.timeline().total < 0.37 * slow.timeline().total
