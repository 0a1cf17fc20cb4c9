# SPDX-License-Identifier: Apache-2.0
"""Every word reaches the queue of its engine, in order; bad words stop the machine."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.hw.control.dispatch import DISPATCH_NUMBER, PROGRAM_WORD, Dispatch, Router
from kiwicha.hw.control.engines import machine_engines
from kiwicha.hw.parts.fault import FAULT
from kiwicha.machine.isa import ENGINES, Engine, ErrorCode, Opcode
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset
from .programs import END_WORD, engine_words, random_instruction, random_mask

BASE = 0x8765_4321_9ABC_DEF0
PLAIN = preset("tiny")
SPECIAL = PLAIN.replace(special={"lanes": 1})


def engines():
    """Return the engines of the machine under test."""
    return [Engine(number) for number in bench_params()["engines"]]


def noise(chooser, count):
    """Return the words of random instructions, per engine and all together."""
    return engine_words([random_instruction(chooser, engines=engines()) for _ in range(count)])


async def begin(dut, words, policies, offer="always", base=BASE):
    """Feed ``words`` of these addresses; return the source, a sink for each engine, the faults."""
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "i", PROGRAM_WORD, policy=offer, seed=1)
    sinks = [
        StreamSink(dut, f"o__{number}", 64, policy=policy, seed=number)
        for number, policy in enumerate(policies)
    ]
    source.put({"word": word, "address": base + 8 * k} for k, word in enumerate(words))
    return source, sinks, StreamSink(dut, "error", FAULT)


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(offer=["always", "random"], rotate=[0, 1, 2, 3])
async def routes(dut, offer, rotate):
    chooser = random.Random(rotate)
    separate, together = noise(chooser, 100)
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
    if engine not in engines():
        return
    chooser = random.Random(engine)
    instruction = random_instruction(chooser, Engine(engine), engines=engines())
    separate, together = engine_words([instruction])
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
    if opcode == Opcode.SPECIAL and Engine.SPECIAL in engines():
        return
    chooser = random.Random(opcode)
    separate, together = noise(chooser, 3)
    words = [*together, chooser.getrandbits(60) << 4 | opcode, END_WORD]
    base = chooser.getrandbits(60) << 3
    source, sinks, faults = await begin(dut, words, ["always"] * ENGINES, base=base)
    await ClockCycles(dut.clk, len(words) + 20)
    assert source.sent == len(together) + 1
    assert [list(sink.words) for sink in sinks] == separate
    address = base + 8 * len(together)
    assert list(faults.words) == [{"code": ErrorCode.ILLEGAL_OPCODE.value, "address": address}]
    assert dut.ended.value == 0


@cocotb.test(timeout_time=50, timeout_unit="us")
@cocotb.parametrize(engine=list(range(ENGINES)), field=["wait", "signal"])
async def refuses_to_wait_for_or_signal_what_is_not_there(dut, engine, field):
    there = engines()
    if engine not in there:
        return
    chooser = random.Random(engine)
    before, together = noise(chooser, 3)
    named = random_mask(chooser, there) | 1 << Engine.SPECIAL
    last = random_instruction(chooser, Engine(engine), engines=there, **{field: named})
    separate, words = engine_words([last])
    source, sinks, faults = await begin(dut, [*together, *words, END_WORD], ["always"] * ENGINES)
    await ClockCycles(dut.clk, len(together) + len(words) + 20)
    accepted = Engine.SPECIAL in there
    assert source.sent == len(together) + (len(words) + 1 if accepted else 1)
    got = [
        first + (second if accepted else []) for first, second in zip(before, separate, strict=True)
    ]
    assert [list(sink.words) for sink in sinks] == got
    expected = {"code": ErrorCode.ILLEGAL_FIELD.value, "address": engine}
    assert list(faults.words) == ([] if accepted else [expected])
    assert dut.ended.value == accepted


@cocotb.test(timeout_time=50, timeout_unit="us")
@cocotb.parametrize(bit=[4, 7, 8, 9, 13, 14, 40, 63])
async def refuses_end_with_fields(dut, bit):
    source, _, faults = await begin(dut, [END_WORD | 1 << bit, END_WORD], ["always"] * ENGINES)
    await ClockCycles(dut.clk, 20)
    assert source.sent == 1
    expected = {"code": ErrorCode.ILLEGAL_FIELD.value, "address": DISPATCH_NUMBER}
    assert list(faults.words) == [expected]
    assert dut.ended.value == 0


@pytest.mark.parametrize("cfg", [PLAIN, SPECIAL], ids=["plain", "special"])
def test_dispatch(cfg):
    run_cocotb(Dispatch(cfg), __name__, params={"engines": list(machine_engines(cfg))})


def test_refuses_long_instructions():
    with pytest.raises(ValueError, match="^length of LOAD is 65; legal: 1 to 64$"):
        Router({Engine.LOAD: 65})
