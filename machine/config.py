# SPDX-License-Identifier: Apache-2.0
"""The one description of a machine: all its widths and depths derive from it."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from kiwicha.machine.capabilities import (
    Blocks,
    Capability,
    Functions,
    Interleave,
    Pooling,
    Real,
    Residual,
    Sparse,
    Special,
    Statistics,
    Tags,
    Training,
    Update,
)
from kiwicha.machine.modes import CellFamily, RequantizeMode
from kiwicha.machine.require import (
    plain,
    require_choice,
    require_names,
    require_power,
    require_range,
)

__all__ = ["NAME_LENGTH", "PIPELINE", "AcceleratorConfig"]

NAME_LENGTH = 64
"""Of a machine's name at most; it becomes part of the names of files."""

PIPELINE = ("address", "accumulator", "memory", "queue", "requantizer", "slice")
"""Where a machine may have registers that serve the clock alone: they cost cycles of latency."""


@dataclass(frozen=True, kw_only=True)
class AcceleratorConfig:
    """A machine, validated at construction.

    The result bits of a network never depend on anything here but ``requantize_mode`` (those of a
    softmax on ``special.softmax`` too, those of blocks on ``blocks``); the rest changes cycles and
    area.

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
    dynamic: bool = False
    """Whether VECTOR quantizes dynamically, exact to ONNX Runtime's DynamicQuantizeLinear."""
    depthwise: bool = False
    """Whether columns of the array can filter channels of their own: several taps of a depthwise
    convolution at once."""
    forwarding: bool = False
    """Whether STORE writes results to the activation scratchpad and SPECIAL's operands as well,
    past memory."""
    sparse: Sparse = Sparse()
    """Compressed weights."""
    special: Special = Special()
    """The engine SPECIAL."""
    functions: Functions = Functions()
    """Functions of single results on VECTOR's way out."""
    pooling: Pooling = Pooling()
    """Maximum pooling of what is in the accumulators."""
    interleave: Interleave = Interleave()
    """Image rows side by side in the activation scratchpad."""
    residual: Residual = Residual()
    """Sums of two tensors on VECTOR's way out."""
    real: Real = Real()
    """Binary32 values between layers that are quantized dynamically."""
    blocks: Blocks = Blocks()
    """Local dynamic quantization."""
    statistics: Statistics = Statistics()
    """Statistics on the fly."""
    tags: Tags = Tags()
    """Exponents of the activation scratchpad's lines."""
    training: Training = Training()
    """Training in integers."""
    update: Update = Update()
    """The engine UPDATE."""
    pipeline: tuple[str, ...] = PIPELINE
    """Registers for the clock, all of them unless said otherwise; a result a cycle either way:
    address (before COMPUTE's address adders), accumulator (before its adder), memory (behind the
    block RAM of scratchpads, accumulators, parameters and output buffer), queue (behind queues in
    block RAM), requantizer (between the steps of its shifters), slice (register slices of router,
    read arbiter, LOAD's and STORE's addresses cut both directions, not the forward one alone)."""
    queue_words: int = 64
    """64-bit instruction words queued per engine: a power of two, 16 to 1024."""

    def __post_init__(self) -> None:
        for kind in (
            Sparse, Special, Functions, Pooling, Interleave, Residual, Real, Blocks, Statistics,
            Tags, Training, Update,
        ):
            object.__setattr__(self, kind.table, kind.read(getattr(self, kind.table)))
        CellFamily.read(self, "cells")
        RequantizeMode.read(self, "requantize_mode")
        name: object = self.name
        if not isinstance(name, str) or not re.fullmatch(rf"[\w-]{{1,{NAME_LENGTH}}}", name, re.A):
            raise ValueError(
                f"name is {name!r}; legal: letters, digits, '-' and '_', at most {NAME_LENGTH}"
            )
        for field in ("transposer", "dynamic", "depthwise", "forwarding"):
            if type(getattr(self, field)) is not bool:
                raise ValueError(f"{field} is {getattr(self, field)!r}; legal: true or false")
        require_range(self, "rows", 1, 128)
        require_range(self, "columns", 1, 128)
        require_choice(self, "axi_data_width", (64, 128, 256))
        require_range(self, "axi_address_width", 16, 48)
        require_power(self, "axi_burst_beats", 1, 256)
        require_range(self, "axi_outstanding", 1, 16)
        require_power(self, "activation_bytes", 256, 1 << 22)
        require_power(self, "weight_bytes", max(256, 2 * self.rows * self.weight_pitch), 1 << 22)
        require_power(self, "accumulator_depth", 16, 1 << 15)
        require_power(self, "output_bytes", 256, 1 << 22)
        require_power(self, "parameter_channels", max(16, 2 * _ceil_power(self.columns)), 4096)
        require_range(self, "requantize_lanes", 1, min(self.columns, 64))
        require_choice(self, "requantize_multiplier_width", (0, 9, 18))
        require_power(self, "queue_words", 16, 1024)
        require_names(self, "pipeline", PIPELINE)
        for capability in self.capabilities:
            capability.check(self)
        if self.forwarding:
            self._check_forwarding()

    def _check_forwarding(self) -> None:
        """STORE's addresses on chip are as wide as those of the memory port."""
        widest = max(self.activation_bytes, self.special.lanes * self.special.bytes)
        if widest > 1 << self.axi_address_width:
            least = (widest - 1).bit_length()
            raise ValueError(
                f"axi_address_width is {self.axi_address_width}; legal with forwarding: {least} to "
                "48"
            )

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """What the machine has of that which has fields of its own."""
        every = (getattr(self, field.name) for field in fields(self))
        return tuple(value for value in every if isinstance(value, Capability) and value)

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
    def slots(self) -> bool:
        """Whether VECTOR keeps slots of tensors whose range is found as they are made."""
        return self.dynamic or bool(self.training)

    @property
    def fixed_pairs(self) -> bool:
        """Whether SPECIAL adds and multiplies in TFLite's fixed point, and not in binary32."""
        return self.requantize_mode is RequantizeMode.TFLITE

    @property
    def fingerprint(self) -> int:
        """32 bits that tell machines apart; a program carries those of the machine it is for."""
        described = {k: v for k, v in asdict(self).items() if k != "name"}
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).digest()
        return int.from_bytes(digest[:4], "little")

    def replace(self, **changes: Any) -> "AcceleratorConfig":
        """Return a copy with some fields changed, validated again.

        A dictionary for a capability changes some of its fields: ``special={"lanes": 2}``.
        """
        for name, value in changes.items():
            if isinstance(value, dict):
                known = getattr(self, name, None)
                old = known.to_dict() if isinstance(known, Capability) else {}
                changes[name] = {**old, **value}
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON or TOML: a dictionary for each capability."""
        return plain(self)


def _ceil_power(value: int) -> int:
    """Smallest power of two that is not less than ``value``."""
    return 1 << max(0, value - 1).bit_length()
