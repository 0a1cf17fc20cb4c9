# SPDX-License-Identifier: Apache-2.0
"""The steps of any node: which part of the compiler emits it."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.emit import emit
from kiwicha.compiler.emit.loss import loss_steps
from kiwicha.compiler.emit.pairs import pair_steps
from kiwicha.compiler.emit.real import real_steps
from kiwicha.compiler.emit.residents import StoreConstant
from kiwicha.compiler.emit.slots import slot_record, with_exponent
from kiwicha.compiler.emit.special import row_steps
from kiwicha.compiler.emit.steps import Span, Step
from kiwicha.compiler.emit.transposition import transpose
from kiwicha.compiler.emit.update import keep_steps, update_steps
from kiwicha.compiler.graph.graph import (
    AddNode,
    BlocksNode,
    ConvNode,
    ConvTransposeNode,
    DynamicConvNode,
    DynamicLinearNode,
    DynamicProductNode,
    DynamicRealNode,
    DynamicScaleNode,
    FixedPairNode,
    MatMulNode,
    MatMulStackNode,
    MoveNode,
    MulNode,
    Node,
    NormalizeNode,
    PoolNode,
    ProductNode,
    SoftmaxNode,
    TableNode,
    TablesNode,
    ViewNode,
)
from kiwicha.compiler.graph.training_nodes import (
    CrossEntropyNode,
    ShiftedConvNode,
    ShiftedPoolNode,
    ShiftedProductNode,
    ShiftedSumNode,
    TunedConvNode,
    TunedProductNode,
)
from kiwicha.compiler.graph.update_nodes import KeepNode, UpdateNode
from kiwicha.compiler.schedule.average import window_contractions
from kiwicha.compiler.schedule.blocks import block_contraction
from kiwicha.compiler.schedule.contraction import Contraction, Matrix, Place
from kiwicha.compiler.schedule.dynamic_layer import dynamic_contraction, scale_contraction
from kiwicha.compiler.schedule.dynamic_product import dynamic_product_contractions
from kiwicha.compiler.schedule.mapping import (
    conv_contractions,
    matmul_contractions,
    pooled_contraction,
)
from kiwicha.compiler.schedule.moves import move_works
from kiwicha.compiler.schedule.product import product_contractions, stack_contractions
from kiwicha.compiler.schedule.search import Plan, choose_plan, choose_tiling
from kiwicha.compiler.schedule.shifted import shifted_contractions, tuned_contractions
from kiwicha.compiler.schedule.tiling import Tiling
from kiwicha.compiler.schedule.transposed import conv_transpose_contractions
from kiwicha.compiler.schedule.transposition import Cut
from kiwicha.compiler.schedule.units import require_units
from kiwicha.compiler.schedule.within import placed
from kiwicha.machine.isa import WeightFormat

__all__ = ["layer_steps"]

_Steps = Callable[[Any, Mapping[str, int], ProgramBuilder, StoreConstant, int], list[Step]]


def layer_steps(
    node: Node,
    addresses: Mapping[str, int],
    builder: ProgramBuilder,
    store: StoreConstant,
    ready: int = 0,
    pool: PoolNode | None = None,
) -> list[Step]:
    """Return the steps of a node that is no view; they append to ``builder``.

    Parameters
    ----------
    addresses : of all tensors.
    store : puts constants into memory.
    ready : bytes of the first operand that become ready together; 0 if all do at once.
    pool : what is written instead of the results of a convolution, the maxima of them.

    Raises
    ------
    KiwichaError
        When the node does not fit the machine; names node and limit.
    """
    if isinstance(node, ViewNode):
        raise ValueError(f"{node.name} is a view: there is nothing to do")
    require_units([node], builder.config)
    if pool is not None and isinstance(node, ConvNode):
        work = pooled_contraction(node, pool, addresses, builder.config)
        return [_contraction_step(work, choose_tiling(work, builder.config), builder, store)]
    return _STEPS[node.kind](node, addresses, builder, store, ready)


def _contracted(make: Callable[..., list[Contraction]]) -> _Steps:
    """Return what emits the contractions that ``make`` makes of a node."""

    def steps(
        node: Any, addresses: Mapping[str, int], builder: ProgramBuilder, store: StoreConstant,
        _ready: int,
    ) -> list[Step]:
        within = builder.absorbed.within
        made = [
            placed(work, node, addresses, within) for work in make(node, addresses, builder.config)
        ]
        works = [work for work in made if work is not None]
        assert len(works) == len(made), f"{node.name} cannot reach a tensor inside another"
        if works and works[0].ones:
            place = store(np.ones(works[0].x.channels, np.uint8))
            works = [replace(work, x=replace(work.x, address=place)) for work in works]
        if (addend := builder.addends.get(node.name)) is not None:
            works = [replace(work, addend=addend) for work in works]
        plans = _plans(
            works, builder, plain=node.name in builder.counted,
            siblings=builder.siblings.get(node.name, 1),
        )
        return [_planned_step(work, plans[_kind(work)], builder, store) for work in works]

    return steps


def _plans(
    works: Sequence[Contraction], builder: ProgramBuilder, *, plain: bool = False,
    siblings: int = 1,
) -> dict[Hashable, Plan]:
    """Return the plan of each kind of work; ``plain`` as in `choose_plan`, ``siblings`` as in
    `ProgramBuilder`."""
    times, plans = Counter(map(_kind, works)), dict[Hashable, Plan]()
    for work in works:
        if (kind := _kind(work)) not in plans:
            plans[kind] = choose_plan(
                work, builder.config, times[kind] * siblings, plain=plain, ahead=siblings > 1
            )
    return plans


def _move_steps(
    node: MoveNode,
    addresses: Mapping[str, int],
    builder: ProgramBuilder,
    store: StoreConstant,
    _ready: int,
) -> list[Step]:
    """Images and transpositions; constants are put into memory as they will be read."""
    done = builder.absorbed
    constants = {
        piece.x.name: store(piece.x.to_memory(piece.values).view(np.uint8))
        for piece in node.pieces if piece.values is not None
    }
    addresses = {**addresses, **constants}
    moves = move_works(node, addresses, builder.config, done.within, done.pieces)
    plans = _plans([move.work for move in moves if move.cut is None], builder, plain=True)
    return [
        _planned_step(move.work, plans[_kind(move.work)], builder, store)
        if move.cut is None
        else _transposition_step(move.work, move.cut, builder, store)
        for move in moves
    ]


def _transposition_step(
    work: Contraction, cut: Cut, builder: ProgramBuilder, store: StoreConstant
) -> Step:
    assert work.matrix is not None
    reads = _matrix_span(work.matrix, work.y.height, work.y.channels)
    return Step((reads,), _span(work.y), lambda: transpose(work, cut, builder, store))


def _kind(work: Contraction) -> Hashable:
    """Return what works of one node must have in common to be tiled alike."""
    x, y = replace(work.x, address=0), replace(work.y, address=0)
    return (
        x, y, work.kernel, work.pads, work.skipped, work.strides, work.operand, work.modes,
        work.windows,
    )


def _dynamic_steps(
    node: DynamicLinearNode,
    addresses: Mapping[str, int],
    builder: ProgramBuilder,
    store: StoreConstant,
    _ready: int,
) -> list[Step]:
    """The layer, and its output's scale and zero point to memory."""
    addend = None if node.addend is None else addresses[node.addend.name]
    x, y = addresses[node.x.name], addresses[node.y.name]
    work = dynamic_contraction(node, x, y, addend)
    step = _contraction_step(work, choose_tiling(work, builder.config), builder, store)

    def emit_all() -> None:
        if node.x_record is not None and node.reload:
            builder.load_slot(addresses[node.x_record.name], node.slot)
        if node.fixed and node.target is not None:
            record = slot_record(node.target, node.y.scale, node.y.zero_point)
            builder.load_slot(store(record), node.target)
        step.emit()
        if node.y_record is not None and node.target is not None:
            builder.store_slot(addresses[node.y_record.name], node.target)

    return [replace(step, emit=emit_all)]


def _dynamic_product_steps(
    node: DynamicProductNode,
    addresses: Mapping[str, int],
    builder: ProgramBuilder,
    store: StoreConstant,
    ready: int,
) -> list[Step]:
    """Its parameters, the products, and the output's scale and zero point to memory."""
    first, *rest = _contracted(dynamic_product_contractions)(
        node, addresses, builder, store, ready
    )

    def emit_first() -> None:
        if node.reload:
            builder.load_slot(addresses[node.x_record.name], node.slot)
        first.emit()

    steps = [replace(first, emit=emit_first), *rest]
    if node.y_record is None or node.target is None:
        return steps
    last, record, target = steps[-1], addresses[node.y_record.name], node.target

    def emit_last() -> None:
        last.emit()
        builder.store_slot(record, target)

    return [*steps[:-1], replace(last, emit=emit_last)]


def _scale_steps(
    node: DynamicScaleNode,
    addresses: Mapping[str, int],
    builder: ProgramBuilder,
    store: StoreConstant,
    _ready: int,
) -> list[Step]:
    """A tensor by its range: the array's sums are codes, whose scale is one of the parameters."""
    work = scale_contraction(node, addresses[node.x.name], addresses[node.y.name])
    step = _contraction_step(work, choose_tiling(work, builder.config), builder, store)

    def emit_all() -> None:
        builder.load_slot(store(slot_record(node.slot, np.float32(1), 0)), node.slot)
        step.emit()
        builder.store_slot(addresses[node.y_record.name], node.target)

    return [replace(step, emit=emit_all)]


def _blocks_steps(
    node: BlocksNode,
    addresses: Mapping[str, int],
    builder: ProgramBuilder,
    store: StoreConstant,
    _ready: int,
) -> list[Step]:
    """The layer, its codes and the scales of its blocks."""
    x, y, scales = (addresses[tensor.name] for tensor in (node.x, node.y, node.scales))
    work = block_contraction(node, x, y, scales, builder.config)
    return [_contraction_step(work, choose_tiling(work, builder.config), builder, store)]


def _contraction_step(
    work: Contraction, tiling: Tiling, builder: ProgramBuilder, store: StoreConstant
) -> Step:
    reads = [_span(work.x)]
    if work.second is not None:
        start, stop = _span(work.written)
        reads.append((start + work.second, stop + work.second))
    if work.matrix is not None:
        reads.append(_matrix_span(work.matrix, work.x.channels, work.y.channels))
    return Step(tuple(reads), _span(work.written), lambda: emit(work, tiling, builder, store))


def _planned_step(
    work: Contraction, plan: Plan, builder: ProgramBuilder, store: StoreConstant
) -> Step:
    """A step that reads and writes what the work as it is does."""
    step = _contraction_step(work, plan.tiling, builder, store)
    return replace(step, emit=lambda: emit(plan.form(work), plan.tiling, builder, store))


def _span(place: Place) -> Span:
    last = (place.images * place.height - 1) * place.row_bytes
    last += (place.width - 1) * place.pixel_bytes + place.channels
    return place.address, place.address + last


def _matrix_span(matrix: Matrix, depth: int, columns: int) -> Span:
    by_rows = matrix.form == WeightFormat.ROWS
    lines, extent = (depth, columns) if by_rows else (columns, depth)
    return matrix.address, matrix.address + (lines - 1) * matrix.pitch + extent


_STEPS: dict[str, _Steps] = {
    ConvNode.kind: _contracted(conv_contractions),
    ConvTransposeNode.kind: _contracted(conv_transpose_contractions),
    MatMulNode.kind: _contracted(matmul_contractions),
    PoolNode.kind: _contracted(window_contractions),
    MatMulStackNode.kind: _contracted(stack_contractions),
    ProductNode.kind: _contracted(product_contractions),
    MoveNode.kind: _move_steps,
    DynamicConvNode.kind: _dynamic_steps,
    DynamicLinearNode.kind: _dynamic_steps,
    DynamicProductNode.kind: _dynamic_product_steps,
    DynamicRealNode.kind: real_steps,
    DynamicScaleNode.kind: _scale_steps,
    ShiftedConvNode.kind: with_exponent(_contracted(shifted_contractions)),
    ShiftedPoolNode.kind: with_exponent(_contracted(shifted_contractions)),
    ShiftedProductNode.kind: with_exponent(_contracted(shifted_contractions)),
    ShiftedSumNode.kind: with_exponent(_contracted(shifted_contractions)),
    TunedConvNode.kind: _contracted(tuned_contractions),
    TunedProductNode.kind: _contracted(tuned_contractions),
    CrossEntropyNode.kind: with_exponent(loss_steps),
    KeepNode.kind: keep_steps,
    UpdateNode.kind: update_steps,
    BlocksNode.kind: _blocks_steps,
    AddNode.kind: pair_steps,
    MulNode.kind: pair_steps,
    TablesNode.kind: pair_steps,
    FixedPairNode.kind: pair_steps,
    TableNode.kind: row_steps,
    SoftmaxNode.kind: row_steps,
    NormalizeNode.kind: row_steps,
}
"""By kind of node."""
