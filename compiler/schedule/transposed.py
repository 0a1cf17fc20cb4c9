# SPDX-License-Identifier: Apache-2.0
"""A transposed convolution as ordinary ones, without zeros between the pixels.

With stride s, places s apart are reached by the same taps: each of the s * s phases of the output
is a convolution of stride 1 with these taps, and writes every s-th pixel of every s-th row. Phases
side by side that see the same pixels, as where the kernel is as wide as the stride, are channels of
one convolution.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from kiwicha.compiler.graph.graph import ConvTransposeNode
from kiwicha.compiler.schedule.contraction import Contraction, Place
from kiwicha.compiler.schedule.mapping import contraction, image_place
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["Phase", "conv_transpose_contractions", "phases"]


@dataclass(frozen=True)
class Phase:
    """Every s-th place of one axis, from ``first`` on.

    Members
    -------
    count : places.
    taps : of the kernel, in the order of the pixels that they meet; empty where none does.
    pad : pixels by which the first place's first tap lies before the image.
    """

    first: int
    count: int
    taps: tuple[int, ...]
    pad: int


def conv_transpose_contractions(
    node: ConvTransposeNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> list[Contraction]:
    """Return the phases as work for the array, one for each image where images are no whole
    number of strides high.

    Raises
    ------
    KiwichaError
        When a scale has no encoding in the machine's mode, or the tensor is too tall.
    """
    x, y = (image_place(node, tensor, addresses) for tensor in (node.x, node.y))
    rows, columns = (
        list(phases(size, *(each[axis] for each in (
            node.kernel, node.strides, node.pads, node.dilations
        ))))
        for axis, size in enumerate((y.height, y.width))
    )
    whole = y.height % node.strides[0] == 0
    parts = [(x, y)] if whole else [
        (replace(x, address=x.address + image * x.image_bytes, images=1),
         replace(y, address=y.address + image * y.image_bytes, images=1))
        for image in range(x.images)
    ]
    return [
        _phase(node, row, side, source, target, config)
        for row in rows
        for side in _beside(columns, node.groups == 1)
        for source, target in parts
    ]


def phases(size: int, kernel: int, stride: int, pad: int, dilation: int) -> Iterator[Phase]:
    """Yield the phases of an axis of ``size`` places, whose pads lie before it."""
    for first in range(min(stride, size)):
        count = -(-(size - first) // stride)
        # Place first + j * stride has tap k of pixel j + (first + pad - k * dilation) / stride.
        taps = [k for k in range(kernel) if (first + pad - k * dilation) % stride == 0][::-1]
        before = (taps[0] * dilation - first - pad) // stride if taps else 0
        yield Phase(first, count, tuple(taps), before)


def _beside(columns: list[Phase], joined: bool) -> Iterator[list[Phase]]:
    """Yield neighbours that see the same pixels, each alone unless ``joined``."""
    group: list[Phase] = []
    for phase in columns:
        same = bool(group) and joined and all(
            getattr(group[0], name) == getattr(phase, name) for name in ("count", "pad")
        ) and len(group[0].taps) == len(phase.taps)
        if group and not same:
            yield group
            group = []
        group.append(phase)
    yield group


def _phase(
    node: ConvTransposeNode, row: Phase, columns: list[Phase], x: Place, y: Place,
    config: AcceleratorConfig,
) -> Contraction:
    """Return the convolution of a phase of rows and of neighbouring ones of columns."""
    outputs, times, left = y.channels, len(columns), columns[0]
    (vertical, horizontal), (rows, wide) = node.strides, node.dilations
    place = replace(
        y, address=y.address + row.first * y.row_bytes + left.first * outputs, height=row.count,
        width=left.count, channels=times * outputs, pitch=vertical * y.row_bytes,
        step=horizontal * outputs if left.count > 1 else 0,
    )
    kernel = max(len(row.taps), 1), max(len(left.taps), 1)
    # Zero points add nothing: where no tap meets the phase, its results are the bias.
    zero = node.weight_zero[:, None, None, None].astype(np.int8)
    weights = np.broadcast_to(zero, (outputs, node.weights.shape[1], *kernel))
    if row.taps and left.taps:
        weights = np.concatenate([node.weights[:, :, row.taps][..., c.taps] for c in columns])
    elif times > 1:
        weights = np.concatenate([weights] * times)
    return contraction(
        node, x, place, config, np.tile(node.scale, times), np.tile(node.scale64, times),
        kernel=kernel, pads=(row.pad, left.pad), groups=node.groups,
        dilations=(rows // gcd(vertical, rows), wide // gcd(horizontal, wide)),
        weights=weights.transpose(0, 2, 3, 1), weight_zero=np.tile(node.weight_zero, times),
        bias=np.tile(node.bias, times),
    )
