# SPDX-License-Identifier: Apache-2.0
"""BATCH_MATMUL of TFLite files, against LiteRT."""

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")

from ..support.tflite_files import Network
from .test_tflite import CONFIG, agrees

WITH = CONFIG.replace(transposer=True)


def products(network, first, second, shape, **turned):
    """The product of two tensors, the result of small scale: most codes are not at the bounds."""
    options = {"adjX": False, "adjY": False} | turned
    network.add("BATCH_MATMUL", [first, second], shape, "BatchMatMul", 4, **options)
    network.writer.graph.tensors[network.last].quantization.scale = [np.float32(0.41)]
    return network


@pytest.mark.parametrize(("turn_x", "turn_z"), [
    (False, True), (True, False), (False, False), (True, True),
])
def test_of_an_activation_with_itself(turn_x, turn_z):
    """The input, and what a layer has made of it. A first operand that is transposed is copied; a
    second one lies as the array takes it."""
    shape = (2, 3, 8, 8)
    network = Network(shape).conv(8, (1, 1), (3, 8))
    agrees(products(
        network, network.first, network.last, shape, adjX=turn_x, adjY=turn_z
    ), WITH, copies=turn_x)


@pytest.mark.parametrize(("lead", "turned"), [((), False), ((2,), True), ((1,), False)])
def test_constant_stacks(lead, turned):
    network = Network((2, 5, 12))
    rng, size = np.random.default_rng(3), (7, 12) if turned else (12, 7)
    values = rng.integers(-128, 128, (*lead, *size)).astype(np.int8)
    constant = network.writer.tensor(
        "m", values.shape, "int8", np.float32(0.02), -9, values=values
    )
    agrees(products(network, network.last, constant, (2, 5, 7), adjY=turned), WITH)
