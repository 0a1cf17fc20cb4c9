# SPDX-License-Identifier: Apache-2.0
"""Float values of dynamically quantized graphs that have to be in memory, in binary32: what several
read and not only to quantize it, sums of two, concatenations."""

from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
import onnx

from kiwicha.compiler.frontend.onnx_node import Unknown, attributes, node_name
from kiwicha.compiler.graph.dynamic_real import RealPart
from kiwicha.compiler.graph.graph import (
    DynamicRealNode,
    HostReal,
    HostRealInput,
    Promise,
    Shape,
    Tensor,
    Value,
)
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout, channels_last
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.dynamic import ALONE, ORDERS, POOLED, SUMMANDS
from kiwicha.compiler.ops.dynamic_functions import clip_bounds, normalization
from kiwicha.compiler.ops.dynamic_last import is_last, last_function
from kiwicha.compiler.ops.dynamic_linear import Linear
from kiwicha.compiler.ops.dynamic_state import both
from kiwicha.compiler.ops.dynamic_windows import emit_pooled, met
from kiwicha.compiler.ops.pool import pool_window
from kiwicha.compiler.ops.view import View, emit_view, view_of
from kiwicha.compiler.ops.window import Window

__all__ = ["Real", "Reals", "memory_order"]

_UINT8 = np.dtype(np.uint8)
_LEGAL = "use quantize_static or --host-fallback"


@dataclass(frozen=True, eq=False)
class Real:
    """A float value whose numbers are in memory.

    Members
    -------
    parts : side by side along axis ``axis`` of the order in memory.
    made, image : its shape there, in ONNX order, and whether channels are last in memory.
    shape, views : in the model, and what moves to get there.
    positive : whether no number is negative.
    pool : a MaxPool and its window, of codes: before ``views``.
    last : the value that the host computes a graph output of, empty where that is it.
    """

    parts: tuple[RealPart, ...]
    made: Shape
    image: bool
    shape: Shape
    views: tuple[tuple[onnx.NodeProto, View], ...] = ()
    axis: int = 0
    positive: bool = False
    pool: tuple[onnx.NodeProto, Window] | None = None
    last: str = ""

    @property
    def plain(self) -> bool:
        """Whether the elements of ``shape`` lie in memory as those of ``made`` do."""
        if self.image:
            return not self.views and self.pool is None
        return all(kind == "reshape" for _, (kind, _) in self.views)


def memory_order(shape: Shape, image: bool) -> Shape:
    """Return the lengths of the axes, the outermost in memory first."""
    return (shape[0], *shape[2:], shape[1]) if image else shape


@dataclass
class Reals:
    """Those of one model.

    Members
    -------
    records : for each tensor the one that holds its scale.
    linear : values that a linear layer makes.
    made : values that are in memory, or are made of such.
    inputs : graph inputs that are, by name and whether channels are last.
    """

    context: Context
    records: dict[str, Tensor]
    linear: dict[str, Linear]
    made: dict[str, Real] = field(default_factory=dict)
    inputs: dict[tuple[str, bool], Real] = field(default_factory=dict)

    def shared(self, name: str) -> bool:
        """Whether a layer's result is to be in memory as it is: it is a sum, or somebody reads it
        who does not quantize it."""
        linear = self.linear.get(name)
        if linear is None or linear.w_scale is None:
            return False
        return linear.addend is not None or any(
            reader.op_type == "Concat" or (
                reader.op_type in ("Add", "Mul")
                and not any(other in self.context.constants for other in reader.input)
            )
            for reader in self.context.readers[name]
        )

    def get(self, node: onnx.NodeProto, name: str, image: bool = False) -> Real:
        """Return a value in memory; emits the layer that makes it, once.

        Parameters
        ----------
        image : whether channels are last in what it goes together with.

        Raises
        ------
        Refusal
            Where it is none that a layer can write so.
        """
        if name in self.made:
            return self.made[name]
        if name in self.linear:
            linear = self.linear[name]
            what = "no layer's" if linear.w_scale is None else ""
            what = "the result of a product of two tensors" if linear.second else what
            pooled = linear.pool is not None and not linear.in_windows
            what = "pooled in windows that no machine has" if pooled else what
            what = "a sum that is pooled" if pooled and linear.addend is not None else what
            self._alone(node, name, what)
            tensor = linear.valued(self.context, self.records.get(linear.source), name)
            width = tensor.size // 4
            self.made[name] = Real(
                (RealPart(tensor, False, width),), linear.valued_shape, linear.frame is not None,
                linear.shape, linear.views, positive=linear.positive,
            )
            return self.made[name]
        if name in self.context.unknown:
            raise Unknown
        return self._input(node, name, image)

    def _input(self, node: onnx.NodeProto, name: str, image: bool) -> Real:
        """A graph input, which the host puts into memory."""
        if (name, image) not in self.inputs:
            value = self.context.floats.get(name)
            origin = None if value is None or value.operations else value.origin
            what = "a constant" if name in self.context.constants else "no layer's result"
            self._alone(node, name, "" if isinstance(origin, Value) else what)
            assert isinstance(origin, Value)
            shape = origin.shape
            layout = channels_last(len(shape)) if image else ROW_MAJOR
            rows = prod(memory_order(shape, image)[:-1])
            title = self.context.names.fresh(name, "real")
            tensor = Tensor(title, (rows, 4 * (prod(shape) // rows)), _UINT8, np.float32(1), 0)
            self.context.quantize.append(HostRealInput(title, origin.name, layout, tensor))
            self.context.tensors[title] = tensor
            part = RealPart(tensor, False, prod(shape))
            self.inputs[name, image] = Real((part,), shape, image, shape)
        return self.inputs[name, image]

    @staticmethod
    def _alone(node: onnx.NodeProto, name: str, what: str) -> None:
        ALONE.check(op=node.op_type, name=name, what=what, legal=_LEGAL)

    def add(self, node: onnx.NodeProto) -> None:
        """The sum of two values: one of them becomes the second operand of the layer that makes
        the other."""
        first, second = node.input
        names = [n for n in (first, second) if n in self.linear and self.linear[n].open]
        names.sort(key=lambda name: (name in self.made, len(self.context.readers[name])))
        SUMMANDS.check(first=first, second=second, layer=bool(names))
        name = names[0]
        other = second if name == first else first
        linear, real = self.beside(node, name, other)
        slope = linear.slope
        if linear.relu:
            slope = np.zeros(linear.columns, np.float32)
        self.linear[node.output[0]] = replace(
            linear, addend=real.parts[0].x, slope=slope, relu=False, op=f"{linear.op}, Add"
        )

    def beside(self, node: onnx.NodeProto, name: str, other: str) -> tuple[Linear, Real]:
        """Return a layer, and a value that is brought into memory as the second operand of it."""
        first, second = name, other
        linear = self.linear[name]
        real = self.get(node, other, linear.frame is not None)
        what = "several side by side" if len(real.parts) > 1 else ""
        what = "an earlier sum's, or another's, Relu or Clip" if real.parts[0].done else what
        self._alone(node, other, what)
        image = linear.frame is not None
        order = channels_last(len(linear.made)) if image else ROW_MAJOR
        same = linear.shape == real.shape and real.plain and (not image or not linear.views)
        same = same and (real.image == image or order.same(ROW_MAJOR, linear.made))
        same = same and all(kind == "reshape" for _, (kind, _) in linear.views)
        shapes = {name: linear.shape, other: real.shape}
        ORDERS.check(first=first, second=second, x=shapes[first], y=shapes[second], same=same)
        return linear, real

    def concat(self, node: onnx.NodeProto) -> None:
        """Several values side by side, which are quantized together."""
        image = any(
            self.made[name].image if name in self.made
            else name in self.linear and self.linear[name].frame is not None
            for name in node.input
        )
        reals = [self.get(node, name, image) for name in node.input]
        first = reals[0]
        axis = attributes(node)["axis"] % len(first.shape)
        order = [0, *range(2, len(first.made)), 1] if first.image else [*range(len(first.made))]
        for name, real in zip(node.input, reals, strict=True):
            same = real.image == first.image and real.shape == real.made
            ORDERS.check(first=node.input[0], second=name, x=first.shape, y=real.shape,
                         same=same and real.plain)
        place, parts = order.index(axis), list[RealPart]()
        for name, real in zip(node.input, reals, strict=True):
            if len(real.parts) > 1:
                self._alone(node, name, "" if real.axis == place else "side by side otherwise")
                parts += real.parts
                continue
            width = prod(memory_order(real.made, real.image)[place:])
            parts.append(replace(real.parts[0], width=width))
        made = list(first.made)
        made[axis] = sum(real.made[axis] for real in reals)
        self.made[node.output[0]] = Real(
            tuple(parts), tuple(made), first.image, tuple(made), axis=place,
            positive=all(real.positive for real in reals),
        )

    def relu(self, node: onnx.NodeProto) -> None:
        """Relu of what is in memory, when it is read."""
        real = self.made[node.input[0]]
        parts = tuple(replace(part, relu=True) for part in real.parts)
        self.made[node.output[0]] = replace(real, parts=parts, positive=True)

    def normalize(self, node: onnx.NodeProto) -> bool:
        """BatchNormalization of what is in memory, when it is read: a factor and an offset for each
        channel, of several values side by side for the channels of each; whether it is of
        images."""
        real = self.made[node.input[0]]
        if not real.image:
            return False
        ready = real.plain and not real.last
        what = "" if ready else "moved or pooled before"
        what = "an earlier Relu, Clip or normalization" if any(p.done for p in real.parts) else what
        what = what if len(real.parts) == 1 or real.axis == len(real.made) - 1 else "side by side"
        self._alone(node, node.input[0], what)
        factor, offset = normalization(self.context, node)
        parts, first = list[RealPart](), 0
        for part in real.parts:
            count = real.made[1] if len(real.parts) == 1 else part.width
            own = slice(first, first + count)
            parts.append(replace(part, factor=factor[own], offset=offset[own]))
            first += count
        self.made[node.output[0]] = replace(real, parts=tuple(parts), positive=False)
        return True

    def clip(self, node: onnx.NodeProto) -> None:
        """Clip of what is in memory, when it is read."""
        real, (low, high) = self.made[node.input[0]], clip_bounds(self.context, node)
        parts = tuple(
            replace(part, relu=False, bounds=both(part.bounds, part.relu, low, high))
            for part in real.parts
        )
        positive = all(part.bounds is not None and part.bounds[0] >= 0 for part in parts)
        self.made[node.output[0]] = replace(real, parts=parts, positive=positive)

    def pool(self, node: onnx.NodeProto) -> None:
        """MaxPool of what is in memory: of its codes, where the range is that of all."""
        real = self.made[node.input[0]]
        frame = pool_window(node, real.shape)
        seen = tuple(map(len, met(frame, real.shape[2:])))
        plain = real.image and real.plain and not real.last
        self._alone(node, node.input[0], "" if plain else "moved or pooled before")
        POOLED.check(
            op=node.op_type, relu=real.positive, whole=seen == tuple(real.shape[2:])
        )
        self.made[node.output[0]] = replace(
            real, pool=(node, frame), shape=(*real.shape[:2], *frame.output)
        )

    def quantized(
        self, node: onnx.NodeProto, real: Real, name: str, record: Tensor,
        promise: Promise = "runtime",
    ) -> None:
        """Emit what quantizes a value by its range, as tensor ``name``."""
        context = self.context
        plain = real.pool is None and (not real.views or (real.plain and not real.image))
        title = name if plain else context.names.fresh(name, "codes")
        layout = channels_last(len(real.made)) if real.image else ROW_MAJOR
        y = Tensor(
            title, real.shape if plain else real.made, _UINT8, np.float32(1), 0, layout
        )
        context.emit(DynamicRealNode(
            node_name(node), node.op_type, real.parts[0].x, real.parts, y, record, promise=promise
        ))
        if plain:
            return
        if real.pool is not None:
            title = context.names.fresh(name, "pooled") if real.views else name
            y = emit_pooled(context, *real.pool, y, title)
        for place, (each, step) in enumerate(real.views):
            kind, argument = step
            last = place == len(real.views) - 1
            shape = argument if kind == "reshape" else tuple(y.shape[a] for a in argument)
            title = name if last else context.names.fresh(name, node_name(each))
            y = emit_view(context, each, y, step, replace(y, name=title, shape=shape))

    def view(self, node: onnx.NodeProto) -> None:
        """What is in memory, read another way."""
        real = self.made[node.input[0]]
        step, shape = view_of(self.context, node, real.shape)
        self.made[node.output[0]] = replace(real, shape=shape, views=(*real.views, (node, step)))

    def is_last(self, node: onnx.NodeProto, known: bool) -> bool:
        """Leave a node in front of a graph output to the host, if it is one for it; ``known``:
        unless the machine can do it."""
        name = next(name for name in node.input if name in self.made)
        real = self.made[name]
        if (known and not real.last) or not is_last(self.context, node, len(real.shape)):
            return False
        self.made[node.output[0]] = replace(real, last=real.last or name)
        return True

    def finish(self, name: str) -> bool:
        """Let the host read graph output ``name`` in memory; return whether it is there."""
        linear = self.linear.get(name)
        if linear is not None:
            if not linear.computed:
                return False
            made = self.get(linear.node, linear.last or name)
            self.made[name] = replace(made, last=linear.last)
        if name not in self.made:
            return False
        real = self.made[name]
        what = "several values side by side" if len(real.parts) > 1 else ""
        what = "pooled" if real.pool is not None else what
        what = "normalized" if real.parts[0].factor is not None else what
        ALONE.check(op="a graph output", name=name, what=what, legal=_LEGAL)
        last = memory_order(real.made, real.image)
        back = (0, len(last) - 1, *range(1, len(last) - 1))
        steps: list[View] = [("reshape", last), ("transpose", back)] if real.image else []
        if not (real.plain and not real.image):
            steps = [*(steps or [("reshape", real.made)]), *(step for _, step in real.views)]
        then = last_function(self.context, real.last, real.shape, name) if real.last else None
        part = real.parts[0]
        self.context.dequantize.append(HostReal(
            self.context.names.fresh(name, "real"), part.x, name, part.relu, real.shape,
            Layout(tuple(steps)), then, part.bounds,
        ))
        return True
