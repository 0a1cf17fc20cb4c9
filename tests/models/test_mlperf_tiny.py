# SPDX-License-Identifier: Apache-2.0
"""The MLPerf Tiny networks as published: bits of LiteRT, fewer cycles than Vela's estimate."""

import numpy as np
import pytest

import kiwicha
from kiwicha.bench.mlperf_tiny import (
    FOLDER,
    MACHINES,
    NETWORKS,
    VARIABLE,
    extreme_inputs,
    files_folder,
)
from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.source import lower_source
from kiwicha.machine.presets import preset

pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")

SMALL = preset("tiny").replace(
    name="tiny-tflite", requantize_mode="tflite", special={"lanes": 1, "softmax": "tflite"}
)
NEEDS = f"needs the MLPerf Tiny files ({FOLDER}): run `{VARIABLE}=DIR make test ARGS=tests/models`"

if files_folder() is None:
    pytest.skip(NEEDS, allow_module_level=True)


@pytest.fixture(params=NETWORKS)
def network(request):
    found = NETWORKS[request.param]
    if found.path is None:
        pytest.skip(NEEDS)
    return found


def inputs(path):
    values = lower_source(kiwicha.load_model(path).proto).inputs
    return [random_inputs(values, 5), *extreme_inputs(values)]


def test_the_bits_are_those_of_litert(network):
    for given in inputs(network.path):
        run = kiwicha.run_golden(network.path, given, MACHINES["8x8"])
        assert run.exact, run.verdict
        for name, expected in run.expected.items():
            np.testing.assert_array_equal(run.outputs[name], expected)


def test_every_layer_is_exact_and_none_is_a_copy(network):
    made = kiwicha.compile_model(network.path, MACHINES["8x8"])
    assert {layer.promise for layer in made.layers} == {"runtime-exact"}
    assert not [layer for layer in made.layers if layer.op == "Transpose"]


@pytest.mark.parametrize("size", MACHINES)
def test_it_takes_fewer_cycles_than_vela_estimates(size, network):
    assert kiwicha.predict_cycles(network.path, MACHINES[size]) < network.vela


def test_one_runs_simulated():
    """The smallest, with every kind of layer but the sum, on a machine that is built soon."""
    network = NETWORKS["wake-word"]
    if network.path is None:
        pytest.skip(NEEDS)
    for given in inputs(network.path)[::3]:
        run = kiwicha.simulate(network.path, given, SMALL)
        assert run.exact, run.verdict
        assert run.report.reference["whole"]
        assert run.report.reference["compared"]
        assert abs(run.predicted_cycles / run.cycles - 1) < 0.02
