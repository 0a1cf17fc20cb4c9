# SPDX-License-Identifier: Apache-2.0
"""The linear operations of training steps as contractions."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.training_nodes import (
    LIMIT,
    ShiftedNode,
    ShiftedPoolNode,
    ShiftedProductNode,
    ShiftedSumNode,
    TunedConvNode,
    TunedProductNode,
)
from kiwicha.compiler.schedule.by_range import Shifted
from kiwicha.compiler.schedule.contraction import Addend, Contraction, Matrix, Place, Summed
from kiwicha.compiler.schedule.mapping import contraction, image_place
from kiwicha.compiler.schedule.product import operand_lines, product_works
from kiwicha.compiler.schedule.shifted_convolution import (
    convolution_works,
    dense_places,
    filter_works,
    group_places,
    image_of,
    is_depthwise,
    is_empty,
    plain_work,
)
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
        for work in _works(node, addresses, config)
    ]
    by_range = Shifted(
        node.slot, node.target, node.exponent, node.bits, node.gradient,
        None if node.floor is None else node.floor.slot,
    )
    if len(works) == 1:
        return [replace(works[0], shifted=by_range)]
    measured = [work for work in works if not is_empty(work)]
    last = len(measured) - 1
    parts = [
        replace(by_range, part="measure", begin=place == 0, settle=place == last)
        for place in range(len(measured))
    ]
    return [
        *(replace(w, shifted=s, addend=None) for w, s in zip(measured, parts, strict=True)),
        *(
            replace(
                work, shifted=replace(by_range, part="quantize"),
                addend=None if is_empty(work) else work.addend,
            )
            for work in works
        ),
    ]


def tuned_contractions(
    node: TunedProductNode | TunedConvNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> list[Contraction]:
    """Return the product or convolution of ``node``; raises as
    `schedule.mapping.conv_contractions`."""
    if isinstance(node, TunedConvNode):
        return _tuned_conv(node, addresses, config)
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


def _tuned_conv(
    node: TunedConvNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> list[Contraction]:
    x, y = (image_place(node, tensor, addresses) for tensor in (node.x, node.y))
    (rows, columns), outputs = node.kernel, node.z.shape[3]
    work = contraction(
        node, x, y, config, node.scale, node.scale64, kernel=node.kernel, strides=node.strides,
        pads=node.pads[:2], weights=None, weight_zero=np.zeros(outputs, np.int64), bias=node.bias,
    )
    matrix = Matrix(
        addresses[node.z.name], WeightFormat.ROWS, rows * columns * outputs, True,
        columns * outputs, outputs,
    )
    return [replace(work, matrix=matrix)]


def _works(
    node: ShiftedNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> Iterator[Contraction]:
    """Yield the sums alone."""
    if isinstance(node, ShiftedProductNode):
        form, pitch, _ = operand_lines(node.name, node.op, node.z)
        matrix = Matrix(addresses[node.z.name], form, pitch, signed=True)
        zeros = np.zeros(node.y.shape[-1], np.int64)
        for _, work in product_works(node.name, node.op, node.x, node.y, addresses, zeros):
            yield replace(work, matrix=matrix)
    elif isinstance(node, ShiftedPoolNode):
        x, y = image_of(node.x, addresses), image_of(node.y, addresses)
        work = plain_work(node, x, y)
        yield replace(work, kernel=node.kernel, strides=node.kernel, reduction=node.reduction)
    elif isinstance(node, ShiftedSumNode):
        x, y = image_of(node.x, addresses), image_of(node.y, addresses)
        apart = addresses[node.z.name] - addresses[node.x.name]
        yield replace(plain_work(node, x, y), summed=Summed(2, apart, 0))
    elif node.groups == 1:
        yield from convolution_works(node, dense_places(node, addresses))
    elif config.depthwise and is_depthwise(node):
        yield from filter_works(node, dense_places(node, addresses))
    else:
        for places in group_places(node, addresses):
            yield from convolution_works(node, places)


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
