# SPDX-License-Identifier: Apache-2.0
"""Words become the instruction whose bits they are, also while one waits at the output."""

import random

import cocotb
import pytest
from amaranth.lib import data
from cocotb.triggers import ClockCycles

from kiwicha.hw.control.assemble import Assembler
from kiwicha.machine.isa import COMPUTE, END, INSTRUCTIONS, LOAD, Opcode

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset

CASES = ["LOAD", "COMPUTE", "END"]


def words_of(layout, bits):
    return [bits >> low & (1 << 64) - 1 for low in range(0, layout.size, 64)]


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(offer=["always", "random"], ready=READY_POLICIES)
async def assembles(dut, offer, ready):
    layout = INSTRUCTIONS[Opcode[bench_params()["opcode"]]]
    await start_clock_and_reset(dut)
    chooser = random.Random(9)
    instructions = [chooser.getrandbits(layout.size) for _ in range(40)]
    source = StreamSource(dut, "i", 64, policy=offer, seed=3)
    sink = StreamSink(dut, "o", None, policy=ready, seed=4)
    source.put(word for bits in instructions for word in words_of(layout, bits))
    assert await sink.receive(len(instructions)) == instructions
    await ClockCycles(dut.clk, 2)
    assert dut.empty.value == 1


@cocotb.test(timeout_time=200, timeout_unit="us")
async def takes_the_next_while_one_waits(dut):
    layout = INSTRUCTIONS[Opcode[bench_params()["opcode"]]]
    words = layout.size // 64
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "i", 64)
    source.put(range(1, 3 * words + 1))
    await ClockCycles(dut.clk, 3 * words + 5)
    assert dut.o__valid.value == 1
    assert source.sent == 2 * words - 1
    assert dut.empty.value == 0


@pytest.mark.parametrize("opcode", CASES)
def test_assembler(opcode):
    layout = INSTRUCTIONS[Opcode[opcode]]
    run_cocotb(Assembler(layout), __name__, params={"opcode": opcode})


def test_layouts_are_those_meant():
    assert (LOAD.size, COMPUTE.size, END.size) == (256, 832, 64)


def test_refuses_parts_of_words():
    with pytest.raises(ValueError, match="^layout is 65 bits; legal: a multiple of 64$"):
        Assembler(data.StructLayout({"wait": 65}))
