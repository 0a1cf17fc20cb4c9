# SPDX-License-Identifier: Apache-2.0
"""Operators of TFLite files that move codes, against LiteRT."""

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")

from ..support.tflite_files import Network
from .test_tflite import CONFIG, compared

IMAGE = (2, 5, 6, 4)


def constant(network, name, values):
    values = np.asarray(values, np.int32)
    return network.writer.tensor(f"{name}{network.made}", values.shape, "int32", values=values)


def concatenated(network, inputs, shape, axis, like=None):
    return network.add(
        "CONCATENATION", inputs, shape, "Concatenation", 2 if network.kind == "int8" else 1,
        like, axis=axis,
    )


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_concatenation(kind, axis):
    """uint8 operands have scales of their own; int8 ones may not."""
    network = Network(IMAGE, kind, seed=axis % 7)
    network.pool("MAX_POOL_2D", (1, 1), (5, 6))
    if kind == "uint8":
        network.conv(4, (1, 1), (5, 6))
    shape = list(IMAGE)
    shape[axis] *= 2
    compared(concatenated(
        network, [network.first, network.last], shape, axis,
        network.first if kind == "int8" else None,
    ))


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_concatenation_with_a_constant(kind):
    network = Network((3, 7), kind)
    given = network.writer.graph.tensors[network.last].quantization
    scale = 0.031 if kind == "uint8" else given.scale[0]
    zero = 77 if kind == "uint8" else given.zeroPoint[0]
    values = np.random.default_rng(3).integers(0, 256, (2, 7)).astype(np.uint8).view(kind)
    codes = network.writer.tensor("c", (2, 7), kind, np.float32(scale), zero, values=values)
    compared(concatenated(network, [codes, network.last], (5, 7), 0, network.last))


def test_inception():
    """Branches whose convolutions write their part of the result."""
    network = Network(IMAGE)
    left = network.conv(6, (1, 1), (5, 6)).last
    network.last = network.first
    right = network.conv(3, (3, 3), (5, 6), padding="SAME").last
    given = network.writer.graph.tensors[left].quantization
    network.writer.graph.tensors[right].quantization.scale = given.scale
    network.writer.graph.tensors[right].quantization.zeroPoint = given.zeroPoint
    concatenated(network, [left, right], (2, 5, 6, 9), 3, left)
    compared(network.conv(4, (1, 1), (5, 6)))


@pytest.mark.parametrize(("begin", "end", "strides", "masks", "shape"), [
    ((0, 1, 2, 0), (2, 5, 6, 4), (1, 1, 1, 1), {}, (2, 4, 4, 4)),
    ((0, 4, 0, 3), (2, 0, 6, 0), (1, -2, 2, -1), {}, (2, 2, 3, 3)),
    ((0, -3, 1, 0), (0, -1, 0, 0), (1, 1, 2, 1), {"beginMask": 9, "endMask": 13}, (2, 2, 3, 4)),
    ((0, 2, 0, -1), (0, 0, 0, 0), (1, 1, 1, 1),
     {"beginMask": 5, "endMask": 5, "shrinkAxisMask": 10}, (2, 6)),
    # x[..., 1:3], x[:, None, ..., 2], x[0:1, ..., None], x[None, 1, None]; new goes before shrink,
    # an ellipsis before both.
    ((0, 1), (0, 3), (1, 1), {"ellipsisMask": 1}, (2, 5, 6, 2)),
    ((0, 0, 0, 2), (0, 0, 0, 3), (1, 1, 1, 1),
     {"beginMask": 1, "endMask": 1, "newAxisMask": 2, "ellipsisMask": 4, "shrinkAxisMask": 8},
     (2, 1, 5, 6)),
    ((0, 0, 0), (1, 0, 0), (1, 1, 1), {"ellipsisMask": 2, "newAxisMask": 4}, (1, 5, 6, 4, 1)),
    ((0, 1, 0), (0, 2, 0), (1, 1, 1), {"newAxisMask": 5, "shrinkAxisMask": 3}, (1, 1, 5, 6, 4)),
    ((1, 0, 0), (2, 0, 0), (1, 1, 1),
     {"ellipsisMask": 2, "newAxisMask": 6, "shrinkAxisMask": 6}, (1, 5, 6, 4, 1)),
])
def test_strided_slice(begin, end, strides, masks, shape):
    network = Network(IMAGE).pool("MAX_POOL_2D", (1, 1), (5, 6))
    inputs = [constant(network, name, values) for name, values in (
        ("begin", begin), ("end", end), ("strides", strides))]
    compared(network.add(
        "STRIDED_SLICE", [network.last, *inputs], shape, "StridedSlice", 2, network.last, **masks
    ))


def test_slice():
    network = Network(IMAGE)
    inputs = [constant(network, "begin", (0, 1, 2, 0)), constant(network, "size", (2, 3, -1, 2))]
    compared(network.add("SLICE", [network.last, *inputs], (2, 3, 4, 2), "Slice", 2, network.last))


@pytest.mark.parametrize("axis", [2, 3])
def test_split(axis):
    """One part is read, the other is not."""
    network = Network(IMAGE)
    shape = list(IMAGE)
    shape[axis] //= 2
    given = network.writer.graph.tensors[network.last].quantization
    parts = [
        network.writer.tensor(f"part{place}", shape, "int8", np.float32(given.scale[0]),
                              given.zeroPoint[0])
        for place in range(2)
    ]
    network.writer.operator(
        "SPLIT", [constant(network, "axis", axis), network.last], parts, "Split", 2, numSplits=2
    )
    network.last = parts[1]
    compared(network.pool("MAX_POOL_2D", (1, 1), shape[1:3]))


@pytest.mark.parametrize("options", [{}, {"alignCorners": True}, {"halfPixelCenters": True}])
@pytest.mark.parametrize("size", [(10, 12), (7, 4), (1, 9)])
def test_resize_nearest(size, options):
    network = Network(IMAGE)
    wanted = constant(network, "size", size)
    compared(network.add(
        "RESIZE_NEAREST_NEIGHBOR", [network.last, wanted], (2, *size, 4),
        "ResizeNearestNeighbor", 3, network.last, **options,
    ))


@pytest.mark.parametrize(("kind", "pads"), [
    ("int8", ((0, 0), (1, 2), (3, 0), (0, 0))), ("uint8", ((0, 0), (0, 1), (1, 0), (0, 0))),
    ("int8", ((0, 1), (1, 0), (0, 0), (2, 1))),
])
def test_pad(kind, pads):
    """Around images, and of batches and channels."""
    network = Network(IMAGE, kind).conv(4, (1, 1), (5, 6))
    shape = [n + sum(both) for n, both in zip(IMAGE, pads, strict=True)]
    inputs = [network.last, constant(network, "pads", pads)]
    compared(network.add("PAD", inputs, shape, "Pad", 2, network.last))


def test_pad_before_a_convolution():
    network = Network(IMAGE)
    inputs = [network.last, constant(network, "pads", ((0, 0), (1, 1), (2, 1), (0, 0)))]
    network.add("PAD", inputs, (2, 7, 9, 4), "Pad", 2, network.last)
    compared(network.conv(5, (3, 3), (5, 7)))


def test_pad_of_rows_with_a_code():
    network = Network((3, 7))
    given = network.writer.graph.tensors[network.last].quantization
    code = network.writer.tensor("code", (1,), "int8", np.float32(given.scale[0]),
                                 given.zeroPoint[0], values=np.array([-77], np.int8))
    inputs = [network.last, constant(network, "pads", ((0, 2), (1, 0))), code]
    compared(network.add("PADV2", inputs, (5, 8), "PadV2", 2, network.last))


def test_machines():
    """Which need no SPECIAL."""
    network = Network((2, 6))
    wanted = constant(network, "begin", (0, 2)), constant(network, "size", (2, 3))
    compared(network.add("SLICE", [network.last, *wanted], (2, 3), "Slice", 2, network.last),
             CONFIG.replace(special={"lanes": 0}))
