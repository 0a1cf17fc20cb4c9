# SPDX-License-Identifier: Apache-2.0
"""The linear operations of training steps as contractions.

Kernels lie in memory as channels x rows x columns x outputs. The forward pass reads a tap's inputs
as rows of weights, the errors read them as columns, with the taps in the other order; with strides,
each phase of the image has taps of its own, as in a transposed convolution. The gradient of kernels
is a convolution, too: the planes of the image with the error for their kernel.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.tensor import Tensor
from kiwicha.compiler.graph.training_nodes import (
    LIMIT,
    ShiftedConvNode,
    ShiftedNode,
    ShiftedPoolNode,
    ShiftedProductNode,
    ShiftedSumNode,
    TunedProductNode,
)
from kiwicha.compiler.schedule.by_range import Shifted
from kiwicha.compiler.schedule.contraction import Addend, Contraction, Matrix, Place, Summed
from kiwicha.compiler.schedule.mapping import contraction
from kiwicha.compiler.schedule.product import operand_lines, product_works
from kiwicha.compiler.schedule.transposed import Phase, phases
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SUM_BEATS, WeightFormat
from kiwicha.machine.sum_tables import FRACTION

__all__ = ["differences", "shifted_contractions", "tuned_contractions"]


def shifted_contractions(
    node: ShiftedNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> list[Contraction]:
    """Return the work of ``node``; where it is several, first all to measure, then all again.

    Raises
    ------
    KiwichaError
        As `compiler.schedule.product.product_contractions`.
    """
    works = [
        replace(work, low=node.low, high=node.high, addend=_addend(node, addresses, config))
        for work in _works(node, addresses)
    ]
    by_range = Shifted(
        node.slot, node.target, node.exponent, node.bits, node.gradient,
        None if node.floor is None else node.floor.slot,
    )
    if len(works) == 1:
        return [replace(works[0], shifted=by_range)]
    last = len(works) - 1
    measured = [
        replace(by_range, part="measure", begin=place == 0, settle=place == last)
        for place in range(len(works))
    ]
    return [
        *(replace(w, shifted=s, addend=None) for w, s in zip(works, measured, strict=True)),
        *(replace(work, shifted=replace(by_range, part="quantize")) for work in works),
    ]


def tuned_contractions(
    node: TunedProductNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> list[Contraction]:
    """Return the product of ``node``; raises as `schedule.mapping.matmul_contractions`."""
    depth, outputs = node.z.shape
    rows = node.y.size // outputs
    x = Place(addresses[node.x.name], 1, rows, 1, depth)
    y = Place(addresses[node.y.name], 1, rows, 1, outputs)
    work = contraction(
        node, x, y, config, node.scale, node.scale64, weights=None,
        weight_zero=np.zeros(outputs, np.int64), bias=node.bias,
    )
    matrix = Matrix(addresses[node.z.name], WeightFormat.ROWS, outputs, signed=True)
    return [replace(work, matrix=matrix)]


def _works(node: ShiftedNode, addresses: Mapping[str, int]) -> Iterator[Contraction]:
    """Yield the sums alone."""
    if isinstance(node, ShiftedProductNode):
        form, pitch, _ = operand_lines(node.name, node.op, node.z)
        matrix = Matrix(addresses[node.z.name], form, pitch, signed=True)
        zeros = np.zeros(node.y.shape[-1], np.int64)
        for _, work in product_works(node.name, node.op, node.x, node.y, addresses, zeros):
            yield replace(work, matrix=matrix)
    elif isinstance(node, ShiftedPoolNode):
        x, y = _image(node.x, addresses), _image(node.y, addresses)
        yield replace(
            _plain(node, x, y), kernel=node.kernel, strides=node.kernel, reduction=node.reduction
        )
    elif isinstance(node, ShiftedSumNode):
        x, y = _image(node.x, addresses), _image(node.y, addresses)
        apart = addresses[node.z.name] - addresses[node.x.name]
        yield replace(_plain(node, x, y), summed=Summed(2, apart, 0))
    elif node.role == "FP":
        yield _forward(node, addresses)
    elif node.role == "EB":
        yield from _errors(node, addresses)
    else:
        yield _gradient(node, addresses)


def _forward(node: ShiftedConvNode, addresses: Mapping[str, int]) -> Contraction:
    (rows, columns), outputs = node.kernel, node.y.shape[3]
    matrix = Matrix(
        addresses[node.z.name], WeightFormat.ROWS, rows * columns * outputs, True,
        columns * outputs, outputs,
    )
    work = _plain(node, _image(node.x, addresses), _image(node.y, addresses))
    return replace(
        work, kernel=node.kernel, strides=node.strides, pads=node.pads[:2], matrix=matrix
    )


def _errors(node: ShiftedConvNode, addresses: Mapping[str, int]) -> Iterator[Contraction]:
    """Yield a convolution for each phase of the image."""
    x, y = _image(node.x, addresses), _image(node.y, addresses)
    (rows, columns), outputs = node.kernel, node.x.shape[3]
    axes = [
        list(phases(size, node.kernel[k], node.strides[k], node.pads[k], 1))
        for k, size in enumerate((y.height, y.width))
    ]
    for row, column in product(*axes):
        place = _phase_place(node, y, row, column)
        for source, target in _by_image(x, place, y) if place.pitch else [(x, place)]:
            work = _plain(node, source, target)
            if not (row.taps and column.taps):  # no window reaches these
                yield replace(work, weights=np.zeros((y.channels, 1, 1, x.channels), np.int8))
                continue
            first = (row.taps[0] * columns + column.taps[0]) * outputs
            matrix = Matrix(
                addresses[node.z.name] + first, WeightFormat.COLUMNS, rows * columns * outputs,
                True, -node.strides[0] * columns * outputs, -node.strides[1] * outputs,
            )
            yield replace(
                work, kernel=(len(row.taps), len(column.taps)), pads=(row.pad, column.pad),
                matrix=matrix,
            )


def _phase_place(node: ShiftedConvNode, y: Place, row: Phase, column: Phase) -> Place:
    """Return where a phase lies in the image."""
    down, across = node.strides
    if down == across == 1:
        return y
    start = y.address + row.first * y.row_bytes + column.first * y.channels
    return replace(
        y, address=start, height=row.count, width=column.count, pitch=down * y.row_bytes,
        step=across * y.channels if column.count > 1 else 0,
    )


def _by_image(x: Place, place: Place, y: Place) -> Iterator[tuple[Place, Place]]:
    """Yield both image by image: the pitch of a phase says nothing of the next image."""
    for image in range(y.images):
        yield (
            replace(x, address=x.address + image * x.image_bytes, images=1),
            replace(place, address=place.address + image * y.image_bytes, images=1),
        )


def _gradient(node: ShiftedConvNode, addresses: Mapping[str, int]) -> Contraction:
    images, channels, height, width = node.x.shape
    _, rows, columns, outputs = node.z.shape
    x = Place(addresses[node.x.name], channels, height, width, 1)
    y = Place(addresses[node.y.name], channels, *node.kernel, outputs)
    matrix = Matrix(
        addresses[node.z.name], WeightFormat.ROWS, outputs, True, columns * outputs, outputs
    )
    return replace(
        _plain(node, x, y), kernel=(rows, columns), dilations=node.strides, pads=node.pads[:2],
        matrix=matrix,
        summed=Summed(images, channels * height * width, rows * columns * outputs),
    )


def _plain(node: ShiftedNode, x: Place, y: Place) -> Contraction:
    """Return sums of single pixels, to be changed."""
    zeros = np.zeros(y.channels, np.int32)
    return Contraction(
        name=node.name, op=node.op, x=x, y=y, kernel=(1, 1), strides=(1, 1), pads=(0, 0),
        dilations=(1, 1), groups=1, weights=None, weight_zero=zeros.astype(np.int64), bias=zeros,
        multiplier=zeros.view(np.uint32), shift=zeros.astype(np.int64), x_signed=True, x_zero=0,
        pad=0, y_zero=0, low=node.low, high=node.high,
    )


def _image(tensor: Tensor, addresses: Mapping[str, int]) -> Place:
    rows = len(tensor.shape) == 2
    shape = (1, tensor.shape[0], 1, tensor.shape[1]) if rows else tensor.shape
    images, height, width, channels = shape
    return Place(addresses[tensor.name], images, height, width, channels)


def _addend(
    node: ShiftedNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> Addend | None:
    y = addresses[node.y.name]
    if node.mask is not None:
        return Addend(addresses[node.mask.name] - y, None)
    if node.updates is not None:
        return Addend(addresses[node.updates.name] - y, differences(config.beat_bytes))
    return None


def differences(beat_bytes: int) -> NDArray[np.uint8]:
    """Return VECTOR's tables for operand less result, between -127 and 127."""
    codes = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int32) << FRACTION
    table = np.zeros((SUM_BEATS // 2 + 1, beat_bytes), np.uint8)
    table[:-1, :8] = np.stack([-codes, codes], axis=1).astype("<i4").view(np.uint8)
    table[-1, :4] = np.array([-LIMIT, LIMIT], "<i2").view(np.uint8)
    return table.reshape(-1)
