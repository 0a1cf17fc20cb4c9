# SPDX-License-Identifier: Apache-2.0
"""Nodes of dynamically quantized graphs but for those with weights, for `golden.network`.

They take any object with the members of the classes in `compiler.graph`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden.dynamic import dynamic_quantize, linear_values
from kiwicha.golden.product import product
from kiwicha.machine.isa import SLOTS
from kiwicha.machine.records import SLOT_RECORD

__all__ = [
    "dynamic_product", "dynamic_real", "dynamic_scale", "pooled_values", "quantized_by_range",
    "real_values",
]


def real_values(octets: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the binary32 numbers that bytes are, one after the other."""
    found = np.ascontiguousarray(octets).reshape(-1).view("<f4")
    return np.asarray(found, np.float32)


def pooled_values(node: Any, v: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the maxima of windows, pixels x channels as ``v``; padding never wins."""
    images, channels, height, width = node.image
    (high, wide), steps, pads = node.pool
    image = v.reshape(images, height, width, channels)
    made = np.full((images, *node.pooled, channels), -np.inf, np.float32)
    for row, column in np.ndindex(*node.pooled):
        top, left = row * steps[0] - pads[0], column * steps[1] - pads[1]
        part = image[:, max(0, top) : top + high, max(0, left) : left + wide]
        made[:, row, column] = part.max(axis=(1, 2))
    return made.reshape(-1, channels)


def dynamic_real(
    node: Any, *rest: Any
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return binary32 values by the range of all of them, and the record with their scale."""
    lines = [part.values(octets) for part, octets in zip(node.parts, rest[:-1], strict=True)]
    v = node.y.layout.invert(np.concatenate(lines, axis=1).reshape(-1), node.y.shape)
    return quantized_by_range(node, v)


def dynamic_product(
    node: Any, x: NDArray[Any], x_record: NDArray[Any], z: NDArray[Any], z_record: NDArray[Any],
    _modes: Any,
) -> NDArray[Any] | tuple[NDArray[Any], ...]:
    """Return the int32 sums of two operands as bytes, or codes and the record with their scale."""
    first, second = (
        np.ascontiguousarray(record).view(SLOT_RECORD)[slot]
        for record, slot in ((x_record, node.slot), (z_record, node.z_slot))
    )
    acc = product(x, z, int(first["zero_point"]), int(second["zero_point"]))
    if node.target is None:
        return np.ascontiguousarray(acc, "<i4").view(np.uint8).reshape(node.y.shape)
    v = linear_values(acc, first["scale"], second["scale"], -0.0, node.relu)
    return quantized_by_range(node, v.reshape(node.y.shape))


def dynamic_scale(
    node: Any, x: NDArray[Any], _modes: Any
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a tensor with a scale of its own by its range, and the record with its scale."""
    centred = x.astype(np.int32) - node.x.zero_point
    return quantized_by_range(node, linear_values(centred, 1, node.x.scale, -0.0, False))


def quantized_by_range(
    node: Any, v: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return codes, and the record with their scale in the node's slot."""
    try:
        values, y_scale, y_zero = dynamic_quantize(v)
    except OverflowError as error:
        raise OverflowError(
            f"'{node.y.name}', which {node.name} makes, cannot be quantized: {error}"
        ) from None
    slots = np.zeros(SLOTS, SLOT_RECORD)
    slots["scale"][node.target], slots["zero_point"][node.target] = y_scale, y_zero
    return values, slots.view(np.uint8)
