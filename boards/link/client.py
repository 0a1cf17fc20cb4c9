# SPDX-License-Identifier: Apache-2.0
"""The computer's end of the link: requests are repeated until they are answered, or given up."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from kiwicha.boards.link.format import (
    FLAG,
    PROTOCOL,
    Command,
    FrameError,
    Identity,
    Reply,
    Request,
    Status,
    decode,
    encode,
)
from kiwicha.boards.link.transport import LinkError, Transport
from kiwicha.machine.register_map import ADDRESS_BITS

__all__ = ["HostLink", "LinkStatistics"]

_REFUSALS = {
    Status.MALFORMED: "the board takes the request for malformed",
    Status.OUT_OF_RANGE: "that is beyond what the board has",
    Status.REFUSED: "the machine refuses the access (a program runs, or there is no register)",
}


@dataclass
class LinkStatistics:
    """What went over the wire: requests sent, those of them sent again, and replies thrown away."""

    requests: int = 0
    repeats: int = 0
    strays: int = 0


class HostLink:
    """Memory and registers of a board.

    Parameters
    ----------
    transport : the wire.
    timeout : seconds that a reply may take, those on the wire included.
    retries : how often a request is sent again before it is given up.
    clock : what tells seconds; a simulation has its own.

    Members
    -------
    identity : what the board said of itself.
    statistics : what went over the wire so far.

    Raises
    ------
    LinkError
        From every method: no answer, or one that is a refusal; names the request.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        timeout: float = 1.0,
        retries: int = 4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.transport, self.timeout, self.retries, self.clock = transport, timeout, retries, clock
        self.statistics = LinkStatistics()
        self._arrived = bytearray()
        self._sequence = 0
        while transport.read(0):  # what is left of somebody else's session
            pass
        reply = self._exchange(Request(Command.IDENTIFY, 0), "identify", 0.0)
        try:
            self.identity = Identity.parse(reply.data)
        except FrameError as error:
            raise LinkError(str(error)) from None
        if self.identity.protocol != PROTOCOL:
            raise LinkError(
                f"the board speaks protocol {self.identity.protocol}, this program {PROTOCOL}"
            )
        self._sequence = reply.expected

    def write(self, address: int, data: bytes) -> None:
        """Write ``data`` to memory, in as many requests as it takes."""
        self._check("memory", address, len(data), self.identity.memory_bytes)
        step = self.identity.payload_bytes
        for start in range(0, len(data), step):
            piece = bytes(data[start : start + step])
            self._do(Command.WRITE, address + start, len(piece), piece)

    def read(self, address: int, count: int) -> bytes:
        """Return ``count`` bytes of memory."""
        self._check("memory", address, count, self.identity.memory_bytes)
        step, found = self.identity.payload_bytes, b""
        while len(found) < count:
            found += self._do(Command.READ, address + len(found), min(step, count - len(found)))
        return found

    def write_registers(self, offset: int, values: list[int]) -> None:
        """Write consecutive registers, at once unless they are very many."""
        self._check("registers", offset, 4 * len(values), 1 << ADDRESS_BITS)
        step = self.identity.payload_bytes // 4
        for start in range(0, len(values), step):
            data = b"".join(v.to_bytes(4, "little") for v in values[start : start + step])
            self._do(Command.WRITE_REGISTERS, offset + 4 * start, len(data), data)

    def read_registers(self, offset: int, count: int) -> list[int]:
        """Return ``count`` consecutive registers."""
        self._check("registers", offset, 4 * count, 1 << ADDRESS_BITS)
        step, data = self.identity.payload_bytes // 4 * 4, b""
        while len(data) < 4 * count:
            size = min(step, 4 * count - len(data))
            data += self._do(Command.READ_REGISTERS, offset + len(data), size)
        return [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]

    def wait(self, seconds: float) -> bool:
        """Wait for the interrupt, ``seconds`` at most; return whether it is raised."""
        cycles = min(int(seconds * self.identity.clock_hz), (1 << 32) - 1)
        return bool(self._do(Command.WAIT, cycles, 0, extra=seconds)[0])

    def _check(self, what: str, address: int, count: int, size: int) -> None:
        if address < 0 or count < 0 or address + count > size:
            raise LinkError(f"{what} {address:#x} to {address + count:#x}: the board has {size:#x}")

    def _do(
        self, command: Command, address: int, count: int, data: bytes = b"", extra: float = 0.0
    ) -> bytes:
        """Have a command carried out and return the data of its reply."""
        request = Request(command, self._sequence, address, count, data)
        what = f"{command.name.lower()} of {count} bytes at {address:#x}"
        reply = self._exchange(request, what, extra)
        # Whether a refused request has used up its number, the board knows.
        self._sequence = reply.expected
        if reply.status != Status.OK:
            why = _REFUSALS.get(Status(reply.status), Status(reply.status).name)
            raise LinkError(f"{what}: {why}")
        wanted = {Command.READ: count, Command.READ_REGISTERS: count, Command.WAIT: 1}
        if len(reply.data) != wanted.get(command, 0):
            raise LinkError(f"{what}: the reply has {len(reply.data)} bytes of data")
        return reply.data

    def _exchange(self, request: Request, what: str, extra: float) -> Reply:
        """Send a request until its reply is there."""
        wire, said = encode(request.content()), "nothing"
        for attempt in range(self.retries + 1):
            self.statistics.requests += 1
            self.statistics.repeats += attempt > 0
            self.transport.write(wire)
            end = self.clock() + self.timeout + extra
            while (left := end - self.clock()) > 0:
                reply = self._receive(left)
                if reply is None:
                    continue
                if reply.status == Status.DAMAGED:
                    said = "that frames arrive damaged"
                    break
                if (reply.command, reply.sequence) != (request.command, request.sequence):
                    self.statistics.strays += 1  # of a request that was sent twice
                    continue
                if reply.status == Status.OUT_OF_ORDER:
                    raise LinkError(
                        f"{what}: the board expects request {reply.expected}, not "
                        f"{request.sequence}: somebody else uses it too"
                    )
                if reply.status not in set(Status):
                    raise LinkError(f"{what}: the board answers with status {reply.status}")
                return reply
        times = f"{self.retries + 1} times within {self.timeout + extra:g} s each"
        raise LinkError(f"{what}: no answer, asked {times}; the board said {said}")

    def _receive(self, timeout: float) -> Reply | None:
        """Return the next whole reply; None for noise, or when nothing came."""
        while True:
            wire, flag, rest = self._arrived.partition(bytes((FLAG,)))
            if flag:
                self._arrived = rest
                if not wire:
                    continue
                try:
                    return Reply.parse(decode(bytes(wire)))
                except FrameError:
                    self.statistics.strays += 1
                    return None
            found = self.transport.read(timeout)
            if not found:
                return None
            self._arrived += found
