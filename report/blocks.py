# SPDX-License-Identifier: Apache-2.0
"""What layers quantized by blocks are worth: plain values for JSON, and lines."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["BlocksReport", "block_lines"]


@dataclass(frozen=True)
class BlocksReport:
    """A graph output that comes from blocks, beside the float of the layer's int32 sums.

    Members
    -------
    channels, scale, rounding : of a block, its kind of scale, and how values are rounded.
    code_bytes, scale_bytes : in memory.
    decibels : signal to noise of the output; None where there is no noise, or no signal.
    static_decibels : the same of the model's own scale; None also where that is dynamic, or is none
        that the machine's requantize_mode can have.
    """

    layer: str
    output: str
    channels: int
    scale: str
    rounding: str
    code_bytes: int
    scale_bytes: int
    decibels: float | None
    static_decibels: float | None


def block_lines(reports: Sequence[BlocksReport]) -> list[str]:
    """Return a line for each output."""
    return [
        f"{report.layer}: '{report.output}' comes from blocks of {report.channels} channels "
        f"({report.scale} scales, rounded {report.rounding}; {report.code_bytes:,} B of codes, "
        f"{report.scale_bytes:,} B of scales); no runtime defines them. Signal to noise against "
        f"the int32 sums: {_decibels(report.decibels)}, with the model's own scale "
        f"{_decibels(report.static_decibels)}"
        for report in reports
    ]


def _decibels(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} dB"
