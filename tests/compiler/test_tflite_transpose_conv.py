# SPDX-License-Identifier: Apache-2.0
"""TRANSPOSE_CONV of TFLite files, against LiteRT."""

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")

from ..support.tflite_files import Network
from .test_tflite import agrees


def transposed(network, channels, kernel, strides, padding, bias=True, per_channel=True, **options):
    n, height, width, depth = network.shape
    sizes = [
        length * step if padding == "SAME" else (length - 1) * step + reach
        for length, step, reach in zip((height, width), strides, kernel, strict=True)
    ]
    shape = (n, *sizes, channels)
    wanted = network.writer.tensor(
        f"shape{network.made}", (4,), "int32", values=np.asarray(shape, np.int32)
    )
    weight, *rest = network.weights((channels, *kernel, depth), 0, bias, per_channel)
    return network.add(
        "TRANSPOSE_CONV", [wanted, weight, network.last, *rest], shape, "TransposeConv",
        3 if bias else (2 if network.kind == "int8" else 1), strideH=strides[0],
        strideW=strides[1], padding=padding, **options,
    )


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize(("kernel", "strides", "padding"), [
    ((3, 3), (2, 2), "SAME"), ((3, 3), (2, 2), "VALID"), ((2, 2), (2, 2), "VALID"),
    ((4, 5), (1, 3), "SAME"), ((1, 2), (3, 2), "VALID"), ((5, 5), (2, 1), "SAME"),
    ((2, 1), (3, 2), "SAME"),
])
def test_windows(kind, kernel, strides, padding):
    network = Network((2, 4, 5, 6), kind, seed=sum(kernel))
    graph = agrees(transposed(network, 7, kernel, strides, padding))
    assert [node.promise for node in graph.nodes if node.kind == "conv_transpose"] == ["runtime"]


@pytest.mark.parametrize(("bias", "per_channel"), [(False, True), (True, False), (False, False)])
def test_scales_and_biases(bias, per_channel):
    agrees(transposed(Network((1, 3, 3, 9)), 4, (3, 2), (2, 2), "SAME", bias, per_channel))


def test_between_layers():
    network = Network((1, 6, 6, 3)).conv(5, (3, 3), (4, 4))
    agrees(transposed(network, 4, (3, 3), (2, 2), "SAME").conv(3, (1, 1), (8, 8)))
