# SPDX-License-Identifier: Apache-2.0
"""The machine as it goes into synthesis, made of the FPGA's cells, has the same bits and cycles."""

import numpy as np
import pytest

from kiwicha.machine.presets import preset

from ..compiler.test_emit import random_work
from ..compute.test_multiplier import ecp5_model
from ..parts.test_ram import ecp5_model as ecp5_ram_model
from .board import board
from .layers import check, compile_layer
from .test_four_state import CASES

CONFIG = preset("tiny").replace(name="cells", cells="ecp5", requantize_multiplier_width=18)


@pytest.fixture(scope="module")
def made():
    return [
        compile_layer(name, *random_work(np.random.default_rng(5), *shape), CONFIG)
        for name, shape in CASES.items()
    ]


def test_cells_of_the_ecp5(icarus, made):
    """Their models give X for whatever is read while it is written: none of it may count."""
    jobs = [made[0].job, made[1].job.but(stall=100), made[0].job.but(reset=300), made[0].job]
    models = ecp5_model() + ecp5_ram_model()
    plain = board(CONFIG, icarus).run(jobs)
    cells = board(CONFIG, icarus, cells=models).run(jobs)
    for layer, index in ((made[0], 0), (made[1], 1), (made[0], 3)):
        check(layer, plain[index])
        check(layer, cells[index])
        assert plain[index].cycles == cells[index].cycles


def test_a_cell_that_keeps_its_register_is_found(icarus, made):
    models = ecp5_model() + ecp5_ram_model()
    wrong = models.replace("if (read & take) q", "if (read & take & ~write) q")
    assert wrong != models
    with pytest.raises(AssertionError):
        (done,) = board(CONFIG, icarus, cells=wrong).run([made[0].job])
        check(made[0], done)
