# SPDX-License-Identifier: Apache-2.0
"""The machine without initial values of registers: reset alone brings it to life, and again."""

import numpy as np

from kiwicha.machine.presets import preset

from ..compiler.test_emit import random_work
from .board import board
from .layers import check, compile_layer

CASES = {
    "conv": (1, 4, 5, 3, 6, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "fc": (1, 1, 1, 20, 9, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
}


def test_reset_is_enough(icarus):
    """No X on any handshake, or on what it hands over, from reset on; and the right result."""
    config = preset("tiny")
    made = [
        compile_layer(name, *random_work(np.random.default_rng(3), *shape), config)
        for name, shape in CASES.items()
    ]
    jobs = [made[0].job, made[1].job.but(stall=100), made[0].job.but(reset=300), made[0].job]
    first, second, _, again = board(config, icarus, stripped=True).run(jobs)
    check(made[0], first)
    check(made[1], second)
    check(made[0], again, "after reset")
