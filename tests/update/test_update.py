# SPDX-License-Identifier: Apache-2.0
"""UPDATE on a bus against the golden one: every byte of memory, every pause, and how fast."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiRam

from kiwicha.machine.isa import SLOTS, UPDATE, ErrorCode
from kiwicha.machine.optimizer import OPTIMIZERS, exact_shift, optimizer_fields
from kiwicha.machine.presets import preset
from kiwicha.machine.records import SLOT_LAYOUT

from ..parts.bus import PREFIX, ReadSubordinate, Referee, WriteSubordinate, pauses
from ..support.bench import bench_params, run_cocotb
from ..support.slow import slow
from ..support.streams import READY_POLICIES, StreamSource, pack, start_clock_and_reset
from .update_path import SIZE, UpdatePath, apply, finish, instruction, layout_of, tensor

TINY = preset("tiny")
MACHINES = {
    "tiny": TINY.replace(update={"lanes": 1}),
    "two": TINY.replace(update={"lanes": 2}),
    "default": preset("default").replace(update={"lanes": 4}),
    "half": preset("default").replace(update={"lanes": 2}, axi_burst_beats=1),
    "wide": TINY.replace(update={"lanes": 8}, axi_data_width=256),
    "slots": TINY.replace(
        update={"lanes": 2}, training={"classes": 16}, residual={"tables": 2}, transposer=True,
        special={"lanes": 1, "bytes": 256},
    ),
}


async def granted(dut):
    """Reset the unit and grant it all of memory."""
    await start_clock_and_reset(dut)
    dut.read_limit.value = dut.write_limit.value = SIZE


def paused(policy, seed):
    """When a channel pauses, after a ready policy."""
    if policy == "bursty":
        rng = np.random.default_rng(len(str(seed)))
        while True:
            for value in (False, True):
                for _ in range(int(rng.integers(1, 12))):
                    yield value
    yield from pauses({"always": 0.0, "random": 0.5, "after_valid": 0.85}[policy], seed)


@cocotb.test(timeout_time=3000, timeout_unit="us")
async def updates_memory(dut):
    params = bench_params()
    cfg, policy = MACHINES[params["machine"]], params["policy"]
    rng = np.random.default_rng(params["seed"])
    await granted(dut)
    ram = AxiRam(AxiBus.from_prefix(dut, PREFIX), dut.clk, size=SIZE)
    Referee(dut, beat_bytes=cfg.beat_bytes, burst_beats=cfg.axi_burst_beats)
    channels = [getattr(ram.write_if, f"{name}_channel") for name in ("aw", "w", "b")]
    channels += [getattr(ram.read_if, f"{name}_channel") for name in ("ar", "r")]
    if policy != "always":
        for number, channel in enumerate(channels):
            channel.set_pause_generator(paused(policy, f"{params['seed']} {number}"))
    # What lies beside is noise, so that a byte too much is seen.
    memory = rng.integers(0, 256, SIZE).astype(np.uint8)
    given = [instruction(cfg, rng) for _ in range(params["count"])]
    chosen = {name: OPTIMIZERS[name] for name in OPTIMIZERS}
    for fields, (momentum, root) in zip(given, chosen.values(), strict=False):
        fields |= {"momentum": int(momentum), "root": int(root), "accumulate": 0, "begin": 0}
        fields |= instruction(cfg, rng, **{
            name: fields[name] for name in ("momentum", "root", "accumulate", "begin", "count")
        })
    source, done, over = StreamSource(dut, "i", UPDATE), [], 0
    for number, fields in enumerate(given):
        tensor(memory, fields, cfg, rng)
        ram.write(0, memory.tobytes())
        source.put([fields])
        await finish(dut, done, number + 1)
        over += apply(memory, fields, cfg)
        got = np.frombuffer(ram.read(0, SIZE), np.uint8)
        wrong = np.flatnonzero(got != memory)
        assert wrong.size == 0, (number, wrong[:4], fields)
        assert int(dut.saturated.value) == over
    assert over > 0
    assert done == [fields["signal"] for fields in given]


@cocotb.test(timeout_time=3000, timeout_unit="us")
async def follows_slots_and_register(dut):
    """Shifts by the exponents of slots, near the limits and beyond them; rates of the register."""
    cfg = MACHINES[bench_params()["machine"]]
    rng = np.random.default_rng(197)
    await granted(dut)
    octets = bytearray(SIZE)
    ReadSubordinate(dut, octets, beat_bytes=cfg.beat_bytes, latency=5)
    WriteSubordinate(dut, octets, beat_bytes=cfg.beat_bytes, latency=5)
    memory = np.zeros(SIZE, np.uint8)
    source, done, over, further = StreamSource(dut, "i", UPDATE), [], 0, 0
    for number in range(24):
        fields = instruction(cfg, rng, count=int(rng.integers(1, 40)), scheduled=number % 2)
        if cfg.slots:
            fields["slots"] = int(rng.integers(16))
        if fields["slots"]:
            fields["gradient_shift"] = int(rng.integers(-32, 32))
        # The shift that all add up to.
        wanted = int(rng.choice([-18, -17, -16, 31, 32, int(rng.integers(-30, 40))]))
        exponents = rng.integers(-60, 60, SLOTS)
        chosen = [slot for slot in range(SLOTS) if fields["slots"] >> slot & 1]
        if chosen:
            rest = sum(exponents[slot] for slot in chosen[1:])
            exponents[chosen[0]] = np.clip(fields["gradient_shift"] - wanted - rest, -126, 127)
        exponents = exponents.tolist()
        rate = int(rng.choice([0, 1, 65535, 65536])) | int(rng.integers(32)) << 17
        dut.rate.value = rate
        if cfg.slots:
            # What else a scale has does not matter.
            scales = [(e + 127) << 23 | int(rng.integers(1 << 23)) for e in exponents]
            dut.slots.value = sum(s << SLOT_LAYOUT.size * k for k, s in enumerate(scales))
        tensor(memory, fields, cfg, rng)
        octets[:] = memory.tobytes()
        source.put([fields])
        await finish(dut, done, number + 1)
        over += apply(memory, fields, cfg, exponents, rate)
        further += exact_shift(fields, exponents)[1]
        assert octets == memory.tobytes(), (number, fields, exponents)
        assert int(dut.saturated.value) == over
    assert (further > 0) == cfg.slots


@cocotb.test(timeout_time=300, timeout_unit="us")
async def finds_what_it_wrote(dut):
    """Steps one behind the other, in place."""
    cfg = MACHINES[bench_params()["machine"]]
    rng = np.random.default_rng(190)
    await granted(dut)
    fields = instruction(cfg, rng, count=100, momentum=1, root=1, accumulate=0, wide=0)
    fields |= optimizer_fields("adam", rate=0.01) | {"gradient_shift": -16, "code_shift": 24}
    memory = rng.integers(0, 256, SIZE).astype(np.uint8)
    tensor(memory, fields, cfg, rng)
    octets = bytearray(memory.tobytes())
    ReadSubordinate(dut, octets, beat_bytes=cfg.beat_bytes, latency=20)
    WriteSubordinate(dut, octets, beat_bytes=cfg.beat_bytes, latency=40)
    StreamSource(dut, "i", UPDATE).put([fields] * 4)
    await finish(dut, [], 4)
    for _ in range(4):
        apply(memory, fields, cfg)
    assert octets == memory.tobytes()


@cocotb.test(timeout_time=300, timeout_unit="us")
async def keeps_the_bus_busy(dut):
    params = bench_params()
    cfg, count = MACHINES[params["machine"]], params["weights"]
    rng = np.random.default_rng(191)
    await granted(dut)
    momentum, root = OPTIMIZERS[params["optimizer"]]
    changes = {"momentum": int(momentum), "root": int(root), "accumulate": 0, "count": count}
    fields = instruction(cfg, rng, wide=params["wide"], **changes)
    octets = bytearray(SIZE)
    referee = Referee(dut, beat_bytes=cfg.beat_bytes, burst_beats=cfg.axi_burst_beats)
    ReadSubordinate(dut, octets, beat_bytes=cfg.beat_bytes, latency=20)
    WriteSubordinate(dut, octets, beat_bytes=cfg.beat_bytes, latency=20)
    StreamSource(dut, "i", UPDATE).put([fields])
    await finish(dut, [], 1)
    reads = referee.read_beats
    places = layout_of(fields, cfg)
    # Each beat once, and nothing but those.
    assert len(reads) == sum(places[n][1] for n in ("state", "gradients")) // cfg.beat_bytes
    writes = sum(places[n][1] for n in ("state", "codes")) // cfg.beat_bytes
    assert len(referee.write_beats) == writes
    assert reads[-1] - reads[0] + 1 - len(reads) <= params["idle"]


@cocotb.test(timeout_time=400, timeout_unit="us")
async def refuses_what_is_illegal(dut):
    cfg = MACHINES["tiny"]
    rng = np.random.default_rng(192)
    await granted(dut)
    referee = Referee(dut, beat_bytes=8, burst_beats=cfg.axi_burst_beats)
    octets = bytearray(SIZE)
    ReadSubordinate(dut, octets, beat_bytes=8)
    WriteSubordinate(dut, octets, beat_bytes=8)
    fine = instruction(cfg, rng, accumulate=0, begin=0)
    dut.rate.value = 65537
    cases = [
        {"count": 0}, {"gradient_shift": -17}, {"gradient_shift": -32}, {"state": 4},
        {"gradients": 1}, {"codes": 2}, {"begin": 1}, {"accumulate": 1, "momentum": 1},
        {"accumulate": 1, "momentum": 0, "root": 1}, {"reserved0": 1}, {"reserved0": 1 << 37},
        {"slots": 1}, {"slots": 8}, {"scheduled": 1},
        *({f"c{number}": value} for number in range(1, 7) for value in (65537, 131071)),
    ]
    for case in cases:
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        dut.rst.value = 0
        referee.reads.clear()
        dut.i__payload.value = pack(UPDATE, fine | case)
        dut.i__valid.value = 1
        faults = []
        for cycle in range(30):
            await RisingEdge(dut.clk)
            if cycle == 2:  # what follows would be legal; it is not executed any more
                dut.i__payload.value = pack(UPDATE, fine)
            if dut.error__valid.value:
                fault = int(dut.error__payload.value)
                faults.append((fault & 0xFF, fault >> 8))
        assert faults == [(ErrorCode.ILLEGAL_FIELD, 5)], case
        assert not referee.reads, case
        assert not dut.i__ready.value
        dut.i__valid.value = 0


@cocotb.test(timeout_time=400, timeout_unit="us")
async def stays_in_granted_memory(dut):
    """A beat of each piece is not granted, at its end or its beginning, or lies above all."""
    cfg = MACHINES["tiny"]
    rng = np.random.default_rng(193)
    await start_clock_and_reset(dut)
    referee = Referee(dut, beat_bytes=8, burst_beats=cfg.axi_burst_beats)
    fine = instruction(cfg, rng, count=301, accumulate=0, begin=0, momentum=1, root=1, wide=0)
    fine |= {"state": 0x4000, "gradients": 0x2000, "codes": 0x8000}
    memory = rng.integers(0, 256, SIZE).astype(np.uint8)
    tensor(memory, fine, cfg, rng)
    octets = bytearray(memory.tobytes())
    ReadSubordinate(dut, octets, beat_bytes=8)
    WriteSubordinate(dut, octets, beat_bytes=8)
    ends = {name: sum(pair) for name, pair in layout_of(fine, cfg).items()}
    for kind, base, limit, change in [
        ("read", 0, ends["state"] - 8, {}), ("read", 0x2008, SIZE, {}),
        ("write", 0x4008, SIZE, {}), ("write", 0, ends["codes"] - 1, {}),
        ("read", 0, SIZE, {"state": 1 << 40}), ("read", 0, SIZE, {"gradients": 1 << 32}),
        ("read", 0, SIZE, {"state": (1 << 32) - 512}), ("write", 0, SIZE, {"codes": 1 << 63}),
    ]:
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        dut.rst.value = dut.stop.value = 0
        for end, value in (("base", base), ("limit", limit)):
            other = {"read": "write", "write": "read"}[kind]
            getattr(dut, f"{kind}_{end}").value = value
            getattr(dut, f"{other}_{end}").value = 0 if end == "base" else SIZE
        referee.reads.clear()
        referee.writes.clear()
        dut.i__payload.value = pack(UPDATE, fine | change)
        dut.i__valid.value = 1
        codes = []
        for _ in range(2500):
            await RisingEdge(dut.clk)
            if dut.i__ready.value and dut.i__valid.value:
                dut.i__valid.value = 0
            for name in ("read", "write"):
                if getattr(dut, f"{name}_error__valid").value:
                    codes.append(int(getattr(dut, f"{name}_error__payload").value) & 0xFF)
                    dut.stop.value = 1
            assert not dut.done__valid.value
            if codes and dut.idle.value:
                break
        wanted = ErrorCode.READ_WINDOW if kind == "read" else ErrorCode.WRITE_WINDOW
        assert codes == [wanted], (kind, change, codes)
        log = referee.reads if kind == "read" else referee.writes
        assert all(base <= start and start + 8 * beats <= limit for _, start, beats in log)


@cocotb.test(timeout_time=2000, timeout_unit="us")
async def stops_anywhere(dut):
    """Whenever the machine is stopped, open transactions come to their end."""
    cfg = MACHINES["tiny"]
    rng = np.random.default_rng(194)
    await granted(dut)
    Referee(dut, beat_bytes=8, burst_beats=cfg.axi_burst_beats)
    octets = bytearray(SIZE)
    ReadSubordinate(dut, octets, beat_bytes=8, latency=15)
    WriteSubordinate(dut, octets, beat_bytes=8, latency=15)
    fields = instruction(cfg, rng, count=150, accumulate=0, begin=0, momentum=1)
    for cycles in range(20, 900, 37):
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        dut.rst.value = dut.stop.value = 0
        dut.i__payload.value = pack(UPDATE, fields)
        dut.i__valid.value = 1
        await ClockCycles(dut.clk, 3)
        dut.i__valid.value = 0
        await ClockCycles(dut.clk, cycles)
        dut.stop.value = 1
        await ClockCycles(dut.clk, 200)
        assert dut.idle.value, cycles


@slow("default-random", "default-after_valid", "default-always", "wide-always", "wide-bursty",
      "wide-after_valid")
@pytest.mark.parametrize("policy", READY_POLICIES)
@pytest.mark.parametrize("machine", ["tiny", "default", "wide"])
def test_updates_memory(machine, policy):
    count = 8 if machine == "tiny" else 5
    params = {"machine": machine, "policy": policy, "seed": 195, "count": count}
    unit = UpdatePath(MACHINES[machine])
    run_cocotb(unit, __name__, params=params, testcase="updates_memory")


@pytest.mark.parametrize("machine", ["two", "half"])
def test_lanes_and_bursts(machine):
    params = {"machine": machine, "policy": "always", "seed": 196, "count": 6}
    unit = UpdatePath(MACHINES[machine])
    run_cocotb(unit, __name__, params=params, testcase="updates_memory")


@pytest.mark.parametrize(("machine", "optimizer", "wide", "weights", "idle"), [
    # As many lanes as weights in a beat: reads alone are what it waits for.
    ("default", "sgd", 0, 2048, 4), ("default", "sgd", 1, 1024, 2), ("default", "adam", 0, 1024, 2),
    # One lane for two weights of a beat: three beats of state come meanwhile.
    ("tiny", "adam", 0, 1024, 63),
])
def test_keeps_the_bus_busy(machine, optimizer, wide, weights, idle):
    params = {"machine": machine, "optimizer": optimizer, "wide": wide, "weights": weights,
              "idle": idle}
    unit = UpdatePath(MACHINES[machine])
    run_cocotb(unit, __name__, params=params, testcase="keeps_the_bus_busy")


@pytest.mark.parametrize("case", [
    "finds_what_it_wrote", "refuses_what_is_illegal", "stays_in_granted_memory", "stops_anywhere",
])
def test_rules(case):
    unit = UpdatePath(MACHINES["tiny"])
    params = {"machine": "tiny"}
    run_cocotb(unit, __name__, params=params, testcase=case)


@pytest.mark.parametrize("machine", ["tiny", "slots"])
def test_follows_slots_and_register(machine):
    unit = UpdatePath(MACHINES[machine])
    params = {"machine": machine}
    run_cocotb(unit, __name__, params=params, testcase="follows_slots_and_register")


def test_needs_lanes():
    with pytest.raises(ValueError, match="update.lanes is 0"):
        UpdatePath(TINY).elaborate(None)
