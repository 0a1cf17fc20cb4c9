# SPDX-License-Identifier: Apache-2.0
"""The one kind of work the machine does: a sliding-window reduction, with its tensors placed.

Convolution, matrix product and pooling all are points of one space: how a window is reduced, and
what it is multiplied with. A matrix product is a 1x1 convolution over an image one pixel wide; a
pooling has the identity matrix for weights, and reduces by maximum, or by sum for an average.
"""

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from kiwicha.compiler.schedule.by_range import Dynamic, Shifted
from kiwicha.compiler.schedule.windows import Windows
from kiwicha.machine.isa import Reduction, VectorMode, WeightFormat

__all__ = [
    "Addend", "Beside", "Blocks", "Contraction", "Found", "Matrix", "Operand", "Place", "Summed",
]


class Operand(Enum):
    """What a layer's window is multiplied with."""

    CONSTANT = "constant"  #: weights
    ACTIVATION = "activation"  #: another tensor of the network
    IDENTITY = "identity"  #: the identity matrix: each channel reduces over itself alone


@dataclass(frozen=True)
class Place:
    """A tensor in memory: NHWC bytes from ``address`` on, dense but for ``pitch`` and ``step``.

    Members
    -------
    pitch : bytes from one image row to the next where it is not those of its pixels; else 0.
    step : bytes from one pixel to the next where there are others between; else 0.
    ragged : whether a row's last pixel reaches into the next row, which is written after it.
    """

    address: int
    images: int
    height: int
    width: int
    channels: int
    pitch: int = 0
    step: int = 0
    ragged: bool = False

    @property
    def pixel_bytes(self) -> int:
        """Bytes from one pixel to the next."""
        return self.step or self.channels

    @property
    def row_bytes(self) -> int:
        """Bytes from one image row to the next."""
        return self.pitch or self.width * self.channels

    @property
    def is_dense(self) -> bool:
        """Whether rows follow each other without a gap."""
        return self.row_bytes == self.width * self.channels

    @property
    def image_bytes(self) -> int:
        """Bytes from one image to the next."""
        return self.height * self.row_bytes


@dataclass(frozen=True)
class Matrix:
    """An activation that serves as weights: for each tap of the kernel, inputs x outputs bytes in
    memory.

    Members
    -------
    form : ROWS where the outputs of an input are side by side, COLUMNS where it is the inputs of
        an output.
    pitch : bytes from one such line to the next.
    row, column : bytes from the matrix of a tap to that of the next kernel row or column.
    within : of these bytes, the place of the first one of a line, where all of them are of one
        tensor; None if they may be anything.
    """

    address: int
    form: WeightFormat
    pitch: int
    signed: bool
    row: int = 0
    column: int = 0
    within: int | None = None


@dataclass(frozen=True)
class Summed:
    """Results that are sums over several works alike.

    Members
    -------
    count : of the works; x, matrix : bytes from the operand of one to that of the next.
    """

    count: int
    x: int
    matrix: int


@dataclass(frozen=True)
class Found:
    """Parameters and zero points that are in memory only when the machine runs.

    Members
    -------
    parameters, size : of a column tile, the same for all tiles, and their bytes.
    zeros : a row of a tile, 255 - zero point each.
    """

    parameters: int
    size: int
    zeros: int


@dataclass(frozen=True)
class Blocks:
    """Results with a scale for every block of channels.

    Members
    -------
    channels : of a block; the last one of a pixel may be shorter.
    scale_bytes : of a block's scale.
    address : where the scales of all blocks go, densely, in the order in which they are made.
    drained : column tiles that a VECTOR drains side by side.
    """

    channels: int
    scale_bytes: int
    address: int
    drained: int


@dataclass(frozen=True)
class Beside:
    """An image whose rows lie byte by byte beside each other on chip: row i of it is ``rows`` rows
    of ``source``, from row ``first`` + i ``step`` on, ``apart`` from each other.

    What lies above or below ``source`` reads as its zero point.
    """

    source: Place
    rows: int
    first: int
    step: int
    apart: int


@dataclass(frozen=True, eq=False)
class Addend:
    """A tensor in memory to which results are added on their way out, or which masks them.

    Members
    -------
    offset : from a result's place in memory to that of the byte it is added to.
    table : uint8, the pair of tables for the sums, as LOAD writes it. None: the result stays where
        that byte, int8, is positive, and is 0 elsewhere.
    """

    offset: int
    table: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Contraction:
    """One layer for the array.

    ``weights`` is ``int8`` or ``uint8`` of shape (outputs, kernel height, kernel width,
    inputs / groups), or None where ``matrix`` stands for it, and where neither does: then the
    operand is the identity. ``bias``, ``multiplier``, ``shift`` and ``weight_zero`` hold one value
    per output channel, in the encoding of `golden.requantize`; with ``dynamic``, ``bias`` and
    ``multiplier`` (the weights' scale) are the bits of binary32 numbers. With the identity, channel
    0 of ``y`` is channel ``skipped`` of ``x``. With ``ones``, ``x`` is no tensor but a row of them.
    With ``windows``, ``y`` has the maxima of the results. With ``shifted``, neither multiplier
    nor shift count. With ``summed``, ``x`` and ``matrix`` are the first of several.
    With ``beside``, ``x`` is as it lies on chip. ``second`` is where the binary32 value lies that
    is added to a result, seen from that; ``slope``, one for each channel, what negative results are
    multiplied by before; or all of them, where there is an ``offset`` that is added then.
    """

    name: str
    op: str
    x: Place
    y: Place
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int]  # top, left; the far sides follow from the output's size
    dilations: tuple[int, int]
    groups: int
    weights: np.ndarray | None
    weight_zero: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    x_signed: bool
    x_zero: int
    pad: int  # what padding reads as once the zero point is off
    y_zero: int
    low: int
    high: int
    matrix: Matrix | None = None
    dynamic: Dynamic | None = None
    reduction: Reduction = Reduction.SUM
    blocks: Blocks | None = None
    skipped: int = 0
    found: Found | None = None
    ones: bool = False
    addend: Addend | None = None
    windows: Windows | None = None
    beside: Beside | None = None
    shifted: Shifted | None = None
    summed: Summed | None = None
    second: int | None = None
    slope: np.ndarray | None = None
    offset: np.ndarray | None = None

    def span(self, axis: int, first: int, count: int) -> tuple[int, int]:
        """Return the first row (or column) of results behind ``count`` of ``y`` from ``first`` on,
        and the one behind the last."""
        if self.windows is None:
            return first, first + count
        return self.windows.span(axis, first, count)

    def computed(self, tile: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return images, rows and columns of results behind those of ``y``, at the most."""
        images, rows, columns = tile
        if self.windows is None:
            return tile
        return images, self.windows.most(0, rows), self.windows.most(1, columns)

    @property
    def operand(self) -> Operand:
        """What the window is multiplied with."""
        if self.matrix is not None:
            return Operand.ACTIVATION
        return Operand.IDENTITY if self.weights is None else Operand.CONSTANT

    @property
    def channelwise(self) -> bool:
        """Whether each channel reduces over itself alone, through one tile for all of them."""
        return self.operand is Operand.IDENTITY

    @property
    def modes(self) -> tuple[VectorMode, ...]:
        """What becomes of the accumulators, one after the other."""
        if self.blocks is not None:
            return (VectorMode.BLOCK,)
        by_range = self.dynamic if self.shifted is None else self.shifted
        if by_range is None:
            return (VectorMode.REQUANTIZE,)
        if by_range.target is None:
            real = self.dynamic is not None and self.dynamic.real
            return (VectorMode.REAL,) if real else (VectorMode.RAW,)
        modes = VectorMode.MEASURE, VectorMode.QUANTIZE
        if self.shifted is not None:
            modes = VectorMode.RANGE, VectorMode.SHIFT
        return {"all": modes, "measure": modes[:1], "quantize": modes[1:]}[by_range.part]

    @property
    def works(self) -> int:
        """Works that results are sums over."""
        return 1 if self.summed is None else self.summed.count

    @property
    def joins_columns(self) -> bool:
        """Whether the weights of a kernel row can be one run: constants are packed as needed."""
        matrix = self.matrix
        return matrix is None or (matrix.form == WeightFormat.ROWS and self.x.channels == 1)

    @property
    def drained(self) -> int:
        """Column tiles that a VECTOR drains side by side."""
        return 1 if self.blocks is None else self.blocks.drained

    @property
    def octets(self) -> int:
        """Bytes of a result."""
        return 4 if self.modes[0] in (VectorMode.RAW, VectorMode.REAL) else 1

    @property
    def adds(self) -> bool:
        """Whether results are added to something in memory, which lies as they do."""
        return self.addend is not None or self.second is not None

    @property
    def written(self) -> Place:
        """``y`` with the bytes of its channels for channels."""
        return replace(self.y, channels=self.y.channels * self.octets)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the layer, taps in the padding included; 0 for pooling."""
        if self.channelwise:
            return 0
        taps = self.kernel[0] * self.kernel[1] * self.x.channels // self.groups
        size = (self.y.height, self.y.width) if self.windows is None else self.windows.size
        taps *= self.works
        return self.y.images * size[0] * size[1] * self.y.channels * taps
