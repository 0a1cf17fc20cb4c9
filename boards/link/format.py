# SPDX-License-Identifier: Apache-2.0
"""The frames of the serial link as bytes: what hardware and client both keep to.

A frame lies between two flags, its content escaped as in HDLC-like framing (RFC 1662), so that a
flag is never anything else and any receiver is in step again after the next one. The content ends
with its CRC-32 (IEEE 802.3: that of zlib), low byte first::

    request: command, sequence, count (2 bytes), address (4 bytes), data ..., CRC (4 bytes)
    reply:   command, sequence, expected, data ..., status, CRC (4 bytes)

Numbers are little endian. ``count`` is the length of the data, those sent or those asked for.
``expected`` is the sequence number that the board takes next.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "CRC_BYTES", "ESCAPE", "FLAG", "FLIP", "HEADER_BYTES", "IDENTITY", "PROTOCOL", "Command",
    "FrameError", "Identity", "Reply", "Request", "Status", "decode", "encode", "worst_length",
]

FLAG = 0x7E
"""Begins and ends every frame."""
ESCAPE = 0x7D
"""Announces a byte that is sent with ``FLIP``, because it is FLAG or ESCAPE itself."""
FLIP = 0x20
HEADER_BYTES = 8
"""Of a request."""
CRC_BYTES = 4
PROTOCOL = 1
"""Version of all this; `Command.IDENTIFY` answers it."""
IDENTITY = struct.Struct("<4sBBHIII")
"""What IDENTIFY answers: ``KIWI``, protocol, 0, most data bytes of a frame, memory bytes,
fingerprint of the machine, clock in Hz."""


class Command(IntEnum):
    """What a request asks for; every one but IDENTIFY must have the expected sequence number."""

    IDENTIFY = 0  #: answers IDENTITY; has no effect and takes any sequence number
    READ = 1  #: ``count`` bytes of memory from ``address``
    WRITE = 2  #: the data to memory from ``address``
    READ_REGISTERS = 3  #: consecutive registers: address and count are multiples of 4
    WRITE_REGISTERS = 4  #: the same
    WAIT = 5  #: for the interrupt, ``address`` cycles at most; answers one byte: is it raised?


class Status(IntEnum):
    """What became of a request. Only OK means that it did what it says."""

    OK = 0
    DAMAGED = 1  #: a frame came with a wrong CRC or too long; nothing was done
    OUT_OF_ORDER = 2  #: neither the expected sequence number nor the one before; nothing was done
    MALFORMED = 3  #: unknown command, or count, length and address do not agree; nothing was done
    OUT_OF_RANGE = 4  #: beyond memory or registers; nothing was done
    REFUSED = 5  #: a register answered with an error; those after it were left alone


class FrameError(ValueError):
    """Bytes that are no frame; the message says why."""


@dataclass(frozen=True)
class Request:
    """A request; ``data`` is empty but for writes."""

    command: Command
    sequence: int
    address: int = 0
    count: int = 0
    data: bytes = b""

    def content(self) -> bytes:
        """Return the bytes before the CRC."""
        head = struct.pack("<BBHI", self.command, self.sequence, self.count, self.address)
        return head + self.data


@dataclass(frozen=True)
class Reply:
    """What the board answers. A command that it did not know comes back as a plain integer."""

    command: int
    sequence: int
    expected: int
    data: bytes
    status: int

    def content(self) -> bytes:
        """Return the bytes before the CRC."""
        return bytes((self.command, self.sequence, self.expected, *self.data, self.status))

    @classmethod
    def parse(cls, content: bytes) -> "Reply":
        """Return the reply in the content of a frame; raises FrameError when it is too short."""
        if len(content) < 4:
            raise FrameError(f"a reply of {len(content)} bytes; the shortest has 4")
        return cls(content[0], content[1], content[2], content[3:-1], content[-1])


@dataclass(frozen=True)
class Identity:
    """What a board says of itself."""

    protocol: int
    payload_bytes: int
    memory_bytes: int
    fingerprint: int
    clock_hz: int

    def pack(self) -> bytes:
        """Return the data of an IDENTIFY reply."""
        return IDENTITY.pack(
            b"KIWI", self.protocol, 0, self.payload_bytes, self.memory_bytes, self.fingerprint,
            self.clock_hz,
        )

    @classmethod
    def parse(cls, data: bytes) -> "Identity":
        """Return what ``data`` says; raises FrameError for anything but a Kiwicha board."""
        if len(data) != IDENTITY.size or data[:4] != b"KIWI":
            raise FrameError(f"no Kiwicha board: it identifies itself as {data.hex(' ')!r}")
        _, protocol, _, payload, memory, fingerprint, clock = IDENTITY.unpack(data)
        return cls(protocol, payload, memory, fingerprint, clock)


def encode(content: bytes) -> bytes:
    """Return the frame on the wire, CRC and both flags included."""
    wire = bytearray((FLAG,))
    for byte in content + struct.pack("<I", zlib.crc32(content)):
        wire += bytes((ESCAPE, byte ^ FLIP)) if byte in (FLAG, ESCAPE) else bytes((byte,))
    wire.append(FLAG)
    return bytes(wire)


def decode(wire: bytes) -> bytes:
    """Return the content of what lay between two flags, the CRC checked and taken off.

    Raises
    ------
    FrameError
        For a flag inside, an escape without a byte after it, or a wrong CRC.
    """
    content, flip = bytearray(), 0
    for byte in wire:
        if byte == FLAG:
            raise FrameError("a flag inside a frame")
        if byte == ESCAPE and not flip:
            flip = FLIP
            continue
        content.append(byte ^ flip)
        flip = 0
    if flip:
        raise FrameError("the frame ends in the middle of an escape")
    if len(content) < CRC_BYTES:
        raise FrameError(f"a frame of {len(content)} bytes has no CRC")
    body, (crc,) = bytes(content[:-CRC_BYTES]), struct.unpack("<I", content[-CRC_BYTES:])
    if crc != zlib.crc32(body):
        raise FrameError(f"CRC {crc:#010x} instead of {zlib.crc32(body):#010x}")
    return body


def worst_length(payload_bytes: int) -> int:
    """Return the bytes on the wire of the longest request if every byte is escaped."""
    return 2 + 2 * (HEADER_BYTES + payload_bytes + CRC_BYTES)
