# SPDX-License-Identifier: Apache-2.0
"""In the harness every input bit reaches its port and every output bit changes the result."""

import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from kiwicha.bench.harness import Harness
from kiwicha.hw.verilog.emit import emit_rtlil

PORTS = {
    "plain": In(5),
    "several": In(signed(3)).array(2),
    "words": In(stream.Signature(data.StructLayout({"a": 4, "b": data.ArrayLayout(2, 3)}))),
    "free": In(stream.Signature(2, always_ready=True)),
}
BITS = 5 + 2 * 3 + (10 + 1) + (2 + 1)


class Mirror(wiring.Component):
    """Gives all its input bits, or only one of them, as separate output ports.

    Parameters
    ----------
    only : the bit of the inputs that is given; -1 for all.
    """

    def __init__(self, only: int = -1) -> None:
        self.only = only
        super().__init__({**PORTS, "word_out": Out(data.ArrayLayout(5, 4)), "rest": Out(BITS - 20)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inputs = [
            self.plain, *self.several, self.words.valid, self.words.payload.as_value(),
            self.free.valid, self.free.payload,
        ]
        bits = [bit for value in inputs for bit in value]
        assert len(bits) == BITS
        outputs = [*self.word_out.as_value(), *self.rest]
        for k, (output, bit) in enumerate(zip(outputs, bits, strict=True)):
            m.d.comb += output.eq(bit if self.only in (-1, k) else 0)
        return m


class Through(wiring.Component):
    """As many outputs as inputs, each the input of its number."""

    def __init__(self, bits: int) -> None:
        super().__init__({"i": In(bits), "o": Out(bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.o.eq(self.i)
        return m


class Held(wiring.Component):
    """A register that is set for ever, unless it is reset."""

    i: In(1)
    o: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.o | self.i)
        return m


def changes(unit: wiring.Component, given: list[int], cycles: int) -> list[int]:
    """Return in which cycles ``so`` differs when these bits are given, and not only zeros."""
    with_them, without = (answer(Harness(unit), bits, cycles) for bits in (given, []))
    return [a ^ b for a, b in zip(with_them, without, strict=True)]


def answer(harness: Harness, given: list[int], cycles: int) -> list[int]:
    """Return ``so`` in every cycle when these bits are given first, and then zeros."""
    seen: list[int] = []

    async def bench(ctx) -> None:
        for cycle in range(cycles):
            ctx.set(harness.si, given[cycle] if cycle < len(given) else 0)
            seen.append(ctx.get(harness.so))
            await ctx.tick()

    simulator = Simulator(harness)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def test_one_bit_passes_every_port() -> None:
    harness = Harness(Mirror())
    assert (harness.inputs, harness.outputs) == (1 + BITS, BITS + 1)  # `words.ready` is an output
    # One bit walks through all inputs: as many changes of the result as there are inputs.
    seen = changes(Mirror(), [1], BITS + 20)
    begin = 2 + harness.latency
    assert seen == [int(begin <= cycle < begin + BITS) for cycle in range(BITS + 20)]


@pytest.mark.parametrize("only", [0, 4, 5, 10, 11, 21, 22, 24])
def test_every_output_bit_alone_is_seen(only: int) -> None:
    assert sum(changes(Mirror(only), [1], BITS + 20)) == 1


@pytest.mark.parametrize("bits", [1, 2, 4, 5, 16, 17, 21])
def test_tree_takes_any_number_of_bits(bits: int) -> None:
    assert sum(changes(Through(bits), [1], bits + 12)) == bits


def test_reset_is_an_input() -> None:
    assert Harness(Held()).inputs == 2
    # The input is the complement of the reset before, so the register is set for ever; a reset
    # clears it, and in the cycle after that its input is 0, too.
    seen = changes(Held(), [0] * 6 + [1], 20)
    assert sum(seen) == 2


def test_only_pins_are_clock_and_two() -> None:
    text = emit_rtlil(Harness(Mirror()))
    head = text[text.index("module \\top") :]
    head = head[: head.index("\nend\n")]
    ports = [line.split()[-1] for line in head.splitlines() if "put " in line and "wire" in line]
    assert sorted(ports) == ["\\clk", "\\si", "\\so"]
