# SPDX-License-Identifier: Apache-2.0
"""The one description of a machine: all its widths and depths derive from it."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from typing import Any

__all__ = [
    "NAME_LENGTH", "PIPELINE", "WEIGHT_FORMATS", "AcceleratorConfig", "BlockCriterion",
    "BlockRounding", "BlockScale", "CellFamily", "RequantizeMode", "SoftmaxMode",
]

NAME_LENGTH = 64
"""Of a machine's name at most; it becomes part of the names of files."""

WEIGHT_FORMATS = (
    "bitmask", "csc4", "csc5", "csc8", "csc-absolute", "csc4-codebook", "csr", "run-length",
)
"""Compressed weights that a machine may decode, by their names in `machine.isa.WeightFormat`."""

PIPELINE = ("address", "accumulator", "memory", "queue", "requantizer", "slice")
"""Where a machine may have registers that serve the clock alone: they cost cycles of latency."""


class RequantizeMode(str, Enum):
    """How an int32 accumulator becomes int8; each is exact to the runtime it names."""

    ONNX = "onnx"  #: ONNX Runtime on x86-64: binary32 multiply, half to even, zero point added last
    TFLITE = "tflite"  #: gemmlowp double rounding, TFLite's convolutions
    TFLITE_SINGLE = "tflite-single"  #: TFLite built with TFLITE_SINGLE_ROUNDING
    SHIFT = "shift"  #: power-of-two scales, round half up


class SoftmaxMode(str, Enum):
    """How a softmax is computed; each is exact to what it names."""

    ONNX = "onnx"  #: ONNX Runtime's QLinearSoftmax: binary32 sums in order, a division each
    TFLITE = "tflite"  #: TFLite's int8 softmax (gemmlowp fixed point)
    INTEGER = "integer"  #: I-BERT's: 16-bit integer exponentials, one integer division a row


class BlockScale(str, Enum):
    """Scales of local dynamic quantization, after Cambricon-Q."""

    POT = "pot"  #: powers of two: a shift
    FREE = "free"  #: largest magnitude / 127: a division for each block
    MULTIWAY = "multiway"  #: powers of two, the best of several bit widths and clips


class BlockRounding(str, Enum):
    """How a block's values are rounded; `golden.rounding` defines it."""

    HALF_EVEN = "half_even"  #: to nearest, half to even
    HALF_UP = "half_up"  #: to nearest, half towards plus infinity
    HALF_AWAY = "half_away"  #: to nearest, half away from zero
    PSEUDO = "pseudo"  #: up or down by the bits that are dropped, as in NITI
    LFSR = "lfsr"  #: up or down by random words that seed, step and place make


class BlockCriterion(str, Enum):
    """What the best of several ways to quantize a block is; `golden.multiway` defines them."""

    L1 = "l1"  #: least sum of the errors
    L2 = "l2"  #: least sum of their squares
    BIAS = "bias"  #: least error of the sum of magnitudes
    COSINE = "cosine"  #: least angle
    QEM = "qem"  #: the first way whose bias is within a bound


class CellFamily(str, Enum):
    """FPGA family of which multipliers and block RAMs are instantiated."""

    GENERIC = "generic"  #: none: plain `*` and arrays, left to the synthesis tool
    ECP5 = "ecp5"  #: MULT18X18D, DP16KD and PDPW16KD with all their registers
    ICE40 = "ice40"  #: SB_MAC16 of the UltraPlus with all its registers


@dataclass(frozen=True, kw_only=True)
class AcceleratorConfig:
    """A machine, validated at construction.

    The result bits of a network never depend on anything here but ``requantize_mode`` (those of
    blocks also on the fields of blocks); the rest changes cycles and area.

    Raises
    ------
    ValueError
        Names the field, its value and the legal range.
    """

    name: str = "custom"
    """Name used in reports and file names: letters, digits, ``-`` and ``_``, at most 64."""
    rows: int = 16
    """Array rows, the reduction dimension, 1 to 128."""
    columns: int = 16
    """Array columns, the output-channel dimension, 1 to 128."""
    cells: CellFamily = CellFamily.GENERIC
    """FPGA family whose cells multipliers and block RAMs are: generic (none), ecp5 or ice40."""
    axi_data_width: int = 128
    """Bits of a beat on the memory port: 64, 128 or 256."""
    axi_address_width: int = 32
    """Bits of a byte address on the memory port, 16 to 48."""
    axi_burst_beats: int = 64
    """Longest burst in beats: a power of two, 1 to 256. Bursts never cross 4 KiB."""
    axi_outstanding: int = 4
    """Read bursts in flight, 1 to 16."""
    activation_bytes: int = 65536
    """Activation scratchpad in bytes: a power of two, 256 to 4 MiB."""
    weight_bytes: int = 32768
    """Weight scratchpad in bytes: a power of two, 256 to 4 MiB; at least two tiles."""
    accumulator_depth: int = 1024
    """int32 entries a column, two halves: a power of two, 16 to 32768."""
    output_bytes: int = 32768
    """Output buffer in bytes: a power of two, 256 to 4 MiB."""
    parameter_channels: int = 512
    """Channels whose bias and scale fit on chip: a power of two, 16 to 4096."""
    requantize_mode: RequantizeMode = RequantizeMode.ONNX
    """Rounding of the requantizer."""
    requantize_lanes: int = 4
    """Requantizers side by side, 1 to ``columns``, 64 at most; each takes one result a cycle."""
    requantize_multiplier_width: int = 0
    """Widest product the requantizer may use: 0 (one full product), 18 or 9 bit operands."""
    transposer: bool = False
    """Whether LOAD puts activations, plain or transposed, into the weight scratchpad."""
    weight_formats: tuple[str, ...] = ()
    """Compressed weights that LOAD decodes: bitmask (5 columns or more), csc4, csc5, csc8,
    csc-absolute, csc4-codebook, csr, run-length."""
    sparse_entries: int = 4
    """Entries that a decoder takes a cycle at most, 1 to 16."""
    special_lanes: int = 0
    """Lanes of the special function engine: 0 (none), 1, 2, 4, 8 or 16; each an element a cycle."""
    special_bytes: int = 4096
    """Operand memory of a lane in bytes, and as much for results: a power of two, 256 to 1 MiB."""
    special_entries: int = 512
    """Entries of its two tables, the longest row to normalize: a power of two, 256 to 4096."""
    softmax_mode: SoftmaxMode = SoftmaxMode.ONNX
    """Arithmetic of the softmax."""
    dynamic: bool = False
    """Whether VECTOR quantizes dynamically, exact to ONNX Runtime's DynamicQuantizeLinear."""
    block_channels: int = 0
    """Channels of a block that gets a scale of its own: 0 (none) or a power of two, 8 to 1024."""
    block_scale: BlockScale = BlockScale.POT
    """What scales blocks have."""
    block_rounding: BlockRounding = BlockRounding.HALF_EVEN
    """How values are rounded: half_even, half_up, half_away, pseudo or (not multiway) lfsr."""
    block_ways: tuple[tuple[int, int], ...] = ((4, 0), (4, 1), (4, 2), (4, 3))
    """Ways of ``multiway``, 1 to 8 pairs: bits, 2 to 8, and halvings of the range, 0 to 7."""
    block_criterion: BlockCriterion = BlockCriterion.L2
    """What chooses between them: l1, l2, bias, cosine or qem."""
    statistics_elements: int = 0
    """Elements of the largest block whose statistics VECTOR keeps: 0 (none) or a power of two,
    256 to 2^30."""
    pipeline: tuple[str, ...] = PIPELINE
    """Registers for the clock, all of them unless said otherwise; a result a cycle either way:
    address (before COMPUTE's address adders), accumulator (before its adder), memory (behind the
    block RAM of scratchpads, accumulators, parameters and output buffer), queue (behind queues in
    block RAM), requantizer (between the steps of its shifters), slice (register slices of router,
    read arbiter, LOAD's and STORE's addresses cut both directions, not the forward one alone)."""
    queue_words: int = 64
    """64-bit instruction words queued per engine: a power of two, 16 to 1024."""

    def __post_init__(self) -> None:
        # TOML and keyword users write plain strings.
        for field, kind in (
            ("cells", CellFamily),
            ("requantize_mode", RequantizeMode),
            ("softmax_mode", SoftmaxMode),
            ("block_scale", BlockScale),
            ("block_rounding", BlockRounding),
            ("block_criterion", BlockCriterion),
        ):
            value = getattr(self, field)
            try:
                object.__setattr__(self, field, kind(value))
            except ValueError:
                legal = ", ".join(member.value for member in kind)
                raise ValueError(f"{field} is {value!r}; legal: {legal}") from None
        name: object = self.name
        if not isinstance(name, str) or not re.fullmatch(rf"[\w-]{{1,{NAME_LENGTH}}}", name, re.A):
            raise ValueError(
                f"name is {name!r}; legal: letters, digits, '-' and '_', at most {NAME_LENGTH}"
            )
        for known in fields(self):
            value = getattr(self, known.name)
            if known.type in (int, "int") and type(value) is not int:
                raise ValueError(f"{known.name} is {value!r}; legal: an integer")
        self._require_range("rows", 1, 128)
        self._require_range("columns", 1, 128)
        self._require_choice("axi_data_width", (64, 128, 256))
        self._require_range("axi_address_width", 16, 48)
        self._require_power("axi_burst_beats", 1, 256)
        self._require_range("axi_outstanding", 1, 16)
        self._require_power("activation_bytes", 256, 1 << 22)
        self._require_power("weight_bytes", max(256, 2 * self.rows * self.weight_pitch), 1 << 22)
        self._require_power("accumulator_depth", 16, 1 << 15)
        self._require_power("output_bytes", 256, 1 << 22)
        self._require_power("parameter_channels", max(16, 2 * _ceil_power(self.columns)), 4096)
        self._require_range("requantize_lanes", 1, min(self.columns, 64))
        self._require_choice("requantize_multiplier_width", (0, 9, 18))
        for field in ("transposer", "dynamic"):
            if type(getattr(self, field)) is not bool:
                raise ValueError(f"{field} is {getattr(self, field)!r}; legal: true or false")
        if self.block_channels:
            self._require_power("block_channels", 8, 1024)
            if any(size % self.requantize_lanes for size in (self.block_channels, self.columns)):
                legal = f"divisors of block_channels {self.block_channels}, columns {self.columns}"
                raise ValueError(f"requantize_lanes is {self.requantize_lanes}; legal: {legal}")
        self._require_ways()
        if self.block_scale is BlockScale.MULTIWAY and self.block_rounding is BlockRounding.LFSR:
            legal = "half_even, half_up, half_away, pseudo with block_scale multiway"
            raise ValueError(f"block_rounding is 'lfsr'; legal: {legal}")
        if self.statistics_elements:
            self._require_power("statistics_elements", 256, 1 << 30)
        self._require_formats()
        self._require_names("pipeline", PIPELINE)
        self._require_range("sparse_entries", 1, 16)
        self._require_choice("special_lanes", (0, 1, 2, 4, 8, 16))
        self._require_power("special_bytes", 256, 1 << 20)
        self._require_power("special_entries", 256, 4096)
        self._require_power("queue_words", 16, 1024)

    def _require_names(self, field: str, legal: tuple[str, ...]) -> None:
        """Require a list of names, and keep it in the order of ``legal``, each once."""
        names: Any = getattr(self, field)
        if not (isinstance(names, list | tuple) and all(isinstance(n, str) for n in names)):
            raise ValueError(f"{field} is {names!r}; legal: a list of names")
        if unknown := [name for name in names if name not in legal]:
            raise ValueError(f"{field} names {unknown[0]!r}; legal: {', '.join(legal)}")
        object.__setattr__(self, field, tuple(name for name in legal if name in names))

    def _require_formats(self) -> None:
        self._require_names("weight_formats", WEIGHT_FORMATS)
        if "bitmask" in self.weight_formats and self.weight_pitch < 8:
            raise ValueError(
                f"weight_formats names 'bitmask', columns is {self.columns}; legal: 5 to 128"
            )

    def _require_ways(self) -> None:
        ways: Any = self.block_ways
        pairs = isinstance(ways, list | tuple) and all(
            isinstance(way, list | tuple) and [type(n) for n in way] == [int, int] for way in ways
        )
        if not pairs or not 1 <= len(ways) <= 8:
            raise ValueError(f"block_ways is {ways!r}; legal: 1 to 8 pairs of bits and clip")
        for bits, clip in ways:
            if not (2 <= bits <= 8 and 0 <= clip <= 7):
                raise ValueError(
                    f"block_ways has {bits} bits, clip {clip}; legal: 2 to 8 bits, clip 0 to 7"
                )
        object.__setattr__(self, "block_ways", tuple((bits, clip) for bits, clip in ways))

    def _require_range(self, field: str, low: int, high: int) -> None:
        value = getattr(self, field)
        if not low <= value <= high:
            raise ValueError(f"{field} is {value}; legal: {low} to {high}")

    def _require_power(self, field: str, low: int, high: int) -> None:
        value = getattr(self, field)
        if not low <= value <= high or value & (value - 1):
            raise ValueError(f"{field} is {value}; legal: a power of two, {low} to {high}")

    def _require_choice(self, field: str, legal: tuple[int, ...]) -> None:
        value = getattr(self, field)
        if value not in legal:
            raise ValueError(f"{field} is {value}; legal: {', '.join(map(str, legal))}")

    @property
    def random_blocks(self) -> bool:
        """Whether blocks are rounded by random words."""
        return self.block_channels > 0 and self.block_rounding is BlockRounding.LFSR

    @property
    def beat_bytes(self) -> int:
        """Bytes of one beat on the memory port."""
        return self.axi_data_width // 8

    @property
    def activation_banks(self) -> int:
        """Byte banks of the activation scratchpad: any ``rows`` bytes in a row, or one beat."""
        return max(self.beat_bytes, _ceil_power(self.rows))

    @property
    def weight_pitch(self) -> int:
        """Bytes from one array row of weights to the next, in memory and in the scratchpad."""
        return _ceil_power(self.columns)

    @property
    def output_banks(self) -> int:
        """Byte banks of the output buffer: one beat, or one result of every lane."""
        return max(self.beat_bytes, _ceil_power(self.requantize_lanes))

    @property
    def parameter_lanes(self) -> int:
        """Channels of one parameter group: ``requantize_lanes`` rounded up to a power of two."""
        return _ceil_power(self.requantize_lanes)

    @property
    def token_bits(self) -> int:
        """Bits of a token counter: twice what one engine's queue holds, and some to spare.

        A producer is ahead of a consumer by the consumer's queue, and signals for instructions
        that are at most its own queue away.
        """
        return max(6, self.queue_words.bit_length())

    @property
    def fingerprint(self) -> int:
        """32 bits that tell machines apart; a program carries those of the machine it is for."""
        described = {k: v for k, v in asdict(self).items() if k != "name"}
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).digest()
        return int.from_bytes(digest[:4], "little")

    def replace(self, **changes: Any) -> "AcceleratorConfig":
        """Return a copy with some fields changed, validated again."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON or TOML."""
        return {k: v.value if isinstance(v, Enum) else v for k, v in asdict(self).items()}


def _ceil_power(value: int) -> int:
    """Smallest power of two that is not less than ``value``."""
    return 1 << max(0, value - 1).bit_length()
