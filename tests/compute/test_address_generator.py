# SPDX-License-Identifier: Apache-2.0
"""Every step of random instructions against the golden model, and the cycle in which it comes."""

import random
from math import prod

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from kiwicha.golden.address_generator import compute_steps
from kiwicha.hw.compute.address_generator import STEP, AddressGenerator
from kiwicha.machine import isa

from ..support.bench import bench_params, run_cocotb
from ..support.slow import slow
from ..support.streams import StreamSource, pack, start_clock_and_reset, unpack

ROWS = 16
WILD = 1 << 23
REGISTERED = pytest.mark.parametrize("registered", [True, False])


def random_instruction(chooser, depthwise=False):
    counts = [chooser.choice((1, 1, 2, 3, 4, 12)) for _ in range(isa.LEVELS)]
    while prod(counts) > 300:
        counts[chooser.randrange(isa.LEVELS)] = 1
    names = ("accumulate", "maximum")
    fields = {name: chooser.randrange(2) for name in names}
    unused = ("dynamic", "slot", "reserved0", "reserved1", "activation_zero", "pad")
    fields |= dict.fromkeys(unused, 0) | {"filter": 0, "tail": 0, "line_tail": 0}
    if depthwise:
        tails = [chooser.choice((0, count - 1, count // 2)) for count in counts[:2]]
        assert max(tails) < ROWS
        fields |= {"filter": chooser.randrange(2), "tail": tails[0], "line_tail": tails[1]}
    return fields | {
        "signal": chooser.randrange(16),
        "rows": chooser.choice((1, ROWS, chooser.randint(1, ROWS))),
        "y": chooser.randrange(-32768, 32768),
        "x": chooser.randrange(-WILD, WILD),
        "address": chooser.randrange(-WILD, WILD),
        "y_limit": chooser.randrange(65536),
        "x_limit": chooser.randrange(1 << 24),
        "weight": chooser.randrange(1 << 22),
        "weight_stride": chooser.randrange(1 << 12),
        "accumulator": chooser.randrange(1 << 15),
        "levels": [
            {
                "count": count,
                "y": chooser.randrange(-32768, 32768),
                "x": chooser.randrange(-WILD, WILD),
                "address": chooser.randrange(-WILD, WILD),
            }
            for count in counts
        ],
    }


def expected_steps(fields):
    steps = compute_steps(fields)
    constant = {name: fields[name] for name in ("y_limit", "x_limit", "maximum")}
    for index in range(len(steps)):
        last = index == len(steps) - 1
        step = {name: int(getattr(steps, name)[index]) for name in ("y", "x", "address", "entry")}
        yield (
            {
                **step,
                **constant,
                "first": int(steps.first[index]),
                "begin": int(index == 0),
                "switch": int(index % steps.pixels == 0),
                "last": int(last),
                "signal": fields["signal"],
            },
            int(steps.weight_row[index]),
            int(steps.result[index]),
        )


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def walks(dut):
    params = bench_params()
    interval, gap, policy = params["interval"], params["gap"], params["policy"]
    chooser = random.Random(f"{interval} {gap}")
    depthwise = params["depthwise"]
    program = [random_instruction(chooser, depthwise) for _ in range(30)]
    await start_clock_and_reset(dut)
    StreamSource(dut, "i", isa.COMPUTE, policy=policy, seed=3).put(program)
    steps = [(index, *step) for index, one in enumerate(program) for step in expected_steps(one)]
    stall = random.Random(4)
    found, started, tile, free = 0, 0, None, 0
    previous = -gap
    cycle = 0
    while found < len(steps):
        await RisingEdge(dut.clk)
        started += int(dut.started.value)
        assert not int(dut.illegal.value)
        valid = int(dut.o__valid.value)
        if valid:
            index, expected, weight_row, result = steps[found]
            assert not depthwise or int(dut.result.value) == result
            assert unpack(STEP, dut.o__payload.value.to_unsigned()) == expected
            assert (tile is not None) == bool(expected["switch"])
            # Not too early; and not too late, where neither the source nor `stop` pauses.
            if expected["switch"]:
                assert tile == weight_row
                least = max(free, previous + (gap if expected["begin"] else 1))
                assert cycle >= least
                free = cycle + max(interval, program[index]["rows"])
            else:
                least = previous + 1
            if policy == "always" and found and not params["stall"]:
                assert cycle == least
            previous = cycle
            found += 1
        tile = int(dut.tile__payload.value) if int(dut.tile__valid.value) else None
        cycle += 1
        await FallingEdge(dut.clk)
        dut.stop.value = int(params["stall"] and stall.random() < 0.2)
    dut.stop.value = 0
    assert started == len(program)
    for _ in range(2 * interval + 30):
        await RisingEdge(dut.clk)
        assert not int(dut.o__valid.value)
        assert not int(dut.tile__valid.value)


@slow(
    "7-5-True-random", "7-5-True-bursty", "18-5-True-random", "18-5-True-bursty",
    "16-7-True-random", "16-7-True-bursty", "6-4-False-bursty",
)
@pytest.mark.parametrize("policy", ["always", "random", "bursty"])
@pytest.mark.parametrize(("interval", "gap", "registered"), [
    (6, 4, True), (7, 5, True), (18, 5, True), (16, 7, True), (6, 4, False),
])
def test_walks(interval, gap, policy, registered):
    unit = AddressGenerator(ROWS, interval, gap, registered=registered)
    params = {"interval": interval, "gap": gap, "policy": policy, "stall": False}
    run_cocotb(unit, __name__, testcase="walks", params={**params, "depthwise": False})


@pytest.mark.parametrize("policy", ["always", "random", "bursty"])
@REGISTERED
def test_walks_with_tails(registered, policy):
    unit = AddressGenerator(ROWS, 7, 5, depthwise=True, registered=registered)
    params = {"interval": 7, "gap": 5, "policy": policy, "stall": policy != "always"}
    run_cocotb(unit, __name__, testcase="walks", params={**params, "depthwise": True})


@REGISTERED
def test_stops(registered):
    unit = AddressGenerator(ROWS, 9, 5, registered=registered)
    params = {"interval": 9, "gap": 5, "policy": "always", "stall": True, "depthwise": False}
    run_cocotb(unit, __name__, testcase="walks", params=params)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def refuses(dut):
    chooser = random.Random(1)
    await start_clock_and_reset(dut)
    good = random_instruction(chooser)
    bad = [{"rows": 0}, {"rows": ROWS + 1}, {"rows": 127}]
    bad += [{"reserved0": 1 << bit} for bit in (0, isa.COMPUTE["reserved0"].width - 1)]
    bad += [{"dynamic": 1}, {"slot": 1}, {"slot": 2}]
    bad += [{"reserved1": 1 << bit} for bit in (0, isa.COMPUTE["reserved1"].width - 1)]
    counts = [item["count"] for item in good["levels"]]
    if bench_params()["depthwise"]:
        bad += [{"tail": counts[0]}, {"tail": 127}, {"line_tail": counts[1]}]
        long = [{**item, "count": 100} for item in good["levels"]]
        bad += [{"levels": long, name: ROWS} for name in ("tail", "line_tail")]
    else:
        bad += [{name: 1} for name in ("filter", "tail", "line_tail")] + [{"line_tail": 64}]
    for index in range(isa.LEVELS):
        levels = [dict(item) for item in good["levels"]]
        levels[index]["count"] = 0
        bad.append({"levels": levels})
    for change in bad:
        dut.i__payload.value = pack(isa.COMPUTE, {**good, **change})
        dut.i__valid.value = 1
        illegal = []
        for _ in range(60):
            await RisingEdge(dut.clk)
            illegal.append(int(dut.illegal.value))
            assert not int(dut.o__valid.value)
        assert illegal == sorted(illegal)
        assert sum(illegal) > 50
        await FallingEdge(dut.clk)
        dut.i__valid.value, dut.rst.value = 0, 1
        await FallingEdge(dut.clk)
        dut.rst.value = 0


@pytest.mark.parametrize("depthwise", [False, True])
@REGISTERED
def test_refuses(registered, depthwise):
    unit = AddressGenerator(ROWS, registered=registered, depthwise=depthwise)
    run_cocotb(unit, __name__, testcase="refuses", params={"depthwise": depthwise})


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def first_step(dut):
    await start_clock_and_reset(dut)
    dut.i__payload.value = pack(isa.COMPUTE, random_instruction(random.Random(2)))
    dut.i__valid.value = 1
    for cycle in range(bench_params()["latency"] + 1):
        await RisingEdge(dut.clk)
        assert int(dut.o__valid.value) == (cycle == bench_params()["latency"])


@pytest.mark.parametrize(("registered", "latency"), [(True, 3), (False, 2)])
def test_latency(registered, latency):
    unit = AddressGenerator(ROWS, registered=registered)
    assert unit.latency == latency
    run_cocotb(unit, __name__, testcase="first_step", params={"latency": latency})


def test_illegal_parameters():
    for arguments, message in (
        ((0,), "rows is 0; legal: 1 to 128"),
        ((129,), "rows is 129; legal: 1 to 128"),
        ((4, 6, 5), "interval is 6; legal: 7 to 127"),
        ((4, 128), "interval is 128; legal: 7 to 127"),
        ((4, 20, 3), "gap is 3; legal: 4 to 7"),
        ((4, 20, 8), "gap is 8; legal: 4 to 7"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            AddressGenerator(*arguments)
