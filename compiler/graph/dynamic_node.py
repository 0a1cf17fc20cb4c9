# SPDX-License-Identifier: Apache-2.0
"""The node of dynamically quantized graphs; what all nodes have is in `compiler.graph.nodes`."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.tensor import Tensor

__all__ = ["DynamicLinearNode"]


@dataclass(frozen=True, eq=False)
class DynamicLinearNode:
    """A linear layer whose input's scale Sx, and its output's, follow from the values, as ONNX's
    DynamicQuantizeLinear has it: v = f(f(f(sum (x - Zx)(w - weight_zero)) * f(Sx * w_scale)) +
    bias), each f() a rounding to binary32, and y is v quantized by its own range.

    Members
    -------
    x : uint8, ... K, row-major; ``x_record`` : its scale and zero point, a record of all slots of
        which only that of number ``slot`` counts (`machine.isa.LoadTarget.DYNAMIC`).
    y : uint8, ... N, row-major; or ... 4 N bytes, the int32 sums little endian, of which the host
        makes v.
    y_record, target : as ``x_record`` and ``slot``, of y; None where y is the sums.
    weights : int8, K x N; weight_zero, w_scale, bias : one per column.
    relu : whether negative v become 0.
    """

    name: str
    op: str
    x: Tensor
    x_record: Tensor
    y: Tensor
    y_record: Tensor | None
    weights: NDArray[np.int8]
    weight_zero: NDArray[np.int16]
    w_scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    relu: bool
    slot: int = 0
    target: int | None = None
    kind: ClassVar[str] = "dynamic"
    promise: ClassVar[Literal["runtime", "golden"]] = "runtime"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The operand and the record with its scale."""
        return self.x, self.x_record

    @property
    def results(self) -> tuple[Tensor, ...]:
        """The output and the record with its scale."""
        return (self.y,) if self.y_record is None else (self.y, self.y_record)

    @property
    def rows(self) -> int:
        """All leading dimensions multiplied."""
        return self.x.size // self.weights.shape[0]

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return self.rows * self.weights.size
