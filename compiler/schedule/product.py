# SPDX-License-Identifier: Apache-2.0
"""Stacks of products as contractions, one for each pair of matrices: of two activations, or of an
activation and constant weights."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod

import numpy as np

from kiwicha.compiler.graph.graph import MatMulStackNode, ProductNode, Tensor
from kiwicha.compiler.schedule.contraction import Contraction, Matrix, Place
from kiwicha.compiler.schedule.mapping import TALLEST
from kiwicha.errors import KiwichaError
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import WeightFormat
from kiwicha.machine.scales import encode_scale

__all__ = ["product_contractions", "stack_contractions"]

_LONGEST = 65535  # bytes of a line, and lines, that LOAD counts


def product_contractions(
    node: ProductNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> list[Contraction]:
    """Return the products of ``node``, in the order of the leading axes of y.

    Raises
    ------
    KiwichaError
        When a scale has no encoding, or an operand is too large or lies in memory in an order that
        cannot be loaded.
    """
    where = f"{node.name} ({node.op})"
    steps = _steps(where, node.z)
    form, pitch = _lines(where, node.z, steps)
    return [
        replace(
            work, matrix=Matrix(
                addresses[node.z.name] + _offset(place, node.z, steps), form, pitch,
                node.z.dtype == np.int8,
            )
        )
        for place, work in _products(node, node.z.zero_point, addresses, config)
    ]


def stack_contractions(
    node: MatMulStackNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> list[Contraction]:
    """Return the products of ``node``, those with one matrix after each other.

    Raises
    ------
    KiwichaError
        As `product_contractions`.
    """
    lead = node.y.shape[:-2]
    number = np.arange(prod(node.weights.shape[:-2])).reshape(node.weights.shape[:-2])
    which = np.broadcast_to(number, lead)
    matrices = node.weights.reshape(-1, *node.weights.shape[-2:])
    works = [
        (int(which[place]), work)
        for place, work in _products(node, node.weight_zero, addresses, config)
    ]
    return [
        replace(work, weights=matrices[matrix].T[:, None, None, :])
        for matrix, work in sorted(works, key=lambda made: made[0])
    ]


def _products(
    node: MatMulStackNode | ProductNode, zero: int, addresses: Mapping[str, int],
    config: AcceleratorConfig,
) -> Iterator[tuple[tuple[int, ...], Contraction]]:
    """Yield each place of the leading axes of y, and its product but for the second operand."""
    where = f"{node.name} ({node.op})"
    depth, (rows, columns) = node.x.shape[-1], node.y.shape[-2:]
    if rows > TALLEST or max(depth, columns) > _LONGEST:
        raise KiwichaError(
            f"{where}: {rows}x{depth} by {depth}x{columns}; the machine counts to "
            f"{TALLEST} rows, and to {_LONGEST} in the other two"
        )
    try:
        multiplier, shift = encode_scale(config.requantize_mode, node.scale, node.scale64)
    except ValueError as error:
        raise KiwichaError(f"{where}: {error}") from None
    x_steps, y_steps = (_steps(where, tensor) for tensor in (node.x, node.y))
    for place in np.ndindex(node.y.shape[:-2]):
        x, y = (
            addresses[tensor.name] + _offset(place, tensor, steps)
            for tensor, steps in ((node.x, x_steps), (node.y, y_steps))
        )
        yield place, Contraction(
            name=node.name,
            op=node.op,
            x=Place(x, 1, rows, 1, depth, _pitch(where, node.x, x_steps)),
            y=Place(y, 1, rows, 1, columns, _pitch(where, node.y, y_steps)),
            kernel=(1, 1),
            strides=(1, 1),
            pads=(0, 0),
            dilations=(1, 1),
            groups=1,
            weights=None,
            weight_zero=np.full(columns, zero),
            bias=np.zeros(columns, np.int32),
            multiplier=np.full(columns, multiplier, np.uint32),
            shift=np.full(columns, shift, np.int64),
            x_signed=node.x.dtype == np.int8,
            x_zero=node.x.zero_point,
            pad=0,
            y_zero=node.y.zero_point,
            low=node.low,
            high=node.high,
        )


def _steps(where: str, tensor: Tensor) -> tuple[int, ...]:
    """Return the bytes from one element to the next along each axis."""
    if (steps := tensor.strides) is None:
        raise KiwichaError(f"{where}: '{tensor.name}' lies in memory in no order of its axes")
    return steps


def _offset(place: tuple[int, ...], tensor: Tensor, steps: tuple[int, ...]) -> int:
    """Return where a matrix begins; ``place`` has the leading axes of y."""
    lead = place[len(place) - (len(tensor.shape) - 2) :]
    # An axis of one element, which broadcasts, has a step of 0.
    return sum(index * step for index, step in zip(lead, steps[:-2], strict=True))


def _pitch(where: str, tensor: Tensor, steps: tuple[int, ...]) -> int:
    """Return the bytes from one row to the next, 0 where there is one row."""
    if tensor.shape[-1] > 1 and steps[-1] != 1:
        raise KiwichaError(f"{where}: rows of '{tensor.name}' do not lie in one piece in memory")
    return steps[-2]


def _lines(where: str, tensor: Tensor, steps: tuple[int, ...]) -> tuple[WeightFormat, int]:
    """Return how the second operand's lines lie in memory, and their pitch."""
    depth, columns = tensor.shape[-2:]
    if steps[-1] == 1:
        return WeightFormat.ROWS, steps[-2] or columns
    if steps[-2] == 1:
        return WeightFormat.COLUMNS, steps[-1] or depth
    if columns == 1:
        return WeightFormat.ROWS, steps[-2] or 1
    if depth == 1:
        return WeightFormat.COLUMNS, steps[-1]
    raise KiwichaError(f"{where}: neither axis of '{tensor.name}' lies in one piece in memory")
