# SPDX-License-Identifier: Apache-2.0
"""The boards' memory under an AXI master of other people's making, and through its side door."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiMaster

from kiwicha.boards.link.commands import byte_write
from kiwicha.boards.memory import AxiMemory

from ..support.bench import run_cocotb
from ..support.streams import StreamSink, StreamSource, start_clock_and_reset

WIDTH, ADDRESS, SIZE = 64, 13, 1 << 12


class Bench:
    """Master, side door, and the pauses of the master's channels."""

    def __init__(self, dut, pause=0.0):
        self.dut, self.chooser = dut, random.Random(7)
        self.master = AxiMaster(AxiBus.from_prefix(dut, "axi_"), dut.clk, dut.rst)
        self.write = StreamSource(dut, "write", byte_write(SIZE))
        self.read = StreamSource(dut, "read", 12)
        self.fetched = StreamSink(dut, "fetched", 8)
        ends = (self.master.write_if, self.master.read_if)
        for channel in (ends[0].aw_channel, ends[0].w_channel, ends[0].b_channel,
                        ends[1].ar_channel, ends[1].r_channel):
            if pause:
                channel.set_pause_generator(self._pauses(pause, str(type(channel))))

    @staticmethod
    def _pauses(chance, seed):
        chooser = random.Random(seed)
        while True:
            yield chooser.random() < chance

    async def door_read(self, address):
        await self.read.send([address])
        return (await self.fetched.receive(1))[0]


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(pause=[0.0, 0.5])
async def keeps_what_is_written(dut, pause):
    await start_clock_and_reset(dut)
    bench, chooser = Bench(dut, pause), random.Random(3)
    memory = bytearray(SIZE)
    await bench.master.write(0, bytes(SIZE))
    for _ in range(25):
        length = chooser.choice((1, 3, 8, 64, 200, chooser.randint(1, 300)))
        start = chooser.randrange(SIZE - length)
        data = chooser.randbytes(length)
        answer = await bench.master.write(start, data)
        assert answer.resp == 0
        memory[start : start + length] = data
        place = chooser.randrange(SIZE)
        memory[place] = chooser.randrange(256)
        await bench.write.send([{"address": place, "data": memory[place]}])
        low = chooser.randrange(SIZE - 300)
        found = await bench.master.read(low, 300)
        assert found.data == bytes(memory[low : low + 300])
        assert found.resp == 0
        place = chooser.randrange(SIZE)
        assert await bench.door_read(place) == memory[place]
    assert (await bench.master.read(0, SIZE)).data == bytes(memory)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def both_directions_and_the_door_at_once(dut):
    await start_clock_and_reset(dut)
    bench, chooser = Bench(dut, 0.3), random.Random(4)
    memory = bytearray(chooser.randbytes(SIZE))
    await bench.master.write(0, bytes(memory))
    half, data = SIZE // 2, chooser.randbytes(1000)
    writing = cocotb.start_soon(bench.master.write(half, data))
    reading = cocotb.start_soon(bench.master.read(8, 1500))
    memory[half : half + 1000] = data
    for place in range(3000, 3040):
        assert await bench.door_read(place - 1500) == memory[place - 1500]
        memory[half + place - 2000] = place % 256
        await bench.write.send([{"address": half + place - 2000, "data": place % 256}])
    await writing
    assert (await reading).data == bytes(memory[8:1508])
    assert (await bench.master.read(0, SIZE)).data == bytes(memory)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def nothing_is_behind_the_end(dut):
    await start_clock_and_reset(dut)
    bench = Bench(dut)
    await bench.master.write(0, bytes(SIZE))
    assert (await bench.master.write(SIZE, b"12345678")).resp == 3
    assert (await bench.master.write(SIZE - 8, b"12345678abcdefgh")).resp == 3
    assert (await bench.master.read(SIZE, 8)).resp == 3
    assert (await bench.master.read(SIZE - 8, 16)).resp == 3
    found = await bench.master.read(0, SIZE)
    assert found.resp == 0
    assert found.data == bytes(SIZE - 8) + b"12345678"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_beat_a_cycle(dut):
    await start_clock_and_reset(dut)
    bench = Bench(dut)
    await bench.master.write(0, bytes(SIZE))
    await ClockCycles(dut.clk, 5)
    for operation, count in (
        (bench.master.read(0, 1024), dut.axi__rvalid), (bench.master.write(0, bytes(1024)), None),
    ):
        task = cocotb.start_soon(operation)
        first = last = beats = cycle = 0
        while not task.done():
            await RisingEdge(dut.clk)
            cycle += 1
            pair = ("axi__rvalid", "axi__rready") if count is not None else (
                "axi__wvalid", "axi__wready")
            if all(getattr(dut, name).value for name in pair):
                first, last, beats = first or cycle, cycle, beats + 1
        assert beats == 128
        assert last - first == 127


@pytest.mark.parametrize("case", [
    "keeps_what_is_written", "both_directions_and_the_door_at_once", "nothing_is_behind_the_end",
    "a_beat_a_cycle",
])
def test_memory(case):
    run_cocotb(AxiMemory(ADDRESS, WIDTH, SIZE), __name__, testcase=case)


def test_refuses_other_sizes():
    for size in (100, 8, 1 << 14):
        with pytest.raises(ValueError, match=f"^memory_bytes is {size}; legal: "):
            AxiMemory(ADDRESS, WIDTH, size)
