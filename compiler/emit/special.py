# SPDX-License-Identifier: Apache-2.0
"""Layers of the special function engine as steps: tables, softmax, normalization.

Sums and products of two tensors are in `compiler.emit.pairs`.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.lanes import TABLE_UNIT, Lanes
from kiwicha.compiler.emit.residents import StoreConstant
from kiwicha.compiler.emit.rows import WORTH, Cut, cut_rows
from kiwicha.compiler.emit.steps import Step
from kiwicha.compiler.graph.graph import NormalizeNode, SoftmaxNode, TableNode, Tensor
from kiwicha.compiler.schedule.enough import too_small
from kiwicha.errors import KiwichaError, Need, UnfitMachine
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SpecialOperation
from kiwicha.machine.modes import SoftmaxMode
from kiwicha.machine.tables import normalize_epsilon, normalize_parameters, softmax_tables

__all__ = ["has_rows", "row_steps"]

_SLOW = 2  # rows of a lane that are worth an instruction, where each is measured for itself
_Tables = tuple[np.ndarray, np.ndarray | None]


def row_steps(
    node: TableNode | SoftmaxNode | NormalizeNode,
    addresses: Mapping[str, int],
    builder: ProgramBuilder,
    store: StoreConstant,
    ready: int = 0,
) -> list[Step]:
    """Return the steps of a node, an instruction each.

    Parameters
    ----------
    ready : bytes of x that become ready together; 0 if all do at once.

    Raises
    ------
    KiwichaError
        When SPECIAL has memories or tables that a row does not fit, or the scales are beyond its
        arithmetic; names node and limit.
    """
    config = builder.config
    where, length = f"{node.name} ({node.op})", prod(node.x.shape[-1:])
    if isinstance(node, TableNode):
        length = config.beat_bytes  # as good as any: places are independent
    elif not (has_rows(node.x) and node.x.layout.same(node.y.layout, node.x.shape)):
        raise KiwichaError(f"{where}: rows of '{node.x.name}' do not lie in one piece in memory")
    if length > 65535:
        raise KiwichaError(f"{where}: rows of {length} elements; the machine counts to 65535")
    total = -(-node.x.size // length)
    quantum = ready // length if ready % length == 0 else 0
    x, y = addresses[node.x.name], addresses[node.y.name]
    aligned = not any(place % config.beat_bytes for place in (length, x, y))
    # A row to normalize takes a lane long, and what reads it need not wait for all of them.
    slow = config.forwarding and isinstance(node, NormalizeNode)
    worth = _SLOW if slow else WORTH
    cut = cut_rows(config, total, length, aligned=aligned, quantum=quantum, worth=worth)
    if cut is None:
        raise too_small(
            f"{where}: a row of {length} does not fit the memory of a lane",
            config, ["special.bytes"],
            lambda other: cut_rows(other, total, length, aligned=aligned) is not None,
        )
    try:
        fields, tables = _fields(node, config, length)
    except KiwichaError:
        raise
    except ValueError as error:
        raise KiwichaError(f"{where}: {error}") from None
    lanes = Lanes(builder, store)
    return [
        _step(lanes, fields, tables, cut, x + start, y + start, min(size, node.x.size - start))
        for size in (cut.together * length,)
        for start in range(0, node.x.size, size)
    ]


def has_rows(tensor: Tensor) -> bool:
    """Return whether the last axis lies in one piece, and one such row after the other."""
    index = tensor.layout.index(tensor.shape).reshape(-1, prod(tensor.shape[-1:]))
    first = index[:, :1]
    return bool((index == first + np.arange(index.shape[1])).all())


def _step(
    lanes: Lanes,
    fields: dict[str, Any],
    tables: _Tables,
    cut: Cut,
    x: int,
    y: int,
    size: int,
) -> Step:
    total = -(-size // cut.length)
    walked = min(cut.rows, total) * cut.length

    def emit() -> None:
        table, entries = lanes.table(*tables)
        operand = lanes.load(x, size, cut.stride, walked)
        result = lanes.result(y, walked)
        lanes.builder.special(
            {
                **fields, "table": table, "rows": cut.rows, "length": cut.length, "total": total,
                "x": operand.offset, "y": result.offset,
            },
            min(cut.rows, total),
            [operand.covered, entries],
            result.covered,
        )
        lanes.write(result, y, size, cut.stride)

    return Step(((x, x + size),), (y, y + size), emit)


def _fields(
    node: TableNode | SoftmaxNode | NormalizeNode, config: AcceleratorConfig, length: int
) -> tuple[dict[str, Any], _Tables]:
    """Return the fields that do not change from tile to tile, and the tables."""
    info = np.iinfo(node.y.dtype)
    fields = {
        "x_signed": int(node.x.dtype == np.int8), "zero_point": node.y.zero_point,
        "low": int(info.min), "high": int(info.max),
    }
    if isinstance(node, TableNode):
        return {"operation": SpecialOperation.TABLE}, (node.table.astype(np.uint32), None)
    if isinstance(node, SoftmaxNode):
        mode = config.special.softmax
        if mode is not SoftmaxMode.ONNX and node.y.zero_point != info.min:
            raise UnfitMachine(
                f"{node.name} ({node.op}): zero point is {node.y.zero_point}; legal in mode "
                f"{mode.value}: {info.min}",
                [Need("special.softmax", mode, SoftmaxMode.ONNX)],
            )
        a, b = softmax_tables(mode, float(node.x.scale), length, float(node.y.scale))
        return {**fields, "operation": SpecialOperation.SOFTMAX}, (a, b)
    entries = -(-length // TABLE_UNIT) * TABLE_UNIT
    if entries > config.special.entries:
        raise too_small(
            f"{node.name} ({node.op}): a row of {length} does not fit the machine's tables",
            config, ["special.entries"], lambda other: other.special.entries >= entries,
        )
    gains, offsets, shift = normalize_parameters(node.gamma, node.beta, float(node.y.scale))
    scale, uncentred = float(node.x.scale), node.uncentred
    epsilon = normalize_epsilon(length, scale, node.epsilon, uncentred=uncentred)
    fields |= {"operation": SpecialOperation.NORMALIZE, "shift": shift, "z": epsilon}
    if uncentred:
        middle = 128 if node.x.dtype == np.uint8 else 0
        fields |= {"uncentred": 1, "x_zero": node.x.zero_point - middle}
    return fields, (gains, offsets)
