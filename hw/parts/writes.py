# SPDX-License-Identifier: Apache-2.0
"""What LOAD writes: beats into any memory of an engine, rows or columns of weights, and bytes of
activations that are apart."""

from typing import TYPE_CHECKING

from amaranth.lib import data, stream
from amaranth.lib.wiring import Flow, Member

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import LoadTarget

if TYPE_CHECKING:  # Amaranth has no types; to a type checker its enums are the library's
    import enum
else:
    from amaranth.lib import enum

__all__ = [
    "WriteKind", "bank_write", "forward_port", "scratchpad_write", "weight_banks", "weight_write",
]


class WriteKind(enum.IntEnum, shape=2):
    """Where the bytes of a write go."""

    BEAT = 0  #: a whole beat, aligned
    ROW = 1  #: side by side in one row, with a transposer or weight formats
    COLUMN = 2  #: one below the other in one column, with a transposer


def scratchpad_write(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return a write of one beat; ``address`` is in bytes, a multiple of a beat."""
    return data.StructLayout({"target": LoadTarget, "address": 32, "data": cfg.axi_data_width})


def forward_port(cfg: AcceleratorConfig, flow: Flow) -> dict[str, Member]:
    """Return the port by which STORE gives LOAD beats for memories on chip, as a member of one of
    them, if there is one."""
    return {"forward": flow(stream.Signature(scratchpad_write(cfg)))} if cfg.forwarding else {}


def bank_write(cfg: AcceleratorConfig) -> data.ArrayLayout:
    """Return a write of a byte to each bank of the activation scratchpad that is ``live``."""
    depth = cfg.activation_bytes // cfg.activation_banks
    byte = data.StructLayout({"octet": 8, "live": 1, "word": range(depth)})
    return data.ArrayLayout(byte, cfg.activation_banks)


def weight_banks(cfg: AcceleratorConfig) -> int:
    """Return the bytes of a super-row: a beat or a row, whichever is wider."""
    return max(cfg.beat_bytes, cfg.weight_pitch)


def weight_write(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return a write of ``data[0]`` to ``data[live]``.

    BEAT writes a beat, whatever ``live`` says, from byte row * weight_pitch + column on, which must
    be a multiple of a beat. ROW writes byte i to (row, column + i), which must be in the same row;
    without a transposer ``column`` must be 0. COLUMN writes byte i to (row + i, column), a beat's
    bytes at the most. Nothing may lie beyond the last row.
    """
    return data.StructLayout({
        "kind": WriteKind,
        "row": range(cfg.weight_bytes // cfg.weight_pitch),
        "column": range(cfg.weight_pitch),
        "live": range(weight_banks(cfg)),
        "data": data.ArrayLayout(8, weight_banks(cfg)),
    })
