# SPDX-License-Identifier: Apache-2.0
"""Every word reaches the queue of its engine, in order; bad words stop the machine."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from hw.config import preset
from hw.control.dispatch import DISPATCH_NUMBER, PROGRAM_WORD, Dispatch, Router
from hw.control.fault import FAULT
from hw.isa import ENGINES, Engine, ErrorCode, Opcode
from tests.control.programs import END_WORD, engine_words, random_instruction
from tests.support.bench import run_cocotb
from tests.support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset

BASE = 0x8765_4321_9ABC_DEF0


async def begin(dut, words, policies, offer="always"):
    """Feed ``words``; return the source, a sink for each engine and one for faults."""
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "i", PROGRAM_WORD, policy=offer, seed=1)
    sinks = [
        StreamSink(dut, f"o__{number}", 64, policy=policy, seed=number)
        for number, policy in enumerate(policies)
    ]
    source.put({"word": word, "address": BASE + 8 * k} for k, word in enumerate(words))
    return source, sinks, StreamSink(dut, "error", FAULT)


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(offer=["always", "random"], rotate=[0, 1, 2, 3])
async def routes(dut, offer, rotate):
    chooser = random.Random(rotate)
    separate, together = engine_words([random_instruction(chooser) for _ in range(100)])
    # Noise after END: none of it may be taken.
    words = [*together, END_WORD, *(chooser.getrandbits(64) for _ in range(20))]
    policies = [READY_POLICIES[(rotate + number) % 4] for number in range(ENGINES)]
    source, sinks, faults = await begin(dut, words, policies, offer)
    for sink, expected in zip(sinks, separate, strict=True):
        assert await sink.receive(len(expected)) == expected
    while not dut.ended.value:
        await RisingEdge(dut.clk)
    await ClockCycles(dut.clk, 20)
    assert source.sent == len(together) + 1
    assert dut.empty.value == 1
    assert not any(sink.words for sink in sinks)
    assert not faults.words


@cocotb.test(timeout_time=50, timeout_unit="us")
@cocotb.parametrize(engine=list(range(ENGINES)))
async def is_empty_only_when_no_queue_holds_a_word(dut, engine):
    separate, together = engine_words([random_instruction(random.Random(engine), Engine(engine))])
    source, _, _ = await begin(dut, [*together, END_WORD], [])
    await ClockCycles(dut.clk, 30)
    assert source.sent == len(together) + 1
    assert dut.ended.value == 1
    assert dut.empty.value == 0
    sink = StreamSink(dut, f"o__{engine}", 64)
    assert await sink.receive(len(together)) == separate[engine]
    await ClockCycles(dut.clk, 2)
    assert dut.empty.value == 1


@cocotb.test(timeout_time=50, timeout_unit="us")
@cocotb.parametrize(opcode=[0, *range(Opcode.END + 1, 16)])
async def refuses_unknown_opcodes(dut, opcode):
    chooser = random.Random(opcode)
    separate, together = engine_words([random_instruction(chooser) for _ in range(3)])
    words = [*together, chooser.getrandbits(60) << 4 | opcode, END_WORD]
    source, sinks, faults = await begin(dut, words, ["always"] * ENGINES)
    await ClockCycles(dut.clk, len(words) + 20)
    assert source.sent == len(together)
    assert [list(sink.words) for sink in sinks] == separate
    address = BASE + 8 * len(together)
    assert list(faults.words) == [{"code": ErrorCode.ILLEGAL_OPCODE.value, "address": address}]
    assert dut.ended.value == 0


@cocotb.test(timeout_time=50, timeout_unit="us")
@cocotb.parametrize(bit=[4, 7, 8, 11, 12, 40, 63])
async def refuses_end_with_fields(dut, bit):
    source, _, faults = await begin(dut, [END_WORD | 1 << bit, END_WORD], ["always"] * ENGINES)
    await ClockCycles(dut.clk, 20)
    assert source.sent == 0
    expected = {"code": ErrorCode.ILLEGAL_FIELD.value, "address": DISPATCH_NUMBER}
    assert list(faults.words) == [expected]
    assert dut.ended.value == 0


def test_dispatch():
    run_cocotb(Dispatch(preset("tiny")), __name__)


def test_refuses_long_instructions():
    with pytest.raises(ValueError, match="^length of LOAD is 65; legal: 1 to 64$"):
        Router({Opcode.LOAD: 65})
