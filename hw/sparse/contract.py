# SPDX-License-Identifier: Apache-2.0
"""What every decoder has in common: its ports, its job and the ways a stream can be wrong."""

from typing import TYPE_CHECKING

from amaranth.hdl import unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Member, Out

if TYPE_CHECKING:  # Amaranth has no types; to a type checker its enums are the library's
    import enum
else:
    from amaranth.lib import enum

__all__ = ["JOB", "STREAM_FAULT", "StreamError", "beat_layout", "decoder_members", "row_layout"]


class StreamError(enum.IntEnum, shape=4):
    """Why a stream was refused."""

    NONE = 0
    JOB = 1  #: the job asks for nothing, or for more than the decoder holds
    CODEBOOK = 2  #: the codebook's first value is not 0
    POINTER = 3  #: a column's pointers fall, or are further apart than the column is long
    INDEX = 4  #: an entry lies past its column's end
    ORDER = 5  #: an absolute index is not above the one before it
    PADDING = 6  #: a value of 0 that is no padding, or bits that fill up and are not 0
    TRUNCATED = 7  #: the last beat came too early
    TRAILING = 8  #: the last beat came too late


JOB = data.StructLayout({"columns": unsigned(16), "rows": unsigned(16)})
"""``columns`` of ``rows`` dense rows each; both at least 1."""

STREAM_FAULT = data.StructLayout({"code": StreamError, "offset": unsigned(32)})
"""``offset`` is the byte in the stream that the culprit begins in."""


def beat_layout(beat_bytes: int) -> data.StructLayout:
    """Return a beat of the stream; ``last`` marks the stream's last one."""
    return data.StructLayout({"data": unsigned(8 * beat_bytes), "last": unsigned(1)})


def row_layout(lanes: int) -> data.StructLayout:
    """Return a dense row; ``last`` marks the job's last one."""
    return data.StructLayout({"lanes": data.ArrayLayout(8, lanes), "last": unsigned(1)})


def decoder_members(beat_bytes: int, lanes: int) -> dict[str, Member]:
    """Return the ports of a decoder; ValueError for a beat or a row that no decoder takes.

    ``job`` starts a stream, which follows on ``i``; ``o`` are its rows, ``done`` is high for one
    cycle once the stream has ended as it must and every row has been taken. A wrong stream gives
    one transfer on ``error``; from then on beats are swallowed, and no row comes, until reset.
    """
    if not 4 <= beat_bytes <= 64 or beat_bytes & (beat_bytes - 1):
        raise ValueError(f"beat_bytes is {beat_bytes}; legal: powers of two from 4 to 64")
    if not 1 <= lanes <= 128 or lanes & (lanes - 1):
        raise ValueError(f"lanes is {lanes}; legal: powers of two from 1 to 128")
    return {
        "job": In(stream.Signature(JOB)),
        "i": In(stream.Signature(beat_layout(beat_bytes))),
        "o": Out(stream.Signature(row_layout(lanes))),
        "done": Out(1),
        "error": Out(stream.Signature(STREAM_FAULT, always_ready=True)),
    }
