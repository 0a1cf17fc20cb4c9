# SPDX-License-Identifier: Apache-2.0
"""Reductions of whole images with channels as pixels: the same bytes, in fewer cycles."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.folded import folded, groups
from kiwicha.compiler.schedule.search import Plan, choose_plan, choose_tiling, fits
from kiwicha.machine.isa import Reduction
from kiwicha.machine.presets import preset

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_average_pool import S8, U8, pooled
from .test_emit import CONFIGS, random_work, run
from .test_moves import runs

NONE = (0, 0, 0, 0)


def image(
    shape: tuple[int, int, int, int], pool: Reduction, seed: int = 1
) -> tuple[Contraction, np.ndarray]:
    """A whole image reduced, all channels requantized alike."""
    count, height, width, channels = shape
    work, x = random_work(
        np.random.default_rng(seed), count, height, width, channels, 0, (height, width), (1, 1),
        NONE, (1, 1), pool=pool,
    )
    alike = {
        name: np.broadcast_to(getattr(work, name)[:1], channels)
        for name in ("weight_zero", "bias", "multiplier", "shift")
    }
    return replace(work, **alike), x


@pytest.mark.parametrize("pool", [Reduction.SUM, Reduction.MAX])
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("shape", [
    (1, 25, 5, 64), (2, 3, 4, 33), (1, 1, 9, 37), (1, 9, 1, 16), (3, 2, 2, 12), (1, 1, 1, 40),
])
def test_any_number_gives_the_same_bytes(shape, config, pool):
    work, x = image(shape, pool)
    for count in (n for n in range(2, shape[3] + 1) if shape[3] % n == 0):
        other = folded(work, count)
        if fits(other, CONFIGS[config]):
            tiling = choose_tiling(other, CONFIGS[config])
            run(work, x, CONFIGS[config], Plan(partial(folded, count=count), tiling))


def test_pixels_within_others():
    """Each pixel's 12 channels among 30 of a larger tensor."""
    work, x = image((1, 5, 6, 12), Reduction.SUM)
    among = np.random.default_rng(2).integers(0, 256, (1, 5, 6, 30), np.uint8).view(x.dtype)
    among[..., 7:19] = x
    lie = replace(work.x, address=7, step=30, pitch=180)
    work = replace(work, x=lie, y=replace(work.y, address=1024))
    for count in (2, 3, 4, 6, 12):
        tiling = choose_tiling(folded(work, count), CONFIGS["tiny"])
        run(work, x, CONFIGS["tiny"], Plan(partial(folded, count=count), tiling), among)


@pytest.mark.parametrize(("shape", "config", "count"), [
    ((1, 25, 5, 64), "small", 8), ((1, 3, 3, 256), "small", 8), ((1, 8, 8, 64), "default", 8),
    ((1, 3, 3, 256), "default", 16), ((64, 4, 4, 64), "small", 1), ((1, 4, 4, 7), "small", 1),
    ((1, 4, 4, 37), "small", 37),
])
def test_how_many(shape, config, count):
    assert groups(image(shape, Reduction.SUM)[0], preset(config)) == count


def test_what_stays_whole():
    work, _ = image((1, 6, 6, 64), Reduction.SUM)
    small = preset("small")
    assert groups(work, small) > 1
    scale = np.arange(64, dtype=np.uint32) + (1 << 30)
    gap = replace(work.x, pitch=work.x.row_bytes + 8)  # pixels that are not all as far apart
    window = random_work(
        np.random.default_rng(1), 1, 6, 6, 64, 0, (5, 6), (1, 1), NONE, (1, 1), pool=Reduction.SUM
    )[0]
    for other in (
        replace(work, multiplier=scale), replace(work, x=gap), window,
        replace(work, pads=(1, 0)), replace(work, x=replace(work.x, channels=65), skipped=1),
    ):
        assert groups(other, small) == 1


def test_fewer_cycles():
    quantized = (0.1, S8(-3)), (0.05, S8(4))
    graph = legalize(lower(pooled("QOperator", [1, 64, 25, 5], quantized, "GlobalAveragePool")))
    assert compile_graph(graph, preset("ecp5-8x8")).timeline.total < 2500  # whole: 9 200


def test_where_whole_pixels_do_not_fit():
    work, x = image((1, 6, 6, 16), Reduction.MAX)
    among = np.random.default_rng(2).integers(0, 256, (1, 6, 6, 40), np.uint8).view(x.dtype)
    among[..., :16] = x
    work = replace(work, x=replace(work.x, step=40, pitch=240), y=replace(work.y, address=2048))
    assert not fits(work, CONFIGS["micro"])
    assert choose_plan(work, CONFIGS["micro"]).form(work).y.width > 1
    run(work, x, CONFIGS["micro"], within=among)


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "GlobalMaxPool"])
def test_channel_of_a_layer_that_is_counted(kind):
    """One channel's results are counted among whole ones."""
    constants = scales(x=(0.05, U8(9)), y=(0.05, U8(9)))
    nodes = [q("in", "xq", "x"), dq("xq", "xf", "x"), node(kind, ["xf"], ["m"]),
             q("m", "mq", "y"), dq("mq", "y", "y")]
    graph = agree(model(nodes, constants, {"in": [1, 24, 6, 6]}))
    runs(graph, "tiny")
    config = preset("tiny").replace(name="counted", statistics={"elements": 4096})
    name = graph.nodes[-1].name
    counted = compile_graph(graph, config, statistics=[f"{name}[3]"])
    assert counted.timeline.total > compile_graph(graph, config).timeline.total


def test_a_part_that_would_not_fit_is_copied():
    """A few channels of each pixel take more room on chip than by themselves."""
    constants = scales(x=(0.05, U8(9)), y=(0.03, U8(3)))
    constants |= {name: np.array([value]) for name, value in {"b": 8, "e": 24, "a": 1}.items()}
    nodes = [
        q("in", "xq", "x"), dq("xq", "xf", "x"), node("Slice", ["xf", "b", "e", "a"], ["p"]),
        q("p", "pq", "x"), dq("pq", "pf", "x"),
        node("AveragePool", ["pf"], ["m"], kernel_shape=[5, 6]),
        q("m", "mq", "y"), dq("mq", "y", "y"),
    ]
    runs(agree(model(nodes, constants, {"in": [1, 40, 6, 6]}), exact=False), CONFIGS["micro"])
