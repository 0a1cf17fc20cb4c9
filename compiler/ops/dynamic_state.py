# SPDX-License-Identifier: Apache-2.0
"""What is known of a layer of a dynamically quantized graph, as far as it was read: its sums, and
what is done to their float values one after the other."""

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.graph.graph import Bounds, Shape, Tensor
from kiwicha.compiler.ops.dynamic import COLUMNS
from kiwicha.compiler.ops.view import View
from kiwicha.compiler.ops.weights import per_channel
from kiwicha.compiler.ops.window import Window

__all__ = ["FULL", "LinearState", "both"]

FULL = (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max))
"""All numbers that are finite."""


def both(first: Bounds | None, relu: bool, low: float, high: float) -> Bounds:
    """Return the bounds that hold a value as well as ``first``, then Relu, then low and high do."""
    ends = np.array(first or FULL, np.float32)
    ends = np.maximum(ends, np.float32(0)) if relu else ends
    least, greatest = np.minimum(np.maximum(ends, np.float32(low)), np.float32(high)) + 0.0
    return float(least), float(greatest)


@dataclass(frozen=True, eq=False)
class LinearState:
    """A linear layer, first the sums, then the floats that follow.

    Members
    -------
    source : the quantized input's name.
    weights : K x N, or out channels x in / groups x kernel; none with a second tensor.
    made : shape of the sums.
    shape : of the value in the model.
    frame, groups : of a convolution.
    zero : zero point of the input where that has one of its own.
    cast : whether the sums are floats.
    second : name of the second operand and its record, where that is quantized dynamically, too.
    w_scale : once the scales have been multiplied with; one per column.
    bias : one per column, or None.
    slope : what negative values are multiplied by, one per column, or None.
    offset : one per column, which is added to the value times its slope; None: slopes are those of
        negative values.
    addend : what is added then, before Relu, or None: a value in memory, in binary32.
    gated : whether it is multiplied by the addend instead.
    bounds : within which it is held then, or None.
    pool : a MaxPool and its window.
    views : what moves, in the end.
    golden : whether it is quantized where the runtime computes in float.
    last : the float value that the host computes a graph output of, empty where that is it.
    """

    node: onnx.NodeProto
    source: str
    weights: NDArray[np.int8]
    weight_zero: NDArray[np.int16]
    made: Shape
    shape: Shape
    frame: Window | None = None
    groups: int = 1
    zero: int | None = None
    cast: bool = False
    second: tuple[str, Tensor] | None = None
    w_scale: NDArray[np.float32] | None = None
    bias: NDArray[np.float32] | None = None
    slope: NDArray[np.float32] | None = None
    offset: NDArray[np.float32] | None = None
    addend: Tensor | None = None
    gated: bool = False
    bounds: Bounds | None = None
    relu: bool = False
    pool: tuple[onnx.NodeProto, Window] | None = None
    views: tuple[tuple[onnx.NodeProto, View], ...] = ()
    last: str = ""
    golden: bool = False
    op: str = "MatMulInteger"

    @property
    def columns(self) -> int:
        """Results that have a weight scale and a bias of their own."""
        return self.made[-1 if self.frame is None else 1]

    @property
    def plain(self) -> bool:
        """Whether columns are still where they were made."""
        axis = -1 if self.frame is None else 1
        return self.pool is None and (
            self.shape == self.made if self.frame is not None
            else self.shape[axis:] == self.made[axis:]
        )

    @property
    def open(self) -> bool:
        """Whether a value can be added to it."""
        ready = self.w_scale is not None and self.addend is None and self.second is None
        ready = ready and self.bounds is None and self.offset is None
        return ready and self.pool is None and not self.last and not (
            self.relu and self.slope is not None
        )

    @property
    def bare(self) -> bool:
        """Whether nothing is done to its values yet but that a bias is added."""
        return self.open and self.slope is None and not self.relu

    @property
    def factored(self) -> bool:
        """Whether nothing is done to its values but that they are multiplied by a constant."""
        if self.addend is not None or self.bounds is not None or self.relu or self.offset is None:
            return False
        return bool(np.signbit(self.offset).all() and not self.offset.any())

    @property
    def positive(self) -> bool:
        """Whether no value is negative."""
        return self.relu or (self.bounds is not None and self.bounds[0] >= 0)

    @property
    def computed(self) -> bool:
        """Whether the host, which knows bias and Relu, cannot make its values of the sums."""
        done = (self.addend, self.slope, self.bounds)
        return any(each is not None for each in done)

    def scaled(self, factor: Any, offset: Any, name: str) -> Self:
        """Return the layer with its values times a factor and then an offset added, of which there
        is one for each column; only of one that is ``bare``."""
        return replace(self, slope=factor, offset=offset, op=f"{self.op}, {name}")

    def clipped(self, low: float, high: float) -> Self:
        """Return the layer with its values held within bounds, and before them within those that
        there are."""
        bounds = both(self.bounds, self.relu, low, high)
        return replace(self, bounds=bounds, relu=False, op=f"{self.op}, Clip")

    def sliced(self, first: int, count: int, name: str) -> Self:
        """Return the layer with ``count`` of its columns, from ``first`` on."""
        part = slice(first, first + count)
        axis = -1 if self.frame is None else 1
        shape, made = [*self.shape], [*self.made]
        shape[axis] = made[axis] = count

        def of(values: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if values is None else np.ascontiguousarray(values[part])

        weights = self.weights[:, part] if self.frame is None else self.weights[part]
        return replace(
            self, weights=np.ascontiguousarray(weights), weight_zero=self.weight_zero[part],
            made=tuple(made), shape=tuple(shape), w_scale=of(self.w_scale), bias=of(self.bias),
            slope=of(self.slope), offset=of(self.offset), op=f"{self.op}, {name}",
        )

    def per_column(self, value: NDArray[Any], what: str) -> NDArray[np.float32]:
        """Return a float constant that broadcasts to the sums as one value per column."""
        rank = len(self.shape)
        axis = rank - 1 if self.frame is None else 1
        given = (*(1,) * (rank - value.ndim), *value.shape)
        COLUMNS.check(
            what=what, shape=value.shape, fits=len(given) == rank
            and prod(given) == given[axis] and given[axis] in (1, self.columns),
        )
        flat = per_channel(value.reshape(-1), self.columns, what)
        return np.ascontiguousarray(flat.astype(np.float32))
