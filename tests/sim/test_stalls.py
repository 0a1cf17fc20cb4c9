# SPDX-License-Identifier: Apache-2.0
"""The stalls of the simulated memory: as defined, without a period, each channel by itself."""

import cocotb
import numpy as np
import pytest
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer
from numpy.typing import NDArray

from kiwicha.sim.simulation import TESTBENCH, SimulatedMachine

from ..support.bench import build_verilog, run_build
from ..support.randomness import check_random
from ..support.slow import slow

CHANNELS = 5
CYCLES = 8192
CASES = [(1, 128), (2**31 - 1, 20), (2, 235), (0, 255)]
"""Seeds and chances that run on the Verilog."""

PERIOD = 8
HELD = 64  # cycles from which Python takes what waited at once
HOLDER = f"""
module holder (
    input clk, input rst, input [31:0] seed, input [7:0] chance,
    output reg [{HELD * CHANNELS - 1}:0] held
);
  wire [{CHANNELS - 1}:0] waits;
  stalls dut (.clk(clk), .rst(rst), .seed(seed), .chance(chance), .waits(waits));
  always @(negedge clk) held <= {{held, waits}};
endmodule
"""

_GAMMA = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1

Waits = NDArray[np.bool_]


def mixed(number: int) -> int:
    """Return what SplitMix64 makes of its state."""
    z = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _WORD
    return z ^ z >> 31


def waits(seed: int, chance: int, cycles: int) -> Waits:
    """Return, by cycle and channel, what waits after a reset with ``seed``."""
    places = [mixed(channel << 32 | seed) for channel in range(CHANNELS)]
    return np.array([
        [mixed(place + cycle * _GAMMA & _WORD) >> 56 < chance for place in places]
        for cycle in range(cycles)
    ])


def old_generator(seed: int, chance: int, cycles: int) -> Waits:
    """Return what a 32-bit xorshift without its last shift makes: a period of 32 cycles."""
    noise, rows = 0x2545F491 ^ seed, []
    for _ in range(cycles):
        rows.append([(noise >> low & 255) < chance for low in (0, 5, 10, 17, 24)])
        noise ^= noise << 13 & 0xFFFFFFFF
        noise ^= noise >> 17
    return np.array(rows)


@cocotb.test()
async def equals_its_definition(dut):
    Clock(dut.clk, PERIOD, "ns").start()
    await FallingEdge(dut.clk)
    await Timer(PERIOD // 4, "ns")  # `held` has moved

    async def step(cycles):
        dut.rst.value = 0
        found = []
        for _ in range(cycles // HELD):
            await Timer(HELD * PERIOD, "ns")
            bits = f"{dut.held.value.to_unsigned():0{HELD * CHANNELS}b}"
            found.append(np.array([*bits], np.uint8).reshape(HELD, CHANNELS)[:, ::-1])
        return np.concatenate(found).astype(bool)

    async def restart():
        dut.rst.value = 1
        await Timer(PERIOD, "ns")

    for seed, chance in CASES:
        dut.seed.value, dut.chance.value = seed, chance
        await restart()
        found = await step(CYCLES)
        assert np.array_equal(found, waits(seed, chance, CYCLES)), f"seed {seed} chance {chance}"
        if 20 <= chance <= 235:  # where so many cycles have enough of either
            check_random(found, chance / 256)
    # Without stalls the streams stand still, and then go on.
    await restart()
    dut.chance.value = 0
    assert not (await step(4 * HELD)).any()
    dut.chance.value = chance
    assert np.array_equal(await step(HELD), waits(seed, chance, HELD))


@slow("verilator")
@pytest.mark.parametrize("simulator", [None, "verilator"])
def test_stalls(simulator):
    text = TESTBENCH[1].read_text(encoding="utf-8") + HOLDER
    build = build_verilog(text, name="stalls", toplevel="holder", simulator=simulator)
    run_build(build, __name__)


def test_period():
    # The state is the cycle times an odd number, so it comes back after 2^64 cycles, no sooner;
    # and what is made of it is a permutation, so the sequence of 64-bit numbers does neither.
    assert _GAMMA % 2 == 1
    assert pow(0xBF58476D1CE4E5B9, -1, 1 << 64)
    assert pow(0x94D049BB133111EB, -1, 1 << 64)


def test_seeds_and_channels_are_unrelated():
    # Neighbouring seeds side by side, as if they were channels.
    found = np.concatenate([waits(seed, 128, CYCLES)[:, :2] for seed in (1, 2, 3)], axis=1)
    check_random(found, 1 / 2)


@pytest.mark.parametrize("seed", [1, 2, 3, 12345])
def test_finds_a_short_period(seed):
    with pytest.raises(AssertionError):
        check_random(old_generator(seed, 100, CYCLES), 100 / 256)


def test_finds_one_stream_for_all_channels():
    one = waits(1, 128, CYCLES + CHANNELS)[:, 0]
    late = np.stack([one[k : CYCLES + k] for k in range(CHANNELS)], axis=1)
    with pytest.raises(AssertionError, match=r"^channels \d and \d, lag 1$"):
        check_random(late, 1 / 2)


@pytest.mark.parametrize("stall", [-1, 256])
def test_refuses_a_chance_out_of_range(stall):
    machine = SimulatedMachine(None, None, 0)
    with pytest.raises(ValueError, match=rf"^stall is {stall}; legal: 0 to 255$"):
        machine.run(None, (0, 0), (0, 0), (0, 0), stall=stall)
