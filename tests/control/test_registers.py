# SPDX-License-Identifier: Apache-2.0
"""The register file behind AxiLiteMaster: every register, strobes, pauses, refusals, interrupts."""

import itertools
import random

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from kiwicha.hw.control.registers import RegisterFile
from kiwicha.machine.presets import preset
from kiwicha.machine.register_map import RECORD_OFFSET, Access, RegisterMap

from ..parts.bus import pauses
from ..support.bench import run_cocotb
from ..support.randomness import check_random
from ..support.streams import start_clock_and_reset

CFG = preset("default").replace(axi_address_width=40, blocks={"channels": 16, "rounding": "lfsr"})
MAP = RegisterMap(CFG)
COUNTS = [random.Random(5).getrandbits(32) for _ in range(16)]
PAUSES = {
    "none": lambda seed: itertools.repeat(0),
    "random": lambda seed: pauses(0.6, seed),
    "long": lambda seed: itertools.cycle([1] * (7 + seed) + [0] * 3),
}


async def give_counts(dut, seed):
    """Answer as the counters do, after some cycles; what a count is says only its place."""
    chooser = random.Random(seed)
    while True:
        await FallingEdge(dut.clk)
        dut.count_there.value, dut.count.value = 0, chooser.getrandbits(32)
        if dut.count_ask.value:
            place = dut.count_place.value.to_unsigned()
            await ClockCycles(dut.clk, chooser.randint(2, 5), FallingEdge)
            assert dut.count_ask.value == 1
            assert dut.count_place.value == place
            dut.count_there.value, dut.count.value = 1, COUNTS[place]
            await FallingEdge(dut.clk)
            assert dut.count_ask.value == 0
            dut.count_there.value = 0


async def begin(dut, pause="none"):
    await start_clock_and_reset(dut)
    cocotb.start_soon(give_counts(dut, 8))
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "bus_"), dut.clk, dut.rst)
    channels = (
        master.write_if.aw_channel,
        master.write_if.w_channel,
        master.write_if.b_channel,
        master.read_if.ar_channel,
        master.read_if.r_channel,
    )
    for seed, channel in enumerate(channels):
        channel.set_pause_generator(PAUSES[pause](seed))
    return master


async def read(master, offset, resp=AxiResp.OKAY):
    answer = await master.read(offset, 4)
    assert answer.resp == resp, f"{offset:#x}"
    return int.from_bytes(answer.data, "little")


async def write(master, offset, value, resp=AxiResp.OKAY):
    answer = await master.write(offset, value.to_bytes(4, "little"))
    assert answer.resp == resp, f"{offset:#x}"


def writable_bits(register):
    return sum(((1 << part.width) - 1) << part.low for part in register.fields)


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(pause=list(PAUSES))
async def every_register(dut, pause):
    master = await begin(dut, pause)
    chooser = random.Random(1)
    offsets = {register.offset: register for register in MAP}
    inputs = {}
    for register in MAP:
        if register.counted:
            inputs[register.name] = COUNTS[register.offset - RECORD_OFFSET >> 2]
        elif register.access is Access.READ and not register.constant:
            inputs[register.name] = chooser.getrandbits(32)
            getattr(dut, register.name).value = inputs[register.name]
        if register.access in (Access.WRITE, Access.PULSE):
            assert getattr(dut, register.name).value.to_unsigned() == register.reset
    stored = {}
    for register in MAP:
        expected = inputs.get(register.name, register.reset)
        assert await read(master, register.offset) == expected, register.name
        value = chooser.getrandbits(32)
        await write(master, register.offset, value)
        if register.access is Access.WRITE:
            expected = stored[register.name] = value & writable_bits(register)
            assert getattr(dut, register.name).value.to_unsigned() == expected
        assert await read(master, register.offset) == expected, register.name
    # Nothing wrote anything but its own register.
    for name, value in stored.items():
        assert await read(master, MAP[name].offset) == value
    unknown = [offset for offset in range(0, 0x1000, 4) if offset not in offsets]
    for offset in [*chooser.sample(unknown, 40), 0xFFC]:
        assert await read(master, offset, AxiResp.SLVERR) == 0
        await write(master, offset, 0xFFFFFFFF, AxiResp.SLVERR)
    for name, value in stored.items():
        assert await read(master, MAP[name].offset) == value


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(pause=list(PAUSES))
async def strobes(dut, pause):
    master = await begin(dut, pause)
    chooser = random.Random(2)
    names = ["scratch", "program_length", "watchdog", "read_base_low"]
    model = {name: bytearray(MAP[name].reset.to_bytes(4, "little")) for name in names}
    for _ in range(100):
        name = chooser.choice(names)
        low = chooser.randrange(4)
        content = chooser.randbytes(chooser.randint(1, 4 - low))
        model[name][low : low + len(content)] = content
        answer = await master.write(MAP[name].offset + low, content)
        assert answer.resp == AxiResp.OKAY
        assert await read(master, MAP[name].offset) == int.from_bytes(model[name], "little")


@cocotb.test(timeout_time=100, timeout_unit="us")
async def reset_is_read_as_well(dut):
    # Reading is done from a memory, which a reset does not reach.
    master = await begin(dut)
    for _ in range(2):
        for register in MAP:
            if register.access is Access.WRITE:
                assert await read(master, register.offset) == register.reset, register.name
                await write(master, register.offset, 0xA5A5A5A5)
        dut.rst.value = 1
        await ClockCycles(dut.clk, 3)
        dut.rst.value = 0
        await ClockCycles(dut.clk, 3)


@cocotb.test(timeout_time=100, timeout_unit="us")
async def commands_are_pulses(dut):
    master = await begin(dut)
    counts = {"start": 0, "abort": 0}

    async def watch():
        while True:
            await FallingEdge(dut.clk)
            value = dut.control.value.to_unsigned()
            counts["start"] += value & 1
            counts["abort"] += value >> 1 & 1
            assert value < 4

    cocotb.start_soon(watch())
    await write(master, MAP["control"].offset, 1)
    await write(master, MAP["control"].offset, 2)
    await write(master, MAP["control"].offset, 0xFFFFFFFC)
    await master.write(MAP["control"].offset + 1, b"\xff\xff\xff")  # other bytes only
    await write(master, MAP["control"].offset, 3)
    await ClockCycles(dut.clk, 5)
    assert counts == {"start": 2, "abort": 2}
    assert await read(master, MAP["control"].offset) == 0


@cocotb.test(timeout_time=100, timeout_unit="us")
async def locked_registers_refuse(dut):
    master = await begin(dut)
    for locked in (1, 0):
        dut.locked.value = locked
        for register in MAP:
            if register.access is not Access.WRITE:
                continue
            before = await read(master, register.offset)
            refused = locked and register.locked
            resp = AxiResp.SLVERR if refused else AxiResp.OKAY
            await write(master, register.offset, 0x5A5A5A5A, resp)
            expected = before if refused else 0x5A5A5A5A & writable_bits(register)
            assert await read(master, register.offset) == expected
    names = {register.name for register in MAP if register.locked}
    assert {"program_length", "watchdog", "read_base_low", "write_limit_high"} <= names
    assert {"random_seed", "random_step"} <= names
    assert not {"interrupt_enable", "interrupt_status", "control", "scratch"} & names


@cocotb.test(timeout_time=100, timeout_unit="us")
async def interrupts(dut):
    master = await begin(dut)
    enable, status = MAP["interrupt_enable"].offset, MAP["interrupt_status"].offset

    async def pulse(bits):
        await FallingEdge(dut.clk)
        dut.interrupt_status.value = bits
        await FallingEdge(dut.clk)
        dut.interrupt_status.value = 0

    await pulse(1)
    await ClockCycles(dut.clk, 3)
    assert dut.interrupt.value == 0
    assert await read(master, status) == 1
    await write(master, enable, 1)
    assert dut.interrupt.value == 1
    await pulse(2)
    assert await read(master, status) == 3
    await write(master, status, 1)
    assert dut.interrupt.value == 0
    assert await read(master, status) == 2
    await write(master, enable, 2)
    assert dut.interrupt.value == 1
    await write(master, status, 0xFFFFFFFF)
    assert dut.interrupt.value == 0
    # An event in the very cycle of its clearing is kept.
    dut.interrupt_status.value = 2
    await write(master, status, 3)
    dut.interrupt_status.value = 0
    assert await read(master, status) == 2


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(pause=["random", "long"])
async def reads_and_writes_at_once(dut, pause):
    master = await begin(dut, pause)

    async def writer():
        for value in range(50):
            await write(master, MAP["scratch"].offset, value)

    async def reader():
        last = 0
        for _ in range(50):
            value = await read(master, MAP["scratch"].offset)
            assert value >= last
            last = value

    tasks = [cocotb.start_soon(writer()), cocotb.start_soon(reader())]
    for task in tasks:
        await task
    assert await read(master, MAP["scratch"].offset) == 49


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(pause=list(PAUSES))
async def many_at_once(dut, pause):
    # The master offers the next address while the register file still holds the last one.
    master = await begin(dut, pause)
    names = [register.name for register in MAP if register.access is Access.WRITE]
    chooser = random.Random(7)
    values = {name: chooser.getrandbits(32) & writable_bits(MAP[name]) for name in names}
    writes = [cocotb.start_soon(write(master, MAP[n].offset, v)) for n, v in values.items()]
    for task in writes:
        await task
    reads = [cocotb.start_soon(read(master, MAP[name].offset)) for name in names]
    assert [await task for task in reads] == list(values.values())


@cocotb.test(timeout_time=500, timeout_unit="us")
async def reads_what_was_written_just_before(dut):
    """A read that is asked for at any moment around a write's answer; after it, it is the new."""
    await start_clock_and_reset(dut)
    bus = {name: getattr(dut, f"bus__{name}") for name in (
        "awvalid", "awready", "awaddr", "wvalid", "wready", "wdata", "wstrb", "bvalid", "bready",
        "arvalid", "arready", "araddr", "rvalid", "rready", "rdata",
    )}
    register = next(r for r in MAP if r.access is Access.WRITE and writable_bits(r) == 0xFFFFFFFF)
    for name in ("awvalid", "wvalid", "arvalid"):
        bus[name].value = 0
    bus["wstrb"].value, bus["bready"].value, bus["rready"].value = 15, 1, 1
    bus["awaddr"].value = bus["araddr"].value = register.offset
    await ClockCycles(dut.clk, 80, FallingEdge)
    chooser, old, after = random.Random(3), 0, 0
    for moment in [*range(10)] * 3:
        new = chooser.getrandbits(32)
        bus["wdata"].value = new
        bus["awvalid"].value = bus["wvalid"].value = 1
        answered = found = None
        asked = False
        for cycle in range(30):
            if cycle == moment:
                bus["arvalid"].value = 1
            await RisingEdge(dut.clk)
            if bus["bvalid"].value:
                answered = cycle
            if bus["arvalid"].value and bus["arready"].value:
                asked, expected = True, [new] if answered is not None else [old, new]
                after += answered == cycle
            if bus["rvalid"].value:
                found = bus["rdata"].value.to_unsigned()
            taken = {
                name: bus[f"{name}valid"].value and bus[f"{name}ready"].value
                for name in ("aw", "w", "ar")
            }
            await FallingEdge(dut.clk)
            for name, done in taken.items():
                if done:
                    bus[f"{name}valid"].value = 0
        assert asked
        assert found in expected, f"asked {moment} cycles after the write"
        old = new
    assert after, "no read was asked for in the cycle of the answer"


def test_channels_pause_each_by_itself():
    channels = [PAUSES["random"](seed) for seed in range(5)]
    check_random([[next(channel) for channel in channels] for _ in range(8192)], 0.6)


def test_registers():
    run_cocotb(RegisterFile(CFG), __name__)
