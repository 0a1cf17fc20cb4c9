# SPDX-License-Identifier: Apache-2.0
"""The node of products of two dynamically quantized tensors."""

from dataclasses import dataclass
from typing import ClassVar

from kiwicha.compiler.graph.node import BaseNode
from kiwicha.compiler.graph.tensor import Tensor

__all__ = ["SCRATCH_BYTES", "DynamicProductNode"]

SCRATCH_BYTES = 8192
"""What any machine needs: parameters of 128 columns, and their zero points."""


@dataclass(frozen=True, eq=False)
class DynamicProductNode(BaseNode):
    """Matrix product of two tensors whose scales Sx and Sz follow from the values: v =
    f(f(sum (x - Zx)(z - Zz)) * f(Sx * Sz)), each f() a rounding to binary32, and y is v quantized
    by its own range. Leading axes broadcast as NumPy's do.

    Members
    -------
    x, z : uint8, ... M K and ... K N, in memory as `ProductNode` has them; ``x_record`` and
        ``slot``, ``z_record`` and ``z_slot`` : their scales, as in `DynamicLinearNode`.
    y : uint8, ... M N, row-major; or rows x 4 N bytes, the int32 sums little endian.
    y_record, target : of y; None where y is the sums.
    scratch : bytes that the machine makes of z's scale and zero point, for itself.
    relu : whether negative v become 0.
    reload : whether slot ``slot`` held something else meanwhile.
    """

    name: str
    op: str
    x: Tensor
    x_record: Tensor
    z: Tensor
    z_record: Tensor
    y: Tensor
    y_record: Tensor | None
    scratch: Tensor
    relu: bool
    slot: int = 0
    z_slot: int = 0
    target: int | None = None
    reload: bool = False
    kind: ClassVar[str] = "dynamic_product"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Both operands, and the records with their scales."""
        return self.x, self.x_record, self.z, self.z_record

    @property
    def results(self) -> tuple[Tensor, ...]:
        """The output and the record with its scale."""
        return (self.y,) if self.y_record is None else (self.y, self.y_record)

    @property
    def columns(self) -> int:
        """Results side by side."""
        return self.z.shape[-1]

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        octets = 4 if self.target is None else 1
        return self.y.size // octets * self.x.shape[-1]
