# SPDX-License-Identifier: Apache-2.0
"""Frames survive the way there and back, and nothing else passes for one."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiwicha.boards.link.format import (
    ESCAPE,
    FLAG,
    Command,
    FrameError,
    Identity,
    Reply,
    Request,
    decode,
    encode,
    worst_length,
)

#: Flags and escapes are as likely as all other bytes together.
BYTES = st.lists(st.one_of(st.sampled_from([FLAG, ESCAPE, 0x5E, 0x5D]), st.integers(0, 255)))
CONTENT = BYTES.map(bytes)


@given(CONTENT)
def test_there_and_back(content):
    wire = encode(content)
    assert wire[0] == wire[-1] == FLAG
    assert FLAG not in wire[1:-1]
    assert decode(wire[1:-1]) == content


def test_known_frame():
    # The check value of CRC-32 is that of the nine digits.
    assert encode(b"123456789")[1:-1] == b"123456789" + bytes.fromhex("2639f4cb")
    assert encode(b"\x7e\x7d")[:5] == b"\x7e\x7d\x5e\x7d\x5d"


@given(CONTENT, st.data())
def test_a_changed_bit_is_found(content, data):
    wire = bytearray(encode(content)[1:-1])
    place = data.draw(st.integers(0, len(wire) - 1))
    wire[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(FrameError):
        decode(bytes(wire))


@given(CONTENT, st.data())
def test_a_truncated_frame_is_found(content, data):
    wire = encode(content)[1:-1]
    length = data.draw(st.integers(0, len(wire) - 1))
    try:
        found = decode(wire[:length])
    except FrameError:
        return
    # A prefix may end with the CRC of what is before it, but only by an accident of 2^-32.
    assert zlib.crc32(found + content) == -1


@given(CONTENT, CONTENT)
def test_pieces_of_two_frames_are_found(one, other):
    first, second = encode(one)[1:-1], encode(other)[1:-1]
    spliced = first[: len(first) // 2] + second[len(second) // 2 :]
    if spliced not in (first, second):
        with pytest.raises(FrameError):
            decode(spliced)


@given(st.sampled_from(Command), st.integers(0, 255), st.integers(0, 2**32 - 1), CONTENT)
def test_request(command, sequence, address, data):
    content = Request(command, sequence, address, len(data), data).content()
    assert content[0] == command
    assert content[1] == sequence
    assert int.from_bytes(content[2:4], "little") == len(data)
    assert int.from_bytes(content[4:8], "little") == address
    assert content[8:] == data
    assert len(encode(content)) <= worst_length(len(data))


@given(st.integers(0, 255), st.integers(0, 255), CONTENT, st.integers(0, 255))
def test_reply(command, sequence, data, status):
    reply = Reply(command, sequence, 7, data, status)
    assert Reply.parse(reply.content()) == reply


def test_what_is_no_reply():
    with pytest.raises(FrameError, match="^a reply of 3 bytes; the shortest has 4$"):
        Reply.parse(b"abc")
    with pytest.raises(FrameError, match="^no Kiwicha board: it identifies itself as '78 79'$"):
        Identity.parse(b"xy")


def test_identity():
    identity = Identity(1, 1024, 1 << 17, 0xDEADBEEF, 50_000_000)
    assert Identity.parse(identity.pack()) == identity
    assert len(identity.pack()) == 20
