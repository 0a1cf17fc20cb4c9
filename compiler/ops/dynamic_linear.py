# SPDX-License-Identifier: Apache-2.0
"""A layer of a dynamically quantized graph as far as it was read, and the nodes it becomes.

What follows its sums is taken up one by one: scales, a bias, Relu, MaxPool, views. A pooling of
floats is one of codes, for quantizing is monotone; but the scale follows from the pooled values.
Behind a Relu their range begins at 0 as that of the others does, and ends alike where each value
is in some window; values that are in none are not computed.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.graph.dynamic_product import SCRATCH_BYTES
from kiwicha.compiler.graph.graph import (
    DynamicConvNode,
    DynamicLinearNode,
    DynamicProductNode,
    HostDynamicDequantize,
    HostSums,
    Promise,
    Quad,
    Shape,
    Tensor,
)
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout, channels_last
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.dynamic import POOLED
from kiwicha.compiler.ops.dynamic_last import last_function
from kiwicha.compiler.ops.dynamic_state import LinearState
from kiwicha.compiler.ops.dynamic_windows import (
    covers,
    emit_pooled,
    met,
    some_machine_has,
)
from kiwicha.compiler.ops.matmul import row_order
from kiwicha.compiler.ops.product import placed
from kiwicha.compiler.ops.view import View, emit_view

__all__ = ["Linear"]

_UINT8 = np.dtype(np.uint8)


@dataclass(frozen=True, eq=False)
class Linear(LinearState):
    """A linear layer, and the nodes that it becomes."""

    def quantized(
        self, context: Context, record_in: Tensor, name: str, record: Tensor | None,
        scale: np.float32 = np.float32(1), zero: int = 0,
    ) -> None:
        """Emit the layer, quantized as tensor ``name``: by its own range, whose scale goes to
        ``record``, or by a given scale and zero point."""
        codes = name if self._ends_plainly else context.names.fresh(name, "codes")
        if self.frame is None:
            shape = self.shape if self._ends_plainly else self.made
            y = Tensor(codes, shape, _UINT8, scale, zero)
            self._emit(context, record_in, y, record)
        else:
            windowed = record is not None and self._in_windows
            size = self.made[2:] if record is None or windowed else self._seen()
            size = self.pool[1].output if windowed and self.pool is not None else size
            layout = channels_last(len(self.made))
            y = Tensor(codes, (*self.made[:2], *size), _UINT8, scale, zero, layout)
            self._emit(context, record_in, y, record, windowed=windowed)
            if self.pool is not None and not windowed:
                title = context.names.fresh(name, "pooled") if self.views else name
                y = emit_pooled(context, *self.pool, y, title)
        if self._ends_plainly:
            return
        for place, (node, step) in enumerate(self.views):
            last = place == len(self.views) - 1
            kind, argument = step
            shape = argument if kind == "reshape" else tuple(y.shape[a] for a in argument)
            title = name if last else context.names.fresh(name, node_name(node))
            y = emit_view(context, node, y, step, replace(y, name=title, shape=shape))

    @property
    def _ends_plainly(self) -> bool:
        """Whether the layer itself makes the last tensor: rows are in any case one after the
        other."""
        if self.frame is None:
            return all(kind == "reshape" for _, (kind, _) in self.views)
        return (self.pool is None or self._in_windows) and not self.views

    def summed(self, context: Context, record_in: Tensor | None, name: str) -> None:
        """Emit the layer with its sums for result, of which the host makes output ``name``: their
        float value where the scales are known, else themselves."""
        rows = prod(self.made) // self.columns
        y = Tensor(
            context.names.fresh(name, "sums"), (rows, 4 * self.columns), _UINT8, np.float32(1), 0
        )
        self._emit(context, record_in, y, None, sums=True)
        steps: list[View] = [step for _, step in self.views]
        if self.frame is not None:
            last = (self.made[0], *self.made[2:], self.made[1])
            back = (0, len(last) - 1, *range(1, len(last) - 1))
            steps = [("reshape", last), ("transpose", back), *steps]
        elif any(kind != "reshape" for kind, _ in steps):
            steps = [("reshape", self.made), *steps]
        else:
            steps = []
        title, view = context.names.fresh(name, "dequantize"), Layout(tuple(steps))
        if self.w_scale is None or record_in is None:
            context.dequantize.append(HostSums(title, y, name, self.shape, view))
        else:
            other = None if self.second is None else self.second[1]
            then = last_function(context, self.last, self.shape, name) if self.last else None
            if then is not None:
                what = ", ".join(kind for kind in then.operators if kind != "Constant")
                context.note(self.node, f"{what}: computed by the host")
            context.dequantize.append(HostDynamicDequantize(
                title, y, record_in, 0, name, self.w_scale, self._bias, self.relu, self.shape, view,
                other, then=then,
            ))

    def valued(self, context: Context, record_in: Tensor | None, name: str) -> Tensor:
        """Emit the layer with its values for result, in binary32; return their tensor."""
        rows = prod(self.valued_shape) // self.columns
        y = Tensor(
            context.names.fresh(name, "real"), (rows, 4 * self.columns), _UINT8, np.float32(1), 0
        )
        self._emit(
            context, record_in, y, None, real=True, windowed=self.pool is not None
        )
        return y

    @property
    def valued_shape(self) -> Shape:
        """Of the values where they are in memory."""
        return self.made if self.pool is None else (*self.made[:2], *self.pool[1].output)

    @property
    def in_windows(self) -> bool:
        """Whether the maxima of values are those of the greatest sums, in windows that some machine
        has."""
        if self.pool is None or self.w_scale is None or self.addend is not None:
            return False
        factors = [self.w_scale] if self.slope is None else [self.w_scale, self.slope]
        rising = all(bool((factor >= 0).all()) for factor in factors)
        return rising and some_machine_has(self.pool[1])

    @property
    def _in_windows(self) -> bool:
        """Whether they have to be found before the values are quantized."""
        known = self.pool is not None and self.positive and covers(self.pool[1], self.made[2:])
        return self.in_windows and not known

    def _seen(self) -> Shape:
        """Return how far the windows of the pooling reach; all of the sums where there is none.

        Raises
        ------
        Refusal
            Where the range of what is pooled is not that of what is in its windows.
        """
        size = self.made[2:]
        if self.pool is None:
            return size
        node, frame = self.pool
        POOLED.check(op=node.op_type, relu=self.positive, whole=covers(frame, size))
        return tuple(map(len, met(frame, size)))

    def _emit(
        self, context: Context, record_in: Tensor | None, y: Tensor, record: Tensor | None,
        sums: bool = False, real: bool = False, windowed: bool = False,
    ) -> None:
        if self.second is not None:
            assert record_in is not None
            self._emit_product(context, record_in, y, record)
            return
        fixed = record is None and not (sums or real)
        names = ("slope", "offset", "addend", "gated", "bounds")
        what: dict[str, Any] = {"real": real, **{name: getattr(self, name) for name in names}}
        x = context.tensors[self.source]
        free = x.name in context.free
        w_scale = np.ones(self.columns, np.float32) if self.w_scale is None else self.w_scale
        bias = self._bias
        promise: Promise = "golden" if self.golden else "runtime"
        node: DynamicLinearNode
        if self.frame is None:
            x = self._zeroed(context.settle(x, ROW_MAJOR) if free else context.settled(x))
            if row_order(x, len(self.weights)) is None:
                x = context.settle(x, ROW_MAJOR)
            node = DynamicLinearNode(
                name=node_name(self.node), op=self.op, x=x, x_record=record_in, y=y,
                y_record=record, weights=self.weights, weight_zero=self.weight_zero,
                w_scale=w_scale, bias=bias, relu=self.relu,
                order=row_order(x, len(self.weights)), fixed=fixed, promise=promise, **what,
            )
        else:
            x = self._zeroed(context.settle(x, channels_last(len(x.shape))))
            frame, size = self.frame, (1, *self.made[2:])[-2:]
            size = size if sums or real or windowed else y.image[2:]
            if windowed and self.pool is not None:
                pool = self.pool[1]
                what["pool"] = pool.kernel, pool.strides, pool.pads[:2]
                what["pooled"] = (1, *pool.output)[-2:]
            weights = self.weights.reshape(*self.weights.shape[:2], *frame.kernel)
            node = DynamicConvNode(
                name=node_name(self.node), op=self.op, x=x, x_record=record_in, y=y,
                y_record=record, weights=weights, weight_zero=self.weight_zero,
                w_scale=w_scale, bias=bias, relu=self.relu,
                image=cast(Quad, (self.made[0], self.columns, *size)), groups=self.groups,
                strides=frame.strides, pads=frame.pads[:2], dilations=frame.dilations,
                fixed=fixed, promise=promise, **what,
            )
        context.emit(node)

    def _emit_product(
        self, context: Context, record_in: Tensor, y: Tensor, record: Tensor | None
    ) -> None:
        assert self.second is not None
        name, other = self.second
        x = placed(context, context.tensors[self.source], (-1,))
        z = placed(context, context.tensors[name], (-1, -2))
        if self.source == name:  # settled twice, the second time for both
            x = z
        title = context.names.fresh(y.name, "parameters")
        context.emit(DynamicProductNode(
            name=node_name(self.node), op=self.op, x=x, x_record=record_in, z=z, z_record=other,
            y=y, y_record=record, relu=self.relu,
            scratch=Tensor(title, (SCRATCH_BYTES,), _UINT8, np.float32(1), 0),
        ))

    @property
    def _bias(self) -> NDArray[np.float32]:
        """Return the bias; adding -0 changes nothing, not even a zero's sign."""
        return np.full(self.columns, -0.0, np.float32) if self.bias is None else self.bias

    def _zeroed(self, x: Tensor) -> Tensor:
        return x if self.zero is None else replace(x, zero_point=self.zero)
