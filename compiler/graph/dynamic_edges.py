# SPDX-License-Identifier: Apache-2.0
"""Float edges of dynamically quantized graphs: what the host does with scales of its own.

Scales and zero points lie in records of all slots of the machine, 16 bytes each: a binary32 and a
uint8. The arithmetic is that of ONNX Runtime's DynamicQuantizeLinear, and of Cast, Mul, Add and
Relu behind MatMulInteger.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.host_operators import HostFunction
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout
from kiwicha.compiler.graph.tensor import Shape, Tensor
from kiwicha.errors import InputError
from kiwicha.machine.records import SLOT_RECORD

__all__ = ["RECORD_BYTES", "HostDynamicDequantize", "HostDynamicQuantize", "HostSums"]

RECORD_BYTES = 64
"""Bytes of a record."""


def _scale(record: NDArray[Any], slot: int) -> np.float32:
    return np.float32(np.ascontiguousarray(record).view(SLOT_RECORD)["scale"][slot])


@dataclass(frozen=True)
class HostDynamicQuantize:
    """DynamicQuantizeLinear of a graph input.

    Members
    -------
    source : graph input.
    view : reshapes of the input before it is quantized.
    tensor, record, slot : what the machine reads, and where scale and zero point are.
    before : what is computed of the input before that, if anything.
    """

    name: str
    source: str
    view: Layout
    tensor: Tensor
    record: Tensor
    slot: int = 0
    before: HostFunction | None = None

    def __call__(self, array: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Return the tensor's values, and a record with this slot alone.

        Raises
        ------
        InputError
            For values that are not finite, or whose range is not.
        """
        given = array if self.before is None else self.before.run(array)
        real = self.view.apply(given).astype(np.float32)
        low, high = np.minimum(real.min(), np.float32(0)), np.maximum(real.max(), np.float32(0))
        with np.errstate(over="ignore", invalid="ignore"):
            extent = np.float32(high - low)
        if not np.isfinite(extent):
            raise InputError(
                f"input '{self.source}' has values from {low:g} to {high:g}; to be quantized "
                "dynamically, they and their range in binary32 must be finite"
            )
        scale, zero = np.float32(1), np.float32(0)
        if low != high:
            scale = np.float32(extent / np.float32(255))
            # A range so small that its scale rounds to 0: as with the runtime, 0 / 0 ends up there.
            zero = np.rint(np.clip(-low / scale, 0, 255)) if scale else np.float32(255)
        with np.errstate(divide="ignore", invalid="ignore"):
            codes = np.nan_to_num(np.rint(real / scale) + zero, nan=0, posinf=255, neginf=0)
        codes = np.clip(codes, 0, 255).astype(np.uint8)
        record = np.zeros(RECORD_BYTES // SLOT_RECORD.itemsize, SLOT_RECORD)
        record["scale"][self.slot], record["zero_point"][self.slot] = scale, zero
        return codes.reshape(self.tensor.shape), record.view(np.uint8)


@dataclass(frozen=True, eq=False)
class HostDynamicDequantize:
    """The float values of a linear layer from its int32 sums: f(f(f(sum) * f(Sx * w_scale)) +
    bias).

    Members
    -------
    tensor : the sums, 4 bytes each.
    record, slot : where the scale Sx of the layer's input is.
    w_scale, bias : one per column.
    other, second : record and slot of the scale that takes the place of ``w_scale``, of a product
        of two such tensors.
    shape : of the graph output ``target``.
    view : steps from rows x columns to it.
    then : what is computed of the float values, if anything.
    """

    name: str
    tensor: Tensor
    record: Tensor
    slot: int
    target: str
    w_scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    relu: bool
    shape: Shape
    view: Layout = ROW_MAJOR
    other: Tensor | None = None
    second: int = 0
    then: HostFunction | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it reads."""
        return self.tensor, self.record, *([] if self.other is None else [self.other])

    def __call__(
        self, array: NDArray[Any], record: NDArray[Any], other: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Return the graph output from the bytes of the sums and of the records."""
        total = np.ascontiguousarray(array).view("<i4").astype(np.float32)
        return self.real(total, record, other)

    def real(
        self, total: NDArray[np.float32], record: NDArray[Any], other: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Return the graph output from sums that were rounded to binary32."""
        scale, w_scale = _scale(record, self.slot), self.w_scale
        if other is not None:
            w_scale = np.asarray(_scale(other, self.second))
        with np.errstate(over="ignore", invalid="ignore"):
            real = total * (scale * w_scale) + self.bias
        real = np.maximum(real, np.float32(0)) if self.relu else real
        real = self.view.apply(real).reshape(self.shape)
        return real if self.then is None else self.then.run(real)


@dataclass(frozen=True, eq=False)
class HostSums:
    """The int32 sums of a linear layer as graph output.

    Members
    -------
    tensor : the sums, 4 bytes each.
    shape : of the graph output ``target``.
    view : steps from rows x columns to it.
    """

    name: str
    tensor: Tensor
    target: str
    shape: Shape
    view: Layout

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it reads."""
        return (self.tensor,)

    def __call__(self, array: NDArray[Any]) -> NDArray[np.int32]:
        """Return the graph output from the bytes of the sums."""
        total = np.ascontiguousarray(array).view("<i4").astype(np.int32)
        return self.view.apply(total).reshape(self.shape)
