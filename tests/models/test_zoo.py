# SPDX-License-Identifier: Apache-2.0
"""The zoo: every network is valid and reproducible, and runs exactly."""

import dataclasses

import numpy as np
import onnx
import pytest

import kiwicha
from kiwicha.models.quantize import DEFAULT
from kiwicha.models.zoo import FULL, NETWORKS

QOPERATOR = dataclasses.replace(DEFAULT, format="qoperator")
NOT_INTEGER = {
    "alexnet", "bert", "convnext", "densenet", "efficientnet", "googlenet", "gpt", "gru",
    "lstm", "mixer", "mobilenet-v3", "shufflenet", "unet", "vit", "yolo",
}
"""ONNX Runtime computes some of their layers in float."""


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_valid_and_the_same_each_time(name):
    network = NETWORKS[name]
    made = network.float_model()
    onnx.checker.check_model(made, full_check=True)
    assert made.SerializeToString() == network.float_model().SerializeToString()
    assert np.array_equal(network.inputs(2), network.inputs(2))
    assert not np.array_equal(network.inputs(2, 1), network.inputs(2))


@pytest.mark.parametrize("name", FULL)
def test_the_published_ones_have_small_ones(name):
    assert FULL[name].builder in {network.builder for network in NETWORKS.values()}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_runs_simulated(name):
    network = NETWORKS[name]
    run = kiwicha.simulate(network.model(), {"x": network.inputs(1, 1)})
    assert run.exact, run.verdict
    promises = {layer.promise for layer in run.report.layers}
    assert run.report.reference["whole"] == (promises == {"runtime-exact"})
    assert promises == {"runtime-exact"} or name in NOT_INTEGER
    assert abs(run.predicted_cycles / run.cycles - 1) < 0.02


@pytest.mark.parametrize("name", NETWORKS)
def test_it_runs_as_qoperator(name):
    """What the quantizer leaves in float there gets codes of its own."""
    network = NETWORKS[name]
    run = kiwicha.run_golden(network.model(QOPERATOR), {"x": network.inputs(2, 1)})
    assert run.exact, run.verdict


@pytest.mark.parametrize("name", ["small-full", "full", "ecp5-8x8-full"])
def test_presets_that_have_it_all_take_all(name):
    for network in NETWORKS.values():
        assert kiwicha.predict_cycles(network.model(), name)
