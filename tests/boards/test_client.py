# SPDX-License-Identifier: Apache-2.0
"""The client against a board in plain Python, over wires that lose, spoil and repeat frames."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiwicha.boards.link.client import HostLink
from kiwicha.boards.link.format import Command, Reply, Status, encode
from kiwicha.boards.link.transport import LinkError, SerialTransport

from .model import MEMORY, PAYLOAD, BoardModel

FAULTS = ("ok", "lose", "lose reply", "flip", "flip reply", "truncate", "twice", "noise", "late")


class Wire:
    """A transport to a model with a fault for each message; time passes only in waiting."""

    def __init__(self, board, faults=()):
        self.board, self.faults = board, list(faults)
        self.arrived, self.late, self.now = b"", b"", 0.0

    def write(self, data):
        fault = self.faults.pop(0) if self.faults else "ok"
        place = len(data) // 2
        if fault == "lose":
            return
        if fault == "flip":
            data = data[:place] + bytes((data[place] ^ 0x10,)) + data[place + 1 :]
        elif fault == "truncate":
            data = data[:place]
        elif fault == "twice":
            data += data
        elif fault == "noise":
            data = b"\x7e\x13\x7d\x7e" + data + b"\xff\x00"
        answer = self.board.feed(data)
        if fault == "flip reply":
            answer = answer[:3] + bytes((answer[3] ^ 0x01,)) + answer[4:]
        elif fault == "late":
            answer, self.late = self.late, answer
        self.arrived += b"" if fault == "lose reply" else answer

    def read(self, timeout):
        self.now += timeout
        found, self.arrived = self.arrived, b""
        if not found:
            self.arrived, self.late = self.late, b""
        return found


def link(board, faults=(), **options):
    wire = Wire(board)
    opened = HostLink(wire, clock=lambda: wire.now, **options)
    wire.faults = list(faults)
    return opened, wire


def test_memory_and_registers():
    board = BoardModel()
    client, _ = link(board)
    data = random.Random(1).randbytes(3 * PAYLOAD + 5)
    client.write(17, data)
    assert board.memory[17 : 17 + len(data)] == data
    assert client.read(17, len(data)) == data
    client.write_registers(0x104, [1, 2**32 - 1, 3])
    assert board.registers[0x41:0x44] == [1, 2**32 - 1, 3]
    assert client.read_registers(0x104, 3) == [1, 2**32 - 1, 3]
    assert client.wait(0.1) is False
    assert client.statistics.repeats == 0


@given(st.lists(st.sampled_from(FAULTS), max_size=40), st.integers(0, 255))
def test_every_fault_is_survived(faults, seed):
    # No more than three in a row, then two that are sound: what follows a truncated frame is lost
    # with it, because its first flag ends the frame before.
    for index in range(3, len(faults), 5):
        faults[index : index + 2] = ["ok", "ok"]
    chooser = random.Random(seed)
    board = BoardModel(chooser.randbytes(MEMORY))
    expected = bytearray(board.memory)
    client, _ = link(board, faults)
    for _ in range(10):
        data = chooser.randbytes(chooser.randint(1, 2 * PAYLOAD))
        start = chooser.randrange(MEMORY - len(data))
        client.write(start, data)
        expected[start : start + len(data)] = data
        assert board.memory == expected
        assert client.read(start, len(data)) == data
    assert board.writes <= 10 * 2 * PAYLOAD


def test_each_write_happens_once():
    board = BoardModel()
    client, wire = link(board)
    wire.faults = ["lose reply", "ok"]
    client.write(0, b"abc")
    assert board.writes == 3
    assert client.statistics.repeats == 1


def test_silence():
    wire = Wire(BoardModel(), ["lose"] * 99)
    with pytest.raises(LinkError, match=r"^identify: no answer, asked 3 times within 1 s each; "):
        HostLink(wire, retries=2, clock=lambda: wire.now)


def test_noise_alone():
    board = BoardModel()
    client, wire = link(board)
    wire.faults = ["flip"] * 99
    with pytest.raises(LinkError, match="^write of 3 bytes at 0x0: .*that frames arrive damaged$"):
        client.write(0, b"abc")
    assert not any(board.memory)


def test_refusals():
    client, _ = link(BoardModel())
    with pytest.raises(LinkError, match=r"^read_registers of 4 bytes at 0x40: the machine refuses"):
        client.read_registers(0x40, 1)
    with pytest.raises(LinkError, match=r"^write_registers of 4 bytes at 0x80: the machine refus"):
        client.write_registers(0x80, [1])
    client.write_registers(0x84, [1])  # and goes on
    for address, count in ((MEMORY, 1), (-1, 2), (MEMORY - 3, 4)):
        with pytest.raises(LinkError, match="^memory .* the board has 0x400$"):
            client.read(address, count)
    with pytest.raises(LinkError, match=r"^registers 0xffc to 0x1004: the board has 0x1000$"):
        client.read_registers(0xFFC, 2)


def test_two_clients():
    board = BoardModel()
    one, _ = link(board)
    other, _ = link(board)
    other.read(0, 4)
    other.read(0, 4)
    with pytest.raises(LinkError, match=r"the board expects request 2, not 0: somebody else uses"):
        one.write(0, b"abc")
    assert not any(board.memory)


def test_a_new_session_takes_up_the_numbers():
    board = BoardModel()
    for value in range(300):
        client, wire = link(board)
        client.write(0, bytes((value % 256,)))
        wire.faults = ["lose reply"] * 5
        with pytest.raises(LinkError):
            client.write(1, bytes((value % 256,)))
        assert board.memory[:2] == bytes((value % 256,)) * 2


def test_other_protocol():
    class Other(BoardModel):
        def answer(self, content):
            found = super().answer(content)
            changed = found.data[:4] + b"\x02" + found.data[5:]
            return Reply(found.command, found.sequence, found.expected, changed, found.status)

    with pytest.raises(LinkError, match="^the board speaks protocol 2, this program 1$"):
        link(Other())


def test_strange_status():
    board = BoardModel()
    client, wire = link(board)
    wire.arrived = encode(Reply(Command.READ, 0, 1, b"", 9).content())
    with pytest.raises(LinkError, match="the board answers with status 9"):
        client.read(0, 1)
    assert Status.REFUSED == max(Status)


@pytest.mark.fpga
def test_serial_port_of_this_computer():
    with SerialTransport("loop://", 1_000_000) as port:
        port.write(b"kiwicha")
        found = b""
        while len(found) < 7:
            found += port.read(1.0)
        assert found == b"kiwicha"
        assert port.read(0.0) == b""
    with pytest.raises(LinkError, match="^/dev/nowhere cannot be opened at 9600 baud: "):
        SerialTransport("/dev/nowhere", 9600)
