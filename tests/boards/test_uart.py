# SPDX-License-Identifier: Apache-2.0
"""The serial port against wires written bit by bit, and against itself."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles

from kiwicha.boards.link.uart import UartReceiver, UartTransmitter

from ..support.bench import bench_params, run_cocotb
from ..support.streams import StreamSink, StreamSource, start_clock_and_reset

BYTES = [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, 0x7E, *random.Random(1).randbytes(20)]


async def send(dut, byte, divisor, *, stop=1, drift=0):
    for bit in (0, *(byte >> n & 1 for n in range(8)), stop):
        dut.rx.value = bit
        await ClockCycles(dut.clk, divisor)
    dut.rx.value = 1
    if drift:
        await ClockCycles(dut.clk, drift)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def receives(dut):
    divisor = bench_params()["divisor"]
    await start_clock_and_reset(dut)
    dut.rx.value = 1
    await ClockCycles(dut.clk, 12 * divisor)
    sink = StreamSink(dut, "o", 8)
    chooser = random.Random(2)
    for byte in BYTES:
        await send(dut, byte, divisor, drift=chooser.choice((0, 0, 1, 7)))
    await ClockCycles(dut.clk, 3 * divisor)
    assert list(sink.words) == BYTES


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def drops_what_has_no_stop_bit_and_begins_nothing_in_a_glitch(dut):
    divisor = bench_params()["divisor"]
    await start_clock_and_reset(dut)
    dut.rx.value = 1
    await ClockCycles(dut.clk, 12 * divisor)
    sink = StreamSink(dut, "o", 8)
    dut.rx.value = 0
    await ClockCycles(dut.clk, 1)
    dut.rx.value = 1
    await ClockCycles(dut.clk, 2 * divisor)
    await send(dut, 0xA5, divisor, stop=0)
    await ClockCycles(dut.clk, 12 * divisor)
    await send(dut, 0x5A, divisor)
    await ClockCycles(dut.clk, 3 * divisor)
    assert list(sink.words) == [0x5A]


@pytest.mark.parametrize("divisor", [4, 5, 25])
def test_receiver(divisor):
    run_cocotb(UartReceiver(divisor), __name__, params={"divisor": divisor}, testcase="receives")


def test_receiver_in_noise():
    run_cocotb(
        UartReceiver(25), __name__, params={"divisor": 25},
        testcase="drops_what_has_no_stop_bit_and_begins_nothing_in_a_glitch",
    )


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(offer=["always", "random", "bursty"])
async def transmits(dut, offer):
    divisor = bench_params()["divisor"]
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "i", 8, policy=offer)
    source.put(BYTES)
    found = []
    while len(found) < len(BYTES):
        await ClockCycles(dut.clk, 1)
        if dut.tx.value == 1:
            continue
        bits = []
        await ClockCycles(dut.clk, divisor // 2)
        for _ in range(10):
            bits.append(int(dut.tx.value))
            if len(bits) < 10:
                await ClockCycles(dut.clk, divisor)
        assert (bits[0], bits[9]) == (0, 1)
        found.append(sum(bit << n for n, bit in enumerate(bits[1:9])))
    assert found == BYTES


@pytest.mark.parametrize("divisor", [4, 25])
def test_transmitter(divisor):
    run_cocotb(UartTransmitter(divisor), __name__, params={"divisor": divisor},
               testcase="transmits")


@pytest.mark.parametrize("unit", [UartReceiver, UartTransmitter])
def test_refuses_other_divisors(unit):
    for divisor in (3, 1 << 16):
        with pytest.raises(ValueError, match=f"^divisor is {divisor}; legal: 4 to 65535$"):
            unit(divisor)


