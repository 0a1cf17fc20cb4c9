# SPDX-License-Identifier: Apache-2.0
"""A linear layer whose results are quantized by blocks, and what the host makes of them.

After Cambricon-Q: every block of channels of a pixel has a scale of its own, made of the block's
own int32 sums. Codes and scales lie in memory; nothing on the machine reads them.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.dynamic_edges import HostDynamicDequantize
from kiwicha.compiler.graph.nodes import ConvNode, DynamicLinearNode, MatMulNode, ViewNode
from kiwicha.compiler.graph.tensor import Shape, Tensor
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.modes import BlockScale

__all__ = ["BlocksNode", "HostBlockDequantize", "Linear"]

Linear = ConvNode | MatMulNode | DynamicLinearNode

_MAGNITUDE = 127  # of a free scale, the code that a block's greatest magnitude gets


@dataclass(frozen=True, eq=False)
class BlocksNode:
    """Sums of a linear layer, its bias included, each block of channels with a scale of its own.

    Members
    -------
    linear : the layer; its own output counts for nothing.
    y : int8 codes, channels last in memory.
    scales : bytes, pixels x blocks x those of a scale (`machine.blocks.scale_bytes`).
    config : its block fields say how the codes come about, `golden.vector.quantized_pixels`.
    """

    name: str
    op: str
    linear: Linear
    y: Tensor
    scales: Tensor
    config: AcceleratorConfig
    kind: ClassVar[str] = "blocks"
    promise: ClassVar[Literal["golden"]] = "golden"

    @property
    def x(self) -> Tensor:
        """The operand."""
        return self.linear.x

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the layer reads."""
        return self.linear.inputs

    @property
    def results(self) -> tuple[Tensor, ...]:
        """Codes and scales."""
        return self.y, self.scales

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return self.linear.macs


@dataclass(frozen=True, eq=False)
class HostBlockDequantize:
    """The float graph output from codes and scales: code times the block's scale is a sum again.

    Of a sum it makes the float as the layer says: in binary64 clip(sum * factor, low, high),
    rounded to binary32 once; or as `HostDynamicDequantize` does.

    Members
    -------
    tensor, scales : codes, and scales as `BlocksNode` has them.
    factor : binary64, Sx * Sw of each channel.
    low, high : what the codes of the layer's own output reach, a Relu or Clip among them.
    sums : of a layer with dynamic scales, else None.
    views : reshapes and transposes behind the layer.
    shape : of the graph output ``target``.
    """

    name: str
    tensor: Tensor
    scales: Tensor
    config: AcceleratorConfig
    target: str
    factor: NDArray[np.float64]
    low: float
    high: float
    sums: HostDynamicDequantize | None
    views: tuple[ViewNode, ...]
    shape: Shape

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it reads."""
        record = () if self.sums is None else (self.sums.record,)
        return self.tensor, self.scales, *record

    def __call__(
        self, codes: NDArray[Any], scales: NDArray[np.uint8], record: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Return the graph output; arrays in ONNX order."""
        unit = np.repeat(self._units(scales), self.config.blocks.channels, axis=1)
        rows = self._rows(codes)
        return self.real(self._tensor(rows * unit[:, : rows.shape[1]]), record)

    def real(
        self, totals: NDArray[Any], record: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Return the graph output for sums, in ONNX order, that need not be integers."""
        if self.sums is not None:
            assert record is not None
            return self.sums.real(totals.astype(np.float32), record)
        return self.placed(
            self._tensor(np.clip(self._rows(totals) * self.factor, self.low, self.high))
        )

    def placed(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the layer's float values, in ONNX order, as the graph output has them."""
        for view in self.views:
            values = (
                values.reshape(view.y.shape) if view.axes is None else values.transpose(view.axes)
            )
        with np.errstate(over="ignore"):
            return values.reshape(self.shape).astype(np.float32)

    def _units(self, scales: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return pixels x blocks: what a code of 1 stands for."""
        if self.config.blocks.scale is BlockScale.FREE:
            magnitude = np.ascontiguousarray(scales).view("<u4")[..., 0]
            return np.asarray(magnitude / _MAGNITUDE)
        return np.asarray(2.0 ** scales[..., 0])

    def _rows(self, array: NDArray[Any]) -> NDArray[np.float64]:
        """Return pixels x channels of an array in ONNX order."""
        flat = self.tensor.layout.apply(array.reshape(self.tensor.shape))
        return flat.reshape(-1, self.tensor.image[1]).astype(np.float64)

    def _tensor(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.tensor.layout.invert(rows.reshape(-1), self.tensor.shape)
