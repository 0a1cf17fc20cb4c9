# SPDX-License-Identifier: Apache-2.0
"""What a machine may have beyond the array: capabilities, each with fields of its own.

A capability is absent unless its first field says otherwise, and nothing is built for an absent
one. `AcceleratorConfig` holds one of each kind; a file gives a table to each, as in
``[special]`` with ``lanes = 4``.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from kiwicha.machine.capability import Capability, Machine
from kiwicha.machine.line_tags import tag_banks
from kiwicha.machine.modes import BlockCriterion, BlockRounding, BlockScale, SoftmaxMode
from kiwicha.machine.require import (
    require_choice,
    require_names,
    require_power,
    require_range,
)

__all__ = [
    "FORMER", "WEIGHT_FORMATS", "Blocks", "Capability", "Functions", "Interleave", "Machine",
    "Pooling", "Real", "Residual", "Sparse", "Special", "Statistics", "Tags", "Training", "Update",
]

WEIGHT_FORMATS = (
    "bitmask", "csc4", "csc5", "csc8", "csc-absolute", "csc4-codebook", "csr", "run-length",
)
"""Compressed weights that a machine may decode, by their names in `machine.isa.WeightFormat`."""


@dataclass(frozen=True, kw_only=True)
class Sparse(Capability):
    """Compressed weights, which LOAD decodes on their way into the weight scratchpad."""

    table: ClassVar[str] = "sparse"
    formats: tuple[str, ...] = ()
    """Which: bitmask (5 columns or more), csc4, csc5, csc8, csc-absolute, csc4-codebook, csr,
    run-length; kept in this order."""
    entries: int = 4
    """Entries that a decoder takes a cycle at most, 1 to 16."""

    def __post_init__(self) -> None:
        require_names(self, "formats", WEIGHT_FORMATS)
        require_range(self, "entries", 1, 16)

    def check(self, machine: Machine) -> None:
        """A bitmask comes in whole bytes a row."""
        if "bitmask" in self.formats and machine.weight_pitch < 8:
            raise ValueError(
                f"sparse.formats names 'bitmask', columns is {machine.columns}; legal: 5 to 128"
            )


@dataclass(frozen=True, kw_only=True)
class Special(Capability):
    """The engine SPECIAL: tables, sums of two tensors, softmax, layer normalization."""

    table: ClassVar[str] = "special"
    lanes: int = 0
    """Lanes: 0 (none), 1, 2, 4, 8 or 16; each an element a cycle."""
    bytes: int = 4096
    """Operand memory of a lane in bytes, and as much for results: a power of two, 256 to 1 MiB."""
    entries: int = 512
    """Entries of its two tables, the longest row to normalize: a power of two, 256 to 4096."""
    softmax: SoftmaxMode = SoftmaxMode.ONNX
    """Arithmetic of the softmax."""
    digits: int = 1
    """Digits a cycle, 1 or 2, of the root and the quotient of a row to normalize."""

    def __post_init__(self) -> None:
        require_choice(self, "lanes", (0, 1, 2, 4, 8, 16))
        require_choice(self, "digits", (1, 2))
        require_power(self, "bytes", 256, 1 << 20)
        require_power(self, "entries", 256, 4096)
        SoftmaxMode.read(self, "softmax")


@dataclass(frozen=True, kw_only=True)
class Blocks(Capability):
    """Local dynamic quantization: a scale for every block of channels, after Cambricon-Q."""

    table: ClassVar[str] = "blocks"
    channels: int = 0
    """Channels of a block that gets a scale of its own: 0 (none) or a power of two, 8 to 1024."""
    scale: BlockScale = BlockScale.POT
    """What scales blocks have."""
    rounding: BlockRounding = BlockRounding.HALF_EVEN
    """How values are rounded: half_even, half_up, half_away, pseudo or (not multiway) lfsr."""
    ways: tuple[tuple[int, int], ...] = ((4, 0), (4, 1), (4, 2), (4, 3))
    """Ways of ``multiway``, 1 to 8 pairs: bits, 2 to 8, and halvings of the range, 0 to 7."""
    criterion: BlockCriterion = BlockCriterion.L2
    """What chooses between them: l1, l2, bias, cosine or qem."""

    def __post_init__(self) -> None:
        if self.channels:
            require_power(self, "channels", 8, 1024)
        BlockScale.read(self, "scale")
        BlockRounding.read(self, "rounding")
        BlockCriterion.read(self, "criterion")
        self._require_ways()
        if self.scale is BlockScale.MULTIWAY and self.rounding is BlockRounding.LFSR:
            legal = "half_even, half_up, half_away, pseudo with blocks.scale multiway"
            raise ValueError(f"blocks.rounding is 'lfsr'; legal: {legal}")

    def _require_ways(self) -> None:
        ways: Any = self.ways
        pairs = isinstance(ways, list | tuple) and all(
            isinstance(way, list | tuple) and [type(n) for n in way] == [int, int] for way in ways
        )
        if not pairs or not 1 <= len(ways) <= 8:
            raise ValueError(f"blocks.ways is {ways!r}; legal: 1 to 8 pairs of bits and clip")
        for bits, clip in ways:
            if not (2 <= bits <= 8 and 0 <= clip <= 7):
                raise ValueError(
                    f"blocks.ways has {bits} bits, clip {clip}; legal: 2 to 8 bits, clip 0 to 7"
                )
        object.__setattr__(self, "ways", tuple((bits, clip) for bits, clip in ways))

    def check(self, machine: Machine) -> None:
        """A block is a whole number of steps of VECTOR."""
        sizes = (self.channels, machine.columns)
        if self.channels and any(size % machine.requantize_lanes for size in sizes):
            legal = f"divisors of blocks.channels {self.channels}, columns {machine.columns}"
            raise ValueError(f"requantize_lanes is {machine.requantize_lanes}; legal: {legal}")

    @property
    def random(self) -> bool:
        """Whether blocks are rounded by random words."""
        return self.channels > 0 and self.rounding is BlockRounding.LFSR


@dataclass(frozen=True, kw_only=True)
class Statistics(Capability):
    """Statistics of what VECTOR writes, on the fly."""

    table: ClassVar[str] = "statistics"
    elements: int = 0
    """Elements of the largest block whose statistics VECTOR keeps: 0 (none) or a power of two,
    256 to 2^30."""

    def __post_init__(self) -> None:
        if self.elements:
            require_power(self, "elements", 256, 1 << 30)


@dataclass(frozen=True, kw_only=True)
class Functions(Capability):
    """Functions of single results on VECTOR's way out: LeakyRelu, HardSwish and others cost no pass
    of their own."""

    table: ClassVar[str] = "functions"
    tables: int = 0
    """Tables of 256 bytes, in each requantizer lane: 0 (none), 2, 4 or 8; two let one be loaded
    while the other is in use."""

    def __post_init__(self) -> None:
        require_choice(self, "tables", (0, 2, 4, 8))


@dataclass(frozen=True, kw_only=True)
class Pooling(Capability):
    """Maximum pooling in VECTOR, of results that are still in the accumulators: behind a
    convolution it costs no pass of its own."""

    table: ClassVar[str] = "pooling"
    window: int = 0
    """Rows and columns of the largest window: 0 (none) or 2 to 15."""

    def __post_init__(self) -> None:
        if type(self.window) is not int or self.window not in (0, *range(2, 16)):
            raise ValueError(f"pooling.window is {self.window!r}; legal: 0, 2 to 15")


@dataclass(frozen=True, kw_only=True)
class Interleave(Capability):
    """Image rows byte by byte beside each other, as LOAD reads them: several kernel rows fill the
    array's rows where there are few channels."""

    table: ClassVar[str] = "interleave"
    rows: tuple[int, ...] = ()
    """How many rows: odd numbers, 3 to 15; each of them costs a multiplexer a bank."""

    def __post_init__(self) -> None:
        rows: Any = self.rows
        if not (isinstance(rows, list | tuple) and all(type(each) is int for each in rows)):
            raise ValueError(f"interleave.rows is {rows!r}; legal: a list of integers")
        for each in rows:
            if not 3 <= each <= 15 or each % 2 == 0:
                raise ValueError(f"interleave.rows has {each}; legal: odd numbers, 3 to 15")
        object.__setattr__(self, "rows", tuple(sorted(set(rows))))


@dataclass(frozen=True, kw_only=True)
class Residual(Capability):
    """Sums with a tensor in memory on VECTOR's way out: what adds up two branches costs no pass of
    its own."""

    table: ClassVar[str] = "residual"
    tables: int = 0
    """Pairs of tables, in each requantizer lane: 0 (none) or 2, of which one is loaded while the
    other is in use. Beside them there is a second memory of ``output_bytes``."""

    def __post_init__(self) -> None:
        require_choice(self, "tables", (0, 2))


@dataclass(frozen=True, kw_only=True)
class Training(Capability):
    """Training in integers, after NITI (arXiv 2009.13108): results that are shifted by their own
    range, errors behind an activation, weights updated on VECTOR's way out, the loss in SPECIAL."""

    table: ClassVar[str] = "training"
    classes: int = 0
    """Longest row of logits: 0 (no training) or a power of two, 16 to 1024."""

    def __post_init__(self) -> None:
        if self.classes:
            require_power(self, "classes", 16, 1024)

    def check(self, machine: Machine) -> None:
        """Its units stand on the way out, in SPECIAL and in LOAD."""
        needs = {
            "residual.tables": (machine.residual.tables, "2"),
            "special.lanes": (machine.special.lanes, "1, 2, 4, 8, 16"),
            "transposer": (machine.transposer, "true"),
        }
        for field, (value, legal) in needs.items():
            if not value:
                shown = "false" if value is False else value
                raise ValueError(f"{field} is {shown}; legal with training.classes: {legal}")


@dataclass(frozen=True, kw_only=True)
class Tags(Capability):
    """Quantized buffer control, after Cambricon-Q: an exponent for each line of the activation
    scratchpad, so that one run can have lanes of several quantizations."""

    table: ClassVar[str] = "tags"
    lines: bool = False
    """Whether lines, a beat each, have exponents; COMPUTE brings lanes to a unit of its own."""

    def __post_init__(self) -> None:
        if type(self.lines) is not bool:
            raise ValueError(f"tags.lines is {self.lines!r}; legal: true, false")

    def check(self, machine: Machine) -> None:
        """Exponents of the lines of a run lie in banks of their own, of two words at least."""
        least = 2 * tag_banks(machine.rows, machine.beat_bytes) * machine.beat_bytes
        if self.lines and machine.activation_bytes < least:
            raise ValueError(
                f"activation_bytes is {machine.activation_bytes}; legal with tags.lines: at least "
                f"{least} here"
            )


@dataclass(frozen=True, kw_only=True)
class Real(Capability):
    """Binary32 values in memory, of layers that are quantized dynamically: VECTOR writes them, adds
    them to others, and quantizes them; slopes for negative values."""

    table: ClassVar[str] = "real"
    bytes: int = 0
    """Memory of second operands in bytes: 0 (none) or a power of two, 512 to 1 MiB."""
    functions: bool = False
    """Bounds (Clip), factors and offsets of a channel, and products of two values, too."""

    def __post_init__(self) -> None:
        if self.bytes:
            require_power(self, "bytes", 512, 1 << 20)
        elif self.functions:
            raise ValueError("real.functions is true, real.bytes is 0; legal: false, or real.bytes")

    def check(self, machine: Machine) -> None:
        """Only what is quantized dynamically has such values; a step reads an operand a lane."""
        if not machine.dynamic:
            raise ValueError(f"real.bytes is {self.bytes}, dynamic is false; legal: 0, or dynamic")
        least = max(4 * machine.beat_bytes, 16 * machine.requantize_lanes)
        if self.bytes < least:
            raise ValueError(f"real.bytes is {self.bytes}; legal: at least {least} here")


@dataclass(frozen=True, kw_only=True)
class Update(Capability):
    """The engine UPDATE: optimizers of weights in memory, in place, after Cambricon-Q's NDPO."""

    table: ClassVar[str] = "update"
    lanes: int = 0
    """Weights that are updated in a cycle: 0 (none) or 1, 2, 4 or 8, ``axi_data_width`` / 32 at
    most; as many keep up with plain SGD, half of them with moments."""

    def __post_init__(self) -> None:
        require_choice(self, "lanes", (0, 1, 2, 4, 8))

    def check(self, machine: Machine) -> None:
        """No more lanes than a beat has weights."""
        most = machine.axi_data_width // 32
        if self.lanes > most:
            raise ValueError(
                f"update.lanes is {self.lanes}, axi_data_width is {machine.axi_data_width}; "
                f"legal: 0 to {most}"
            )


FORMER: dict[str, tuple[type[Capability], str]] = {
    "weight_formats": (Sparse, "formats"),
    "sparse_entries": (Sparse, "entries"),
    "special_lanes": (Special, "lanes"),
    "special_bytes": (Special, "bytes"),
    "special_entries": (Special, "entries"),
    "softmax_mode": (Special, "softmax"),
    "block_channels": (Blocks, "channels"),
    "block_scale": (Blocks, "scale"),
    "block_rounding": (Blocks, "rounding"),
    "block_ways": (Blocks, "ways"),
    "block_criterion": (Blocks, "criterion"),
    "statistics_elements": (Statistics, "elements"),
}
"""Fields by the names that they had in files of version 0.1, which are still read."""
