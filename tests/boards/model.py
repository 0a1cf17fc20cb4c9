# SPDX-License-Identifier: Apache-2.0
"""A board in plain Python, written from the frame format alone: what the hardware must answer."""

import struct

from kiwicha.boards.link.format import (
    FLAG,
    Command,
    FrameError,
    Identity,
    Reply,
    Status,
    decode,
    encode,
)

__all__ = ["IDENTITY", "PAYLOAD", "BoardModel"]

PAYLOAD, MEMORY = 64, 1 << 10
IDENTITY = Identity(1, PAYLOAD, MEMORY, 0x1234ABCD, 1_000_000)
_SHORTEST = 8 + 4
_READS = (Command.READ, Command.READ_REGISTERS, Command.WAIT)


class BoardModel:
    """Memory, registers and the answers to bytes from the wire.

    Registers at multiples of 0x40 refuse. The model answers at once, so it is never busy.
    """

    def __init__(self, memory: bytes = bytes(MEMORY)) -> None:
        self.memory = bytearray(memory)
        self.registers = [0] * 1024
        self.expected, self.last, self.last_status = 0, -1, Status.OK
        self.writes = 0
        self._wire: bytearray | None = None

    @staticmethod
    def refuses(offset: int) -> bool:
        """Whether the register there answers with an error."""
        return offset % 0x40 == 0

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the wire; return those that come back."""
        answer = b""
        for byte in data:
            if byte != FLAG:
                if self._wire is not None:
                    self._wire.append(byte)
                continue
            wire, self._wire = self._wire, bytearray()
            if wire is not None:
                answer += self._frame(bytes(wire))
        return answer

    def _frame(self, wire: bytes) -> bytes:
        escapes, length = 0, 0
        for byte in wire:  # what the hardware counts: bytes behind their escapes
            escapes = byte == 0x7D and not escapes
            length += not escapes
        if length < _SHORTEST:
            return b""
        reply = Reply(0, 0, self.expected, b"", Status.DAMAGED)
        if length <= _SHORTEST + PAYLOAD:
            try:
                reply = self.answer(decode(wire))
            except FrameError:
                pass
        # Whoever receives a frame longer than the buffer has not its CRC.
        self._wire = None
        return encode(reply.content())

    def answer(self, content: bytes) -> Reply:
        """Carry out a frame that is undamaged."""
        command, sequence, count, address = struct.unpack("<BBHI", content[:8])
        data = content[8:]

        def reply(status: int, found: bytes = b"") -> Reply:
            return Reply(command, sequence, self.expected, found, status)

        registers = command in (Command.READ_REGISTERS, Command.WRITE_REGISTERS)
        memory = command in (Command.READ, Command.WRITE)
        sends = command in (Command.WRITE, Command.WRITE_REGISTERS)
        if command not in set(Command) or len(data) != (count if sends else 0) or count > PAYLOAD:
            return reply(Status.MALFORMED)
        if registers and (address % 4 or count % 4):
            return reply(Status.MALFORMED)
        size = 4096 if registers else MEMORY
        if (registers or memory) and address + count > size:
            return reply(Status.OUT_OF_RANGE)
        if command == Command.IDENTIFY:
            return reply(Status.OK, IDENTITY.pack())
        repeated = (sequence + 1) % 256 == self.expected and command == self.last
        if sequence != self.expected and not repeated:
            return reply(Status.OUT_OF_ORDER)
        if sequence == self.expected:
            self.expected, self.last = (self.expected + 1) % 256, command
            self.last_status = self._write(command, address, data)
        if command not in _READS:
            return reply(self.last_status)
        return self._read(command, address, count, reply)

    def _write(self, command: int, address: int, data: bytes) -> Status:
        if command == Command.WRITE:
            self.memory[address : address + len(data)] = data
            self.writes += len(data)
        elif command == Command.WRITE_REGISTERS:
            for index in range(0, len(data), 4):
                if self.refuses(address + index):
                    return Status.REFUSED
                value = int.from_bytes(data[index : index + 4], "little")
                self.registers[(address + index) // 4] = value
        return Status.OK

    def _read(self, command, address, count, reply):
        if command == Command.WAIT:
            return reply(Status.OK, b"\0")
        if command == Command.READ:
            return reply(Status.OK, bytes(self.memory[address : address + count]))
        offsets = range(address, address + count, 4)
        words = (0 if self.refuses(o) else self.registers[o // 4] for o in offsets)
        status = Status.REFUSED if any(self.refuses(o) for o in offsets) else Status.OK
        return reply(status, b"".join(word.to_bytes(4, "little") for word in words))
