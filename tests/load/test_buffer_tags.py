# SPDX-License-Identifier: Apache-2.0
"""The scratchpad with tags: every run at every offset is what the golden model has there."""

import random
from collections import deque

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.golden.buffer_tags import BufferTags as Golden
from kiwicha.golden.buffer_tags import Tag
from kiwicha.hw.load.buffer_tags import TAG, BufferTags, line_write, tagged_run
from kiwicha.machine.line_tags import TagFormat

from ..support.bench import bench_params, run_cocotb
from ..support.netlist import assert_structure
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset

LINES = 8


def fields(tag):
    """The tag as the unit has it."""
    return {"exponent": tag.exponent, "width": tag.width - 1, "format": tag.format}


class Writes:
    """Random writes, for the unit and for the golden model."""

    def __init__(self, line, requantize, seed):
        self.line, self.requantize = line, requantize
        self.chooser = random.Random(seed)
        self.golden = Golden(line, LINES, requantize=requantize)
        self.exponents = (0, 1, 2, 3) if seed % 2 else (-128, -9, -1, 0, 4, 6, 127)

    def tag(self):
        """Mostly of one kind, so that many writes meet a line of their own."""
        width, form = 8, TagFormat.POWER
        if self.chooser.random() < 0.4:
            width, form = self.chooser.choice((8, 8, 8, 5)), self.chooser.choice(list(TagFormat))
        return Tag(self.chooser.choice(self.exponents), width, form)

    def one(self, number, *, whole=False):
        """Return a write to a line and whether it is refused, which the golden model says."""
        head, tail, fresh = 0, self.line - 1, 0
        if self.requantize and not whole and self.chooser.random() < 0.8:
            head = self.chooser.randrange(self.line)
            tail = self.chooser.randrange(head, self.line)
            fresh = int(self.chooser.random() < 0.1)
        codes = [self.chooser.choice((-128, 127, 0, self.chooser.randint(-128, 127)))
                 for _ in range(self.line)]
        tag = Tag(0) if whole else self.tag()
        part = np.array(codes[head : tail + 1], np.int8)
        try:
            self.golden.write(number * self.line + head, part, tag, fresh=bool(fresh))
            refused = False
        except ValueError:
            refused = True
        part = {"head": head, "tail": tail, "fresh": fresh} if self.requantize else {}
        return {"line": number, "tag": fields(tag), "data": codes, **part}, refused


def expected(golden, line, address):
    codes, tags = golden.read(address, line)
    border = line - address % line
    following = golden.tags[(address // line + 1) % LINES]
    return {
        "lanes": codes.tolist(), "border": border,
        "lower": fields(tags[0]), "upper": fields(following),
    }


@cocotb.test(timeout_time=60, timeout_unit="us")
async def matches_golden(dut):
    """Lines of one half are written while runs of the other half are read."""
    params = bench_params()
    line, requantize = params["line"], params["requantize"]
    writes = Writes(line, requantize, params["seed"])
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "write", line_write(line, LINES, requantize),
                          policy=params["offer"], seed=2)
    reader = StreamSource(dut, "read", policy=params["offer"], seed=3)
    sink = StreamSink(dut, "o", tagged_run(line), policy=params["policy"])
    refusals = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            refusals.append(int(dut.mixed.value))

    if requantize:
        cocotb.start_soon(watch())
    await source.send([writes.one(number, whole=True)[0] for number in range(LINES)])
    await ClockCycles(dut.clk, 3)
    due, refused, half = deque(), 0, 0
    for _ in range(6):
        # Runs of the half that rests, the last byte's among them: its next line does not count.
        rest = [n for n in range(LINES) if n // (LINES // 2) != half]
        addresses = [n * line + k for n in rest[:-1] for k in range(line)] + [rest[-1] * line]
        writes.chooser.shuffle(addresses)
        due.extend(expected(writes.golden, line, address) for address in addresses)
        reader.put(addresses)
        both = [writes.one(half * (LINES // 2) + writes.chooser.randrange(LINES // 2))
                for _ in range(60)]
        refused += sum(no for _, no in both)
        await source.send([word for word, _ in both])
        found = await sink.receive(len(addresses))
        for got, address in zip(found, addresses, strict=True):
            want = due.popleft()
            if address == rest[-1] * line:
                want["upper"] = got["upper"]
            assert got == want, address
        await ClockCycles(dut.clk, 3)
        half = 1 - half
    # Everything once more, over the end.
    addresses = list(range(line * LINES))
    reader.put(addresses)
    found = await sink.receive(len(addresses))
    assert found == [expected(writes.golden, line, address) for address in addresses]
    if requantize:
        await ClockCycles(dut.clk, 2)
        assert sum(refusals) == refused
        assert refused > 10


@cocotb.test(timeout_time=20, timeout_unit="us")
async def keeps_pace(dut):
    """A run a cycle, two cycles after its address; whole writes a cycle, parts of other lines too,
    and two cycles' pause between parts of one."""
    line, requantize = bench_params()["line"], bench_params()["requantize"]
    writes = Writes(line, requantize, 1)
    await start_clock_and_reset(dut)
    source = StreamSource(dut, "write", line_write(line, LINES, requantize))

    async def cycles(words):
        """Return the cycles from the first to the last of so many, both included."""
        await ClockCycles(dut.clk, 3)
        before, count = source.sent, 1
        source.put(words)
        while source.sent == before:
            await RisingEdge(dut.clk)
        while source.sent < before + len(words):
            await RisingEdge(dut.clk)
            count += 1
        return count

    whole = [writes.one(number, whole=True)[0] for number in range(LINES)]
    assert await cycles(whole) == LINES
    assert await cycles(whole[:1] * 6) == 6
    if requantize:
        parts = [word | {"tail": 0} for word in whole]
        assert await cycles(parts) == LINES
        assert await cycles(parts[:1] * 6) == 16
        assert await cycles([parts[0], parts[1]] * 3) == 8
        assert await cycles([word | {"fresh": 1} for word in parts[:1]] * 6) == 6
    await ClockCycles(dut.clk, 3)
    sink = StreamSink(dut, "o", tagged_run(line))
    reader = StreamSource(dut, "read")
    reader.put(range(40))
    while not reader.sent:
        await RisingEdge(dut.clk)
    for count in range(40):
        # What was taken at an edge is offered after the next but one.
        assert len(sink.words) == max(0, count - 1)
        await RisingEdge(dut.clk)


@pytest.mark.parametrize("policy", READY_POLICIES)
@pytest.mark.parametrize(("requantize", "line", "offer"), [
    (False, 4, "always"), (True, 4, "random"), (True, 8, "always"),
])
def test_matches_golden(requantize, line, offer, policy):
    params = {"requantize": requantize, "line": line, "offer": offer, "policy": policy,
              "seed": READY_POLICIES.index(policy)}
    unit = BufferTags(line, LINES, requantize=requantize)
    run_cocotb(unit, __name__, params=params, testcase="matches_golden")


@pytest.mark.parametrize("requantize", [False, True])
def test_keeps_pace(requantize):
    unit = BufferTags(8, LINES, requantize=requantize)
    params = {"line": 8, "requantize": requantize}
    run_cocotb(unit, __name__, params=params, testcase="keeps_pace")


@pytest.mark.parametrize("requantize", [False, True])
def test_structure(requantize):
    assert_structure(BufferTags(4, LINES, requantize=requantize))


def test_bad_sizes():
    for line in (1, 3, 256):
        with pytest.raises(ValueError, match=rf"^line is {line}; legal: a power of two, 2 to 128$"):
            BufferTags(line, LINES)
    for lines in (2, 6):
        with pytest.raises(ValueError, match=rf"^lines is {lines}; legal: a power of two, "):
            BufferTags(8, lines)
    assert TAG.size == 13
    assert [BufferTags(8, 16, requantize=r).write_latency for r in (False, True)] == [1, 3]
