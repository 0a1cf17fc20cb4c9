# SPDX-License-Identifier: Apache-2.0
"""Random legal configurations, and every preset, compute the same bits.

``KIWICHA_CONFIGS=20`` and ``KIWICHA_SEED=0`` choose how many, and from which seed on;
``make random`` does that.
"""

import hashlib
import os

import numpy as np
import pytest

from kiwicha.errors import KiwichaError
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import preset

from ..support.bench import unit_simulator
from ..support.slow import slow
from .board import Job, board
from .configs import random_config
from .networks import check, prepare, result_bits, to_job

FIRST = int(os.environ.get("KIWICHA_SEED", "0"))
COUNT = int(os.environ.get("KIWICHA_CONFIGS", "2"))

#: Every legal machine runs these.
NETWORKS = ("pool_overlapping", "average_border", "flatten")
#: And these if its memories hold a pixel's window: convolutions of every kind, pool and fc.
LARGER = ("separable", "global_pool")


def same_bits(config: AcceleratorConfig, simulator: str) -> list[str]:
    """Run the networks on one machine; return those that fitted."""
    work = []
    for name in (*NETWORKS, *LARGER):
        prepared = prepare(name, config.requantize_mode)
        try:
            work.append((name, prepared, *to_job(prepared, config)))
        except KiwichaError as error:
            assert name in LARGER, f"{name} is refused: {error}"
    # The memory's temper belongs to the draw as well.
    rng = np.random.default_rng(config.fingerprint)
    latency, stall = int(rng.choice([2, 20, 70])), int(rng.choice([0, 0, 100]))
    jobs: list[Job] = [job.but(latency=latency, stall=stall) for *_, job, _ in work]
    results = board(config, simulator).run(jobs)
    for (name, prepared, compiled, _, golden), done in zip(work, results, strict=True):
        # One reference for every machine of a mode: equal to it is equal to each other.
        check(prepared, compiled, golden, done, f"{config}, {name}")
        bits = result_bits(prepared, compiled, done.memory)
        print(f"{name}: {hashlib.sha256(bits).hexdigest()[:16]} ({config.requantize_mode.value})")
    return [name for name, *_ in work]


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_random_config(seed):
    config = random_config(seed)
    print(f"seed {seed}: {config}")
    print(f"seed {seed}: same bits for", ", ".join(same_bits(config, unit_simulator().name)))


@slow("wide", "ecp5-8x8")
@pytest.mark.parametrize("name", ["tiny", "wide", "ecp5-8x8"])
def test_presets(name):
    assert set(LARGER) <= set(same_bits(preset(name), unit_simulator().name))


@pytest.mark.skipif(COUNT < 20, reason="minutes of building: run `make random`")
@pytest.mark.parametrize("name", ["small", "default", "large", "ecp5-12x12"])
def test_other_presets(name):
    assert set(LARGER) <= set(same_bits(preset(name), unit_simulator().name))
