# SPDX-License-Identifier: Apache-2.0
"""Formats that a machine loads, and what a LOAD of theirs must look like."""

from collections.abc import Collection

from amaranth.hdl import Cat, Module, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.utils import exact_log2

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.formats import compressed_formats
from kiwicha.machine.isa import LoadTarget, WeightFormat

__all__ = ["MATRICES", "format_job", "illegal_format", "machine_formats", "read_job"]

MATRICES = (WeightFormat.ROWS, WeightFormat.COLUMNS)
"""Formats of matrices as they are; all others but DENSE and INTERLEAVED are compressed."""


def machine_formats(cfg: AcceleratorConfig) -> tuple[WeightFormat, ...]:
    """Return the formats that LOAD takes besides DENSE."""
    interleaved = (WeightFormat.INTERLEAVED,) if cfg.interleave else ()
    return (*(MATRICES if cfg.transposer else ()), *interleaved, *compressed_formats(cfg))


def illegal_format(
    m: Module, cfg: AcceleratorConfig, asked: data.View, formats: Collection[WeightFormat]
) -> Value:
    """Return whether an instruction's format, or a field that depends on it, is illegal.

    Parameters
    ----------
    asked : view of ``machine.isa.LOAD``, or of ``machine.isa.STORE`` if ``formats`` is empty.
    formats : legal ones besides DENSE.
    """
    beat, row = exact_log2(cfg.beat_bytes), exact_log2(cfg.weight_pitch)
    illegal = Signal(init=1)
    matrices = [name for name in formats if name in MATRICES]
    others = (*MATRICES, WeightFormat.INTERLEAVED)
    compressed = [name for name in formats if name not in others]
    with m.Switch(asked.format):
        with m.Case(WeightFormat.DENSE):
            m.d.comb += illegal.eq(
                Cat(
                    asked.extent,
                    asked.address[:beat] != asked.local[:beat],
                    (asked.segments != 1) & (asked.pitch[:beat] != asked.local_pitch[:beat]),
                ).any()
            )
        if matrices:
            with m.Case(*matrices):
                m.d.comb += illegal.eq(
                    Cat(
                        asked.target != LoadTarget.WEIGHT,
                        asked.extent == 0,
                        asked.local[:row],
                        asked.local_pitch[:row],
                    ).any()
                )
        if WeightFormat.INTERLEAVED in formats:
            with m.Case(WeightFormat.INTERLEAVED):
                known = Cat(asked.extent == rows for rows in cfg.interleave.rows).any()
                m.d.comb += illegal.eq((asked.target != LoadTarget.ACTIVATION) | ~known)
        if compressed:
            with m.Case(*compressed):
                m.d.comb += illegal.eq(
                    Cat(
                        asked.target != LoadTarget.WEIGHT,
                        asked.extent,
                        asked.local[:row],
                        asked.local_pitch,
                        asked.segments != 1,
                        asked.address[:beat],
                        asked.length[:beat],
                    ).any()
                )
    return illegal


def format_job(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return what the unit that writes an instruction's data must know, besides its bytes.

    ``row`` is the first weight row, ``row_pitch`` the weight rows from one tile to the next;
    ``extent`` is the instruction's, ``columns`` and ``rows`` are those of a compressed stream. Only
    with ``interleave``: ``low`` and ``low_pitch`` are what of places in bytes is below such rows.
    """
    row = exact_log2(cfg.weight_pitch)
    bits = 32 - row
    low = {"low": unsigned(row), "low_pitch": unsigned(row)} if cfg.interleave else {}
    return data.StructLayout({
        "format": unsigned(4),
        "row": unsigned(bits),
        "row_pitch": signed(bits),
        "extent": unsigned(16),
        "columns": unsigned(16),
        "rows": unsigned(16),
        **low,
    })


def read_job(cfg: AcceleratorConfig, job: data.View, asked: data.View) -> list[object]:
    """Return the statements that set ``job`` to what the LOAD ``asked`` says."""
    row = exact_log2(cfg.weight_pitch)
    low = [job.low.eq(asked.local), job.low_pitch.eq(asked.local_pitch)] if cfg.interleave else []
    return [
        *low,
        job.format.eq(asked.format),
        job.row.eq(asked.local[row:]),
        job.row_pitch.eq(asked.local_pitch >> row),
        job.extent.eq(asked.extent),
        job.columns.eq(asked.pitch[:16]),
        job.rows.eq(asked.pitch[16:]),
    ]
