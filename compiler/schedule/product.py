# SPDX-License-Identifier: Apache-2.0
"""Stacks of products as contractions, one for each pair of matrices: of two activations, or of an
activation and constant weights."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.graph import MatMulStackNode, ProductNode, Tensor
from kiwicha.compiler.schedule.contraction import Contraction, Matrix, Place
from kiwicha.compiler.schedule.mapping import TALLEST
from kiwicha.errors import KiwichaError
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import WeightFormat
from kiwicha.machine.scales import encode_scale

__all__ = [
    "operand_lines", "operand_offset", "product_contractions", "product_works",
    "stack_contractions",
]

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
    form, pitch, steps = operand_lines(node.name, node.op, node.z)
    # Whole lines of dense tensors: those of all heads of an attention, say.
    dense = pitch > 0 and node.z.size % pitch == 0
    works = []
    for place, work in _products(node, node.z.zero_point, addresses, config):
        offset = operand_offset(place, node.z, steps)
        matrix = Matrix(
            addresses[node.z.name] + offset, form, pitch, node.z.dtype == np.int8,
            within=offset % pitch if dense else None,
        )
        works.append(replace(work, matrix=matrix))
    return works


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
    try:
        multiplier, shift = encode_scale(config.requantize_mode, node.scale, node.scale64)
    except ValueError as error:
        raise KiwichaError(f"{node.name} ({node.op}): {error}") from None
    columns = node.y.shape[-1]
    zeros = np.full(columns, zero)
    for place, work in product_works(node.name, node.op, node.x, node.y, addresses, zeros):
        yield place, replace(
            work, multiplier=np.full(columns, multiplier, np.uint32),
            shift=np.full(columns, shift, np.int64), low=node.low, high=node.high,
        )


def product_works(
    name: str, op: str, x: Tensor, y: Tensor, addresses: Mapping[str, int],
    zeros: NDArray[np.int64],
) -> Iterator[tuple[tuple[int, ...], Contraction]]:
    """Yield each place of the leading axes of ``y``, and its product but for the second operand,
    whose zero points are ``zeros``, and for scales and bounds; raises as `product_contractions`."""
    where = f"{name} ({op})"
    depth, (rows, columns) = x.shape[-1], y.shape[-2:]
    if rows > TALLEST or max(depth, columns) > _LONGEST:
        raise KiwichaError(
            f"{where}: {rows}x{depth} by {depth}x{columns}; the machine counts to "
            f"{TALLEST} rows, and to {_LONGEST} in the other two"
        )
    x_steps, y_steps = (_steps(where, tensor) for tensor in (x, y))
    nothing = np.zeros(columns, np.int32)
    for place in np.ndindex(y.shape[:-2]):
        x_start, y_start = (
            addresses[tensor.name] + operand_offset(place, tensor, steps)
            for tensor, steps in ((x, x_steps), (y, y_steps))
        )
        yield place, Contraction(
            name=name,
            op=op,
            x=Place(x_start, 1, rows, 1, depth, _pitch(where, x, x_steps)),
            y=Place(y_start, 1, rows, 1, columns, _pitch(where, y, y_steps)),
            kernel=(1, 1),
            strides=(1, 1),
            pads=(0, 0),
            dilations=(1, 1),
            groups=1,
            weights=None,
            weight_zero=zeros,
            bias=nothing,
            multiplier=nothing.view(np.uint32),
            shift=nothing.astype(np.int64),
            x_signed=x.dtype == np.int8,
            x_zero=x.zero_point,
            pad=0,
            y_zero=y.zero_point,
            low=0,
            high=0,
        )


def _steps(where: str, tensor: Tensor) -> tuple[int, ...]:
    """Return the bytes from one element to the next along each axis."""
    if (steps := tensor.strides) is None:
        raise KiwichaError(f"{where}: '{tensor.name}' lies in memory in no order of its axes")
    return steps


def operand_offset(place: tuple[int, ...], tensor: Tensor, steps: tuple[int, ...]) -> int:
    """Return where a matrix begins; ``place`` has the leading axes of y."""
    lead = place[len(place) - (len(tensor.shape) - 2) :]
    # An axis of one element, which broadcasts, has a step of 0.
    return sum(index * step for index, step in zip(lead, steps[:-2], strict=True))


def _pitch(where: str, tensor: Tensor, steps: tuple[int, ...]) -> int:
    """Return the bytes from one row to the next, 0 where there is one row."""
    if tensor.shape[-1] > 1 and steps[-1] != 1:
        raise KiwichaError(f"{where}: rows of '{tensor.name}' do not lie in one piece in memory")
    return steps[-2]


def operand_lines(
    name: str, op: str, tensor: Tensor
) -> tuple[WeightFormat, int, tuple[int, ...]]:
    """Return how the second operand's lines lie in memory, their pitch, and its strides; raises as
    `product_contractions`."""
    where = f"{name} ({op})"
    steps = _steps(where, tensor)
    depth, columns = tensor.shape[-2:]
    if steps[-1] == 1:
        return WeightFormat.ROWS, steps[-2] or columns, steps
    if steps[-2] == 1:
        return WeightFormat.COLUMNS, steps[-1] or depth, steps
    if columns == 1:
        return WeightFormat.ROWS, steps[-2] or 1, steps
    if depth == 1:
        return WeightFormat.COLUMNS, steps[-1], steps
    raise KiwichaError(f"{where}: neither axis of '{tensor.name}' lies in one piece in memory")
