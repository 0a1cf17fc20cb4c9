# SPDX-License-Identifier: Apache-2.0
"""Layers whose scales follow from the values, as contractions."""

from dataclasses import replace

import numpy as np

from kiwicha.compiler.graph.graph import DynamicConvNode, DynamicLinearNode, DynamicScaleNode
from kiwicha.compiler.schedule.by_range import Dynamic
from kiwicha.compiler.schedule.contraction import Contraction, Place
from kiwicha.compiler.schedule.mapping import fold, image_place
from kiwicha.compiler.schedule.windows import Windows

__all__ = ["dynamic_contraction", "scale_contraction"]


def dynamic_contraction(
    node: DynamicLinearNode, x_address: int, y_address: int, addend: int | None = None
) -> Contraction:
    """Return a linear layer with dynamic scales as work for the array.

    Parameters
    ----------
    addend : address of what is added to its values.

    Raises
    ------
    KiwichaError
        When it has too many rows.
    """
    if isinstance(node, DynamicConvNode):
        images, outputs, height, width = node.image
        weights = node.weights.transpose(0, 2, 3, 1)
        x = image_place(node, node.x, {node.x.name: x_address})
        y, windows = Place(y_address, images, height, width, outputs), None
        if node.pool is not None:
            windows = Windows(*node.pool, (height, width))
            y = Place(y_address, images, *node.pooled, outputs)
        strides, pads, dilations, groups = node.strides, node.pads, node.dilations, node.groups
    else:
        rows = node.weights if node.order is None else node.weights[node.order]
        depth, outputs = rows.shape
        weights = rows.T[:, None, None, :]
        shape = fold(1, node.rows, 1, node.name, node.op)
        x, y = Place(x_address, *shape, depth), Place(y_address, *shape, outputs)
        strides, pads, dilations, groups, windows = (1, 1), (0, 0), (1, 1), 1, None
    raw = node.target is None and not node.real
    none = np.zeros(outputs, np.float32)
    return Contraction(
        name=node.name,
        op=node.op,
        x=x,
        y=y,
        kernel=(weights.shape[1], weights.shape[2]),
        strides=strides,
        pads=pads,
        dilations=dilations,
        groups=groups,
        weights=weights,
        weight_zero=node.weight_zero,
        bias=(none if raw else node.bias).view(np.int32),
        multiplier=(none if raw else node.w_scale).view(np.uint32),
        shift=np.zeros(outputs, np.int64),
        x_signed=node.x.dtype == np.int8,
        x_zero=node.x.zero_point if node.x_record is None else 0,
        pad=0,
        y_zero=0,
        low=0,
        high=255,
        dynamic=Dynamic(
            node.slot, node.target, node.relu, zero=node.x_record is not None, real=node.real,
            part="quantize" if node.fixed else "all", functions=node.functions,
            bounds=node.bounds,
        ),
        second=None if addend is None else addend - y_address,
        slope=node.slope,
        offset=node.offset,
        windows=windows,
    )


def scale_contraction(node: DynamicScaleNode, x_address: int, y_address: int) -> Contraction:
    """Return a tensor quantized by its range as work for the array: single pixels, each channel for
    itself. Raises as `dynamic_contraction`."""
    x = image_place(node, node.x, {node.x.name: x_address}, pointwise=True)
    bits = np.array([-0.0, node.x.scale], np.float32).view(np.int32)
    return Contraction(
        name=node.name,
        op=node.op,
        x=x,
        y=replace(x, address=y_address),
        kernel=(1, 1),
        strides=(1, 1),
        pads=(0, 0),
        dilations=(1, 1),
        groups=1,
        weights=None,
        weight_zero=np.zeros(x.channels, np.int64),
        bias=np.full(x.channels, bits[0]),
        multiplier=np.full(x.channels, bits[1:].view(np.uint32)[0]),
        shift=np.zeros(x.channels, np.int64),
        x_signed=node.x.dtype == np.int8,
        x_zero=node.x.zero_point,
        pad=0,
        y_zero=0,
        low=0,
        high=255,
        dynamic=Dynamic(node.slot, node.target, relu=False, zero=False),
    )
