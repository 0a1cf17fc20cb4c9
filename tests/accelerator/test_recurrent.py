# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers on the simulated machine."""

import pytest

import kiwicha

from ..compiler.recurrent_models import layer, sequences

LAYERS = {
    "lstm": layer("LSTM", steps=3, batch=2, direction="bidirectional", outputs=("Y", "Y_c")),
    "gru": layer("GRU", steps=3, linear_before_reset=1, first="h"),
    "float": layer("LSTM", steps=3, codes=False),
    "rnn": layer("RNN", steps=3, direction="reverse", outputs=("Y", "Y_h")),
}


@pytest.mark.parametrize("name", LAYERS)
def test_it_runs_simulated(name):
    run = kiwicha.simulate(LAYERS[name], sequences(LAYERS[name]))
    assert run.exact, run.verdict
    assert run.report.layers[0].promise == "golden-exact"
    # Little is done at once, so that a few cycles of waiting count.
    assert abs(run.predicted_cycles / run.cycles - 1) < 0.12
