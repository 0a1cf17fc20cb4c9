# SPDX-License-Identifier: Apache-2.0
"""Latencies as stated are those of the units, for every configuration; units say so themselves."""

from itertools import product

import pytest

from kiwicha.hw.compute.compute import ComputeEngine
from kiwicha.hw.parts.requantize_multiply import PipelinedMultiply
from kiwicha.hw.special.special import SpecialEngine
from kiwicha.hw.vector.vector import VectorEngine
from kiwicha.machine import latency
from kiwicha.machine.config import PIPELINE, AcceleratorConfig
from kiwicha.machine.isa import VectorMode
from kiwicha.machine.modes import CellFamily, RequantizeMode
from kiwicha.machine.presets import PRESETS

from ..accelerator.configs import random_config


def build(cfg: AcceleratorConfig) -> tuple[ComputeEngine, VectorEngine]:
    """Build the engines that have latencies; each compares itself with what is stated."""
    if cfg.special.lanes:
        SpecialEngine(cfg).elaborate(None)
    return ComputeEngine(cfg), VectorEngine(cfg)


def more(seed: int) -> AcceleratorConfig:
    """A random machine, with cells, dynamic quantization and statistics as well."""
    cells = list(CellFamily)[seed % 3]
    return random_config(seed).replace(
        cells=cells, dynamic=seed % 2 == 0, statistics={"elements": 256 * (seed % 5 == 0)},
    )


@pytest.mark.parametrize("start", [0, 12, pytest.param(24, marks=pytest.mark.slow)])
def test_random_machines(start):
    for seed in range(start, start + (12 if start < 24 else 200)):
        cfg = more(seed)
        compute, vector = build(cfg)
        # A vector a cycle passes feed, array and the columns' accumulators.
        assert compute.latency + compute.drain == latency.compute_latency(cfg)
        assert vector.latency == latency.vector_latency(cfg)


@pytest.mark.parametrize("pipeline", [PIPELINE, (), *zip(PIPELINE)], ids="+".join)
def test_registers_for_the_clock(pipeline):
    build(PRESETS["small"].replace(pipeline=pipeline))


def test_requantizers():
    base = PRESETS["tiny"].replace(requantize_lanes=1, **LEARNS)
    for mode, width, cells, pipeline in product(
        RequantizeMode, (0, 9, 18), CellFamily, (PIPELINE, ())
    ):
        VectorEngine(base.replace(
            requantize_mode=mode, requantize_multiplier_width=width, cells=cells,
            pipeline=pipeline, dynamic=True,
        ))


def test_products():
    for operands, width, cells in product(((25, 24), (32, 31)), (0, 9, 18), CellFamily):
        unit = PipelinedMultiply(*operands, width, cells)
        assert unit.latency == latency.product_latency(width, cells)


#: Functions that units compare themselves with, and what is built to see it.
COMPARED = [
    "accumulator_hazard", "accumulator_latency", "compute_latency", "dynamic_latency",
    "instruction_gap", "measure_latency", "multiplier_latency", "pass_interval", "range_latency",
    "vector_latency",
]
LEARNS = {
    "training": {"classes": 16}, "residual": {"tables": 2}, "special": {"lanes": 1},
    "transposer": True,
}


@pytest.mark.parametrize("name", COMPARED)
def test_a_number_that_is_wrong_is_noticed(name, monkeypatch):
    cfg = PRESETS["tiny"].replace(dynamic=True, **LEARNS)
    build(cfg)
    right = getattr(latency, name)
    for room in ("compute.compute", "compute.accumulator", "compute.systolic", "vector.vector"):
        target = f"kiwicha.hw.{room}.{name}"
        monkeypatch.setattr(target, lambda *a, **k: right(*a, **k) + 1, raising=False)
    monkeypatch.setattr(latency, name, lambda *a, **k: right(*a, **k) + 1)
    with pytest.raises(AssertionError, match=r"is \d+, machine.latency states \d+$"):
        build(cfg)


def test_constants_that_are_wrong_are_noticed(monkeypatch):
    cfg = PRESETS["tiny"].replace(dynamic=True, special={"lanes": 1})
    with monkeypatch.context() as patch:
        patch.setattr(latency, "SETTLE_LATENCY", latency.SETTLE_LATENCY - 1)
        with pytest.raises(AssertionError, match="^a scale's latency is 56, .* states 55$"):
            build(cfg)
    with monkeypatch.context() as patch:
        patch.setitem(latency.SOFTMAX_SPACING, cfg.special.softmax, 5)
        with pytest.raises(AssertionError, match="^a softmax's spacing is 6, .* states 5$"):
            build(cfg)


def test_modes_take_longer():
    cfg = PRESETS["tiny"].replace(dynamic=True, statistics={"elements": 256})
    of = {mode: latency.vector_latency(cfg, mode) for mode in VectorMode}
    for mode, takes in (
        (VectorMode.MEASURE, latency.SETTLE_LATENCY),
        (VectorMode.RANGE, latency.RANGE_SETTLE_LATENCY),
    ):
        assert latency.vector_latency(cfg, mode, settle=True) - of[mode] == takes
    assert of[VectorMode.SHIFT] == of[VectorMode.REQUANTIZE]
    without = cfg.replace(statistics={"elements": 0})
    assert {
        of[mode] - latency.vector_latency(without, mode) for mode in VectorMode
    } == {latency.statistics_latency(cfg)}
