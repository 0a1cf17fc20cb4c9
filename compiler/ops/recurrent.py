# SPDX-License-Identifier: Apache-2.0
"""LSTM, GRU and RNN, which ONNX Runtime computes in float: step after step, in integers.

The result has a scale of its own, so that whatever follows in float reads it as any other tensor.
"""

from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import Unknown, attributes
from kiwicha.compiler.graph.graph import PoolNode, Tensor, ViewNode
from kiwicha.compiler.graph.layout import ROW_MAJOR
from kiwicha.compiler.ops.chain import emit_chain
from kiwicha.compiler.ops.context import Context, FloatValue
from kiwicha.compiler.ops.dynamic import INPUT
from kiwicha.compiler.ops.dynamic_input import dynamic_input
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.recurrent_cells import State, step
from kiwicha.compiler.ops.recurrent_first import FirstState, hosted, on_host
from kiwicha.compiler.ops.recurrent_form import LIMITS, Direction, read
from kiwicha.compiler.ops.recurrent_inputs import Codes, Source, multiplied
from kiwicha.compiler.ops.recurrent_scales import (
    HALF,
    OFFSETS,
    Cell,
    First,
    apart,
    cells_of,
    state_slices,
)
from kiwicha.compiler.ops.recurrent_steps import Steps
from kiwicha.compiler.ops.unsupported import in_float

__all__ = ["OPERATORS"]

_STATE = Limit(
    "its initial state '{name}' is float; put QuantizeLinear and DequantizeLinear there",
    lambda name, quantized: quantized,
)
_ALIKE = Limit(
    "its constant initial state differs within the batch; make it an input",
    lambda states: bool((states == states[:1]).all()),
)


def recurrent(context: Context, node: onnx.NodeProto) -> None:
    """Inputs X, W, R, B, sequence_lens, initial_h, initial_c, P; outputs Y, Y_h, Y_c."""
    value = _value(context, node, 0)
    length, batch, _ = value.shape
    form = read(context, node, length)
    steps = Steps(context, node, batch, form.hidden)
    layer = _Layer(context, node, steps)
    h, state = layer.first(5), layer.first(6 if form.kind == "LSTM" else 5)
    first = First(h.reach, state.reach)
    sources: list[Source]
    if isinstance(value.origin, Tensor):
        x = _codes(context, node, 0)
        info = np.iinfo(x.dtype)
        extent = max(info.max - x.zero_point, x.zero_point - info.min)
        cells = cells_of(form, float(x.scale), extent, first)
        sources = [Codes(steps, x) for _ in cells]
    else:
        name = context.names.fresh(node.input[0], "codes")
        edge = dynamic_input(context, node, value, name)
        form, products = apart(form)
        cells = cells_of(form, 1.0, 0, first)
        sources = [multiplied(steps, edge.tensor, edge.record, product) for product in products]
    ways = list(zip(form.directions, cells, sources, strict=True))
    states = [layer.start(form.kind, cell, h, state, way) for way, cell in enumerate(cells)]
    made: list[list[Tensor]] = [[] for _ in ways]
    for turn in range(form.steps):
        for way, (direction, cell, source) in enumerate(ways):
            place = form.steps - 1 - turn if direction.backward else turn
            steps.place = f"{_side(direction)}{place}/"
            states[way] = step(form.kind, steps, cell, source, place, states[way])
            made[way].append(_tensor(states[way]))
    steps.place = ""
    for way, (direction, _, _) in enumerate(ways):
        if direction.backward:
            made[way].reverse()
    layer.outputs(made, states, cells, length)
    context.note(node, f"lowered by kiwicha: {form.kind} in integers, golden-exact")


def _side(direction: Direction) -> str:
    return "back " if direction.backward else "step "


def _tensor(state: State) -> Tensor:
    assert isinstance(state.h, Tensor)
    return state.h


def _value(context: Context, node: onnx.NodeProto, place: int) -> FloatValue:
    """Return what is known of an input."""
    name = node.input[place]
    if name in context.unknown or name not in context.floats:
        raise Unknown
    return context.floats[name]


def _codes(context: Context, node: onnx.NodeProto, place: int) -> Tensor:
    """Return an input as codes, in the shape that the node reads."""
    value = _value(context, node, place)
    _STATE.check(name=node.input[place], quantized=isinstance(value.origin, Tensor))
    assert isinstance(value.origin, Tensor)
    if not value.operations:
        return context.settled(value.origin)
    name = context.names.fresh(node.input[place], "codes")
    y = replace(value.origin, name=name, shape=value.shape)
    return emit_chain(context, node, value.origin, value.operations, y)


@dataclass(frozen=True, eq=False)
class _Layer:
    """One node: how it begins and ends."""

    context: Context
    node: onnx.NodeProto
    steps: Steps

    def first(self, place: int) -> FirstState:
        """Return the initial state that an input holds."""
        name = self.node.input[place] if place < len(self.node.input) else ""
        _, batch, hidden = self.steps.shape
        if not name:
            ways = 2 if attributes(self.node).get("direction") == "bidirectional" else 1
            return FirstState(np.zeros((ways, batch, hidden), np.float32))
        value = self.context.floats.get(name)
        if value is not None and name not in self.context.unknown and hosted(value):
            return FirstState(name)
        if name in self.context.constants:
            return FirstState(self.context.constants[name].astype(np.float32))
        return FirstState(_codes(self.context, self.node, place))

    def start(self, kind: str, cell: Cell, h: FirstState, state: FirstState, way: int) -> State:
        """Return what a direction begins with."""
        self.steps.place = f"start {way}/"
        slices = None if kind == "RNN" else self._slices(state, cell.unit, way)
        if isinstance(h.value, str):
            scale, shape = cell.h_scale, self.steps.shape
            made = on_host(self.context, self.node, h.value, way, scale, shape, slices=False)
            return State(made, slices)
        if not isinstance(h.value, Tensor):
            codes = np.clip(np.rint(h.value[way] / cell.h_scale), -HALF, HALF).astype(np.int8)
            _ALIKE.check(states=codes)
            return State(codes, slices)
        source = self._part(h.value, way)
        return State(self._rescaled(source, cell.h_scale, 0, -HALF), slices)

    def _slices(
        self, state: FirstState, unit: np.float32, way: int
    ) -> Tensor | NDArray[np.int8]:
        if isinstance(state.value, str):
            shape = (len(OFFSETS), *self.steps.shape[1:])
            return on_host(self.context, self.node, state.value, way, unit, shape, slices=True)
        if not isinstance(state.value, Tensor):
            return state_slices(np.rint(state.value[way] / unit))
        source = self._part(state.value, way)
        made = [self._rescaled(source, unit, offset, -HALF) for offset in OFFSETS]
        return self.steps.join(made, (len(OFFSETS), *self.steps.shape[1:]), "state")

    def _part(self, state: Tensor, way: int) -> Tensor:
        return self.steps.part(self.context.settle(state, ROW_MAJOR), way)

    def _rescaled(self, x: Tensor, scale: np.float32, offset: int, low: int) -> Tensor:
        """Return codes of another scale, less an offset, clamped to int8."""
        y = self.steps.tensor("first", x.shape, scale)
        self.steps.emit(PoolNode(
            y.name, self.steps.op, x, replace(y, zero_point=-offset), (1, 1), (1, 1),
            (0, 0, 0, 0), (1, 1), np.float32(x.scale / scale), np.float64(x.scale) / scale, low,
            HALF, promise="golden",
        ))
        return y

    def outputs(
        self, made: list[list[Tensor]], states: list[State], cells: list[Cell], length: int
    ) -> None:
        """Give the node's outputs, as far as somebody reads them, their codes; Y has ``length``
        steps, of which those behind the sequences are zeros."""
        steps, (_, batch, hidden) = self.steps, self.steps.shape
        names = [*self.node.output, "", "", ""][:3]
        used = [bool(name) and self.context.uses[name] > 0 for name in names]
        ways = len(made)
        if used[0]:
            parts = [made[way][place] for place in range(len(made[0])) for way in range(ways)]
            y = steps.join(parts, (len(made[0]), ways, batch, hidden), "Y")
            y = steps.padded(y, length) if length > len(made[0]) else y
            self._is(names[0], y)
        if used[1]:
            last = [_tensor(state) for state in states]
            if ways == 1:
                y = replace(last[0], name=steps.tensor("Y_h", ()).name)
                steps.emit(ViewNode(y.name, steps.op, last[0], y))
            else:
                make = steps.copied if used[0] else steps.join
                y = make(last, (ways, batch, hidden), "Y_h")
            self._is(names[1], y)
        if used[2]:
            scale = np.float32(3 * max(cell.unit for cell in cells))
            shown = []
            for state, cell in zip(states, cells, strict=True):
                assert state.rows is not None
                ratio = np.float32(cell.unit / scale), np.float64(cell.unit) / scale
                shown.append(steps.total(state.rows, ratio, scale=scale, what="cell"))
            self._is(names[2], steps.join(shown, (ways, batch, hidden), "Y_c"))

    def _is(self, name: str, codes: Tensor) -> None:
        self.context.floats[name] = FloatValue(codes)


OPERATORS = (
    Operator(
        "LSTM, GRU, RNN",
        (Form("float", ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), "golden", recurrent),),
        "recurrent.lstm",
        (INPUT, _STATE, _ALIKE, *LIMITS),
        "any activations and directions, clip, input_forget, linear_before_reset, initial states "
        "as constants and inputs, float ones too (cut off where the layer's own states end), "
        "batches, the outputs that somebody reads; how far from the float is in docs/arithmetic.md",
        ("tests/golden/test_recurrent.py", "tests/compiler/test_recurrent.py",
         "tests/accelerator/test_recurrent.py"),
        otherwise=in_float,
    ),
)
