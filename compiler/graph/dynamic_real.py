# SPDX-License-Identifier: Apache-2.0
"""Binary32 values in memory, between layers that are quantized dynamically and at graph edges.

Such a value is a tensor of uint8, four bytes little endian for each number, in the order in which
the machine makes the codes of a tensor of its shape: pixels of channels, or row-major.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.host_operators import HostFunction
from kiwicha.compiler.graph.layout import Layout
from kiwicha.compiler.graph.node import BaseNode, Promise
from kiwicha.compiler.graph.tensor import Bounds, Shape, Tensor
from kiwicha.errors import KiwichaError

__all__ = ["DynamicRealNode", "HostReal", "HostRealInput", "RealPart"]


def _held(v: NDArray[np.float32], bounds: Bounds | None, relu: bool) -> NDArray[np.float32]:
    """Return values within bounds, what is not finite as it is, and with ``relu`` none negative."""
    if bounds is not None:
        held = np.clip(v, np.float32(bounds[0]), np.float32(bounds[1]))
        v = np.where(np.isfinite(v), held, v)
    return np.asarray(np.maximum(v, np.float32(0)) if relu else v, np.float32)


@dataclass(frozen=True, eq=False)
class RealPart:
    """One of the values that are quantized together.

    Members
    -------
    x : its numbers, uint8 ... x 4 N.
    relu : whether negative ones become 0 first.
    bounds : within which they are held before that, None where they are not.
    factor, offset : what they are multiplied by before, and what is added then, one for each of as
        many numbers as follow each other; both None for neither.
    width : numbers that follow each other in the result; between them are those of other parts.
    """

    x: Tensor
    relu: bool
    width: int
    bounds: Bounds | None = None
    factor: NDArray[np.float32] | None = None
    offset: NDArray[np.float32] | None = None

    @property
    def done(self) -> bool:
        """Whether anything is done to the numbers."""
        return self.relu or self.bounds is not None or self.factor is not None

    def values(self, octets: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return its numbers, lines x ``width``."""
        made = np.ascontiguousarray(octets).reshape(-1).view("<f4").astype(np.float32)
        if self.factor is not None and self.offset is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                scaled = made.reshape(-1, len(self.factor)) * self.factor + self.offset
            made = scaled.reshape(-1).astype(np.float32)
        return _held(made.reshape(-1, self.width), self.bounds, self.relu)


@dataclass(frozen=True, eq=False)
class DynamicRealNode(BaseNode):
    """Binary32 values quantized by the range of all of them, as DynamicQuantizeLinear does.

    Members
    -------
    parts : side by side in the last axis in memory; ``x`` : the first of them.
    y, y_record, target : the codes, uint8, and their scale, as in `DynamicLinearNode`.
    promise : "golden" where the runtime quantizes nothing.
    """

    name: str
    op: str
    x: Tensor
    parts: tuple[RealPart, ...]
    y: Tensor
    y_record: Tensor
    target: int = 0
    promise: Promise = "runtime"
    kind: ClassVar[str] = "dynamic_real"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """All of the values."""
        return tuple(part.x for part in self.parts)

    @property
    def results(self) -> tuple[Tensor, ...]:
        """The codes and the record with their scale."""
        return self.y, self.y_record


@dataclass(frozen=True)
class HostRealInput:
    """A graph input as it is: its numbers for the machine to add.

    Members
    -------
    source : graph input.
    view : steps from it to their order in memory.
    """

    name: str
    source: str
    view: Layout
    tensor: Tensor
    before: HostFunction | None = None
    away: bool = False

    def __call__(self, array: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the tensor's bytes."""
        real = np.ascontiguousarray(self.view.apply(array), "<f4")
        return real.reshape(-1).view(np.uint8).reshape(self.tensor.shape)


@dataclass(frozen=True, eq=False)
class HostReal:
    """A graph output whose numbers are in memory.

    Members
    -------
    tensor : the numbers, 4 bytes each.
    relu, bounds : as of `RealPart`.
    shape : of the graph output ``target``.
    view : steps from the order in memory to it.
    then : what is computed of the values, if anything.
    """

    name: str
    tensor: Tensor
    target: str
    relu: bool
    shape: Shape
    view: Layout
    then: HostFunction | None = None
    bounds: Bounds | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it reads."""
        return (self.tensor,)

    def __call__(self, array: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the graph output from the bytes.

        Raises
        ------
        KiwichaError
            For numbers that are not finite: the machine does not tell which ones.
        """
        real = np.ascontiguousarray(array).reshape(-1).view("<f4").astype(np.float32)
        if not np.isfinite(real).all():
            raise KiwichaError(f"output '{self.target}' has values that are not finite in binary32")
        real = _held(real, self.bounds, self.relu)
        real = self.view.apply(real).reshape(self.shape)
        return real if self.then is None else self.then.run(real)
