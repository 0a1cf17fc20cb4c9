# SPDX-License-Identifier: Apache-2.0
"""MEAN of TFLite files over any axes, against LiteRT."""

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")

from ..support.tflite_files import Network
from .test_tflite import agrees


def mean(network, axes, keep=True):
    shape = [1 if axis in axes else length for axis, length in enumerate(network.shape)]
    if not keep:
        shape = [length for axis, length in enumerate(shape) if axis not in axes]
    given = network.writer.tensor(
        f"axes{network.made}", (len(axes),), "int32", values=np.asarray(axes, np.int32)
    )
    version = 2 if network.kind == "int8" else 1
    return network.add(
        "MEAN", [network.last, given], shape, "Reducer", version, keepDims=keep
    )


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize(("axes", "keep"), [
    ((1, 2), True), ((1, 2), False), ((2, 1), False), ((1,), True), ((2,), False), ((3,), True),
    ((1, 2, 3), False),
])
def test_mean(kind, axes, keep):
    """49 values have a multiplier below 2^30."""
    graph = agrees(mean(Network((2, 7, 7, 5), kind, seed=len(axes)), axes, keep))
    assert {node.promise for node in graph.nodes} == {"runtime"}


def test_between_layers():
    network = Network((1, 6, 5, 3)).conv(9, (3, 3), (4, 3))
    agrees(mean(network, (1, 2), False).dense(4))
