# SPDX-License-Identifier: Apache-2.0
"""The link's hardware against the model in Python: good frames and all kinds of bad ones."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.boards.link.commands import byte_write
from kiwicha.boards.link.format import FLAG, Command, Request, encode

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset
from .link_bench import LinkBench
from .model import IDENTITY, MEMORY, PAYLOAD, BoardModel

QUIET = 60  # cycles after which no reply will come


class Bench:
    """The link, memory and registers around it that pause as a policy says, and the model."""

    def __init__(self, dut, policy, seed):
        self.dut, self.chooser = dut, random.Random(seed)
        self.memory = bytearray(self.chooser.randbytes(MEMORY))
        self.model = BoardModel(bytes(self.memory))
        self.registers = [0] * 1024
        self.bytes = StreamSource(dut, "i", 8, policy="random", seed=seed)
        self.replies = StreamSink(dut, "o", 8, policy=policy, seed=seed)
        self.writes = StreamSink(dut, "write", byte_write(MEMORY), policy=policy, seed=seed)
        self.reads = StreamSink(dut, "read", 10, policy=policy, seed=seed)
        for coroutine in (self._write(), self._read(), self._bus_writes(), self._bus_reads()):
            cocotb.start_soon(coroutine)

    async def _write(self):
        while True:
            (word,) = await self.writes.receive(1)
            assert self.dut.believed.value, "a write without a frame that is believed"
            self.memory[word["address"]] = word["data"]

    async def _read(self):
        while True:
            (address,) = await self.reads.receive(1)
            await ClockCycles(self.dut.clk, self.chooser.randint(1, 3))
            self.dut.fetched__valid.value = 1
            self.dut.fetched__payload.value = self.memory[address]
            await RisingEdge(self.dut.clk)
            self.dut.fetched__valid.value = 0

    async def _pause(self):
        for _ in range(self.chooser.choice((0, 0, 1, 4))):
            await RisingEdge(self.dut.clk)

    async def _handshake(self, name):
        """Take one transfer of a channel that the link drives."""
        ready, valid = (getattr(self.dut, f"bus__{name}{part}") for part in ("ready", "valid"))
        await self._pause()
        ready.value = 1
        while True:
            await RisingEdge(self.dut.clk)
            if valid.value:
                break
        ready.value = 0

    async def _answer(self, name):
        ready, valid = (getattr(self.dut, f"bus__{name}{part}") for part in ("ready", "valid"))
        await self._pause()
        valid.value = 1
        while True:
            await RisingEdge(self.dut.clk)
            if ready.value:
                break
        valid.value = 0

    async def _bus_writes(self):
        dut = self.dut
        while True:
            both = [cocotb.start_soon(self._capture("aw", "awaddr"))]
            both.append(cocotb.start_soon(self._capture("w", "wdata")))
            address, value = [await task for task in both]
            refused = BoardModel.refuses(address)
            if not refused:
                self.registers[address // 4] = value
            dut.bus__bresp.value = 2 * refused
            await self._answer("b")

    async def _capture(self, channel, signal):
        await self._handshake(channel)
        return int(getattr(self.dut, f"bus__{signal}").value)

    async def _bus_reads(self):
        dut = self.dut
        while True:
            address = await self._capture("ar", "araddr")
            refused = BoardModel.refuses(address)
            dut.bus__rdata.value = 0 if refused else self.registers[address // 4]
            dut.bus__rresp.value = 2 * refused
            await self._answer("r")

    async def exchange(self, wire):
        """Send bytes; compare what comes back and what has become of memory and registers."""
        await self.bytes.send(wire)
        expected = self.model.feed(bytes(wire))
        found = bytes(await self.replies.receive(len(expected)))
        assert found == expected, f"{bytes(wire).hex(' ')}: {found.hex(' ')}, {expected.hex(' ')}"
        await ClockCycles(self.dut.clk, QUIET)
        assert not self.replies.words, "more than one reply"
        assert self.memory == self.model.memory
        assert self.registers == self.model.registers

    def request(self, **changes):
        """Return a random request that is in order, for the most part legal."""
        chooser = self.chooser
        command = chooser.choice([c for c in Command if c != Command.WAIT])
        count = chooser.randint(0, PAYLOAD)
        address = chooser.randrange(MEMORY + 20 - count)
        if command in (Command.READ_REGISTERS, Command.WRITE_REGISTERS):
            count, address = count // 8 * 4, chooser.randrange(0, 4096, 4)
        if chooser.random() < 0.1:
            address += 1
        data = chooser.randbytes(count)
        if command not in (Command.WRITE, Command.WRITE_REGISTERS):
            data = b""
        values = {"command": command, "sequence": self.model.expected, "address": address,
                  "count": count, "data": data}
        return Request(**(values | changes))


async def started(dut, policy="always"):
    await start_clock_and_reset(dut)
    return Bench(dut, policy, bench_params()["seed"])


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(policy=READY_POLICIES)
async def carries_out(dut, policy):
    bench = await started(dut, policy)
    for _ in range(15):
        await bench.exchange(encode(bench.request().content()))
    assert bench.model.expected > 3


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def repeats_have_no_effect(dut):
    bench = await started(dut)
    for _ in range(8):
        one, other = encode(bench.request().content()), encode(bench.request().content())
        await bench.exchange(one)
        bench.memory[:8] = bench.model.memory[:8] = bench.chooser.randbytes(8)
        await bench.exchange(one)
        await bench.exchange(other)
        later = bench.request(sequence=(bench.model.expected + 1) % 256)
        await bench.exchange(encode(later.content()))
        for sequence in (bench.model.expected - 2, bench.chooser.randrange(256)):
            old = bench.request(sequence=sequence % 256)
            await bench.exchange(encode(old.content()))


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def damage_has_no_effect(dut):
    bench = await started(dut)
    for _ in range(30):
        before, writes = bytes(bench.model.memory), bench.model.writes
        wire = bytearray(encode(bench.request().content()))
        place = bench.chooser.randrange(1, len(wire) - 1)
        kind = bench.chooser.choice(("flip", "drop", "add", "cut", "long"))
        if kind == "flip":
            wire[place] ^= 1 << bench.chooser.randrange(8)
            if wire[place] == FLAG:
                wire[place] ^= 1
        elif kind == "drop":
            del wire[place]
        elif kind == "add":
            wire.insert(place, bench.chooser.choice((0x00, 0x7D, 0x55)))
        elif kind == "cut":
            wire = wire[:place] + bytes((FLAG,))
        else:
            wire = bytearray(encode(bench.request().content() + bytes(PAYLOAD + 20)))
        await bench.exchange(wire)
        assert (bytes(bench.model.memory), bench.model.writes) == (before, writes), kind
        await bench.exchange(encode(bench.request().content()))


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def noise_is_survived(dut):
    bench = await started(dut)
    for _ in range(15):
        before = bytes(bench.model.memory)
        for _ in range(bench.chooser.randint(1, 4)):
            # Noise with flags in it; a reply to each piece that is long enough.
            noise = bench.chooser.randbytes(bench.chooser.randint(0, 30)).replace(b"~", b"")
            await bench.exchange(noise + bytes((FLAG,)))
        assert bench.model.memory == before
        await bench.exchange(encode(bench.request().content()))


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def waits_for_the_interrupt(dut):
    bench = await started(dut)
    for delay, limit in ((200, 100), (50, 100_000), (0, 100_000)):
        request = Request(Command.WAIT, bench.model.expected, limit)
        dut.interrupt.value = delay == 0
        await bench.bytes.send(encode(request.content()))
        expected = bytearray(bench.model.answer(request.content()).content())
        expected[3] = delay < limit
        await ClockCycles(dut.clk, max(1, delay))
        if delay < limit and delay:
            assert not bench.replies.words
        dut.interrupt.value = 1
        wire = encode(bytes(expected))
        assert bytes(await bench.replies.receive(len(wire))) == wire
        dut.interrupt.value = 0


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def what_comes_while_it_is_busy_is_lost(dut):
    bench = await started(dut)
    write = Request(Command.WRITE, 0, 0, PAYLOAD, bench.chooser.randbytes(PAYLOAD))
    second = Request(Command.WRITE, 1, 0, 4, b"lost")
    await bench.bytes.send(encode(write.content()) + encode(second.content()))
    expected = bench.model.feed(encode(write.content()))
    assert bytes(await bench.replies.receive(len(expected))) == expected
    await ClockCycles(dut.clk, QUIET)
    assert bench.memory == bench.model.memory
    bench.model.feed(bytes((FLAG,)))
    await bench.exchange(encode(second.content()))
    assert bench.memory[:4] == b"lost"


@pytest.mark.parametrize("case", [
    "carries_out", "repeats_have_no_effect", "damage_has_no_effect", "noise_is_survived",
    "waits_for_the_interrupt", "what_comes_while_it_is_busy_is_lost",
])
def test_link(case):
    run_cocotb(LinkBench(IDENTITY), __name__, params={"seed": 5}, testcase=case)


