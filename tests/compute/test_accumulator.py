# SPDX-License-Identifier: Apache-2.0
"""Accumulators against the golden model: back-to-back passes, both halves busy, tight timing."""

import random
from typing import Any

import cocotb
import numpy as np
import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In
from cocotb.triggers import FallingEdge

from kiwicha.golden.accumulator import accumulate
from kiwicha.hw.compute.accumulator import Accumulators, control_layout
from kiwicha.hw.parts.delay import Delay
from kiwicha.machine.config import PIPELINE
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.formal import FirstCycle, assert_covered, assert_proved, assert_refuted
from ..support.slow import slow
from ..support.streams import pack, start_clock_and_reset

COLUMNS = (1, 3, 6)
SUBSETS = [(), ("memory",), ("accumulator",)]
PIPELINES = pytest.mark.parametrize("pipeline", SUBSETS, ids="+".join)
DEPTHS = pytest.mark.parametrize("pipeline", [PIPELINE, ()], ids=["deep", "short"])
NAMES = ("entry", "first", "maximum", "last", "signal")


def machine(columns: int, depth: int = 16, pipeline=PIPELINE):
    return preset("tiny").replace(columns=columns, accumulator_depth=depth, pipeline=pipeline)


def hazard_of(pipeline=PIPELINE) -> int:
    return Accumulators(machine(1, pipeline=pipeline)).hazard


def schedule(
    columns: int,
    depth: int,
    *,
    seed: int,
    passes: int = 8,
    early: int = 0,
    early_read: int = 0,
    pipeline=PIPELINE,
) -> dict[str, dict[int, Any]]:
    """Return what happens in which cycle: {control, psum, read, data, done: {cycle: ...}}.

    Pass p accumulates in half p % 2 while the half of pass p - 1 is read, from the cycle of its
    ``done`` on (less ``early_read``). Entries are updated again after ``hazard`` (less ``early``)
    cycles exactly.
    """
    unit = Accumulators(machine(columns, depth, pipeline))
    hazard, done_after = unit.hazard - early, columns + unit.hazard - 1
    chooser = random.Random(f"{seed} {columns}")
    plan: dict[str, dict[int, Any]] = {
        name: {} for name in ("control", "psum", "read", "data", "done")
    }
    half = depth // 2
    control_free, half_free, read_free = 0, [0, 0], 0
    for index in range(passes):
        base, maximum = half * (index % 2), index % 3 == 2
        # Few entries make every update wait for the hazard, many make none.
        entries = chooser.sample(range(half), 2 if index in (0, 3) else half)
        held: dict[int, Any] = {}
        used: dict[int, int] = {}
        cycle = max(control_free, half_free[index % 2])
        words = [(entry, step) for step in range(3) for entry in entries]
        for number, (entry, step) in enumerate(words):
            cycle = max(cycle + chooser.choice([0, 0, 0, 1, 3]), used.get(entry, -hazard) + hazard)
            limit = 512 if maximum else 2**31
            psum = [chooser.randrange(-limit, limit) for _ in range(columns)]
            last = number == len(words) - 1
            signal = chooser.randrange(16)
            plan["control"][cycle] = (base + entry, int(step == 0), int(maximum), int(last), signal)
            for column, value in enumerate(psum):
                plan["psum"].setdefault(cycle + column, {})[column] = value
            held[entry] = accumulate(
                held.get(entry, np.zeros(columns)), psum, first=step == 0, maximum=maximum
            )
            used[entry] = cycle
            if last:
                plan["done"][cycle + done_after] = signal
            cycle += 1
        control_free = cycle
        read_free = max(read_free, cycle - 1 + done_after - early_read)
        # The entry that was updated last is read at once, when `done` says that it may be.
        newest = words[-1][0]
        for entry in (newest, *chooser.sample(entries, len(entries))):
            read_free += chooser.choice([0, 0, 1]) if entry != newest else 0
            plan["read"][read_free] = base + entry
            plan["data"][read_free + unit.read_latency] = held[entry].tolist()
            read_free += 1
        half_free[index % 2] = read_free
    return plan


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def accumulates(dut):
    params = bench_params()
    columns, depth = params["columns"], params["depth"]
    plan = schedule(columns, depth, **params["schedule"])
    layout = control_layout(depth)
    chooser = random.Random(columns)
    await start_clock_and_reset(dut)
    for cycle in range(max(plan["data"]) + 1):
        if (values := plan["data"].get(cycle)) is not None:
            bits = dut.read_data.value
            assert bits.is_resolvable, f"cycle {cycle}: {bits}"
            seen = [bits[32 * c + 31 : 32 * c].to_signed() for c in range(columns)]
            assert seen == values, f"cycle {cycle} read: {seen}, not {values}"
        assert bool(dut.done__valid.value) == (cycle in plan["done"]), f"cycle {cycle}: done"
        if cycle in plan["done"]:
            assert dut.done__payload.value == plan["done"][cycle], f"cycle {cycle}: signal"
        word = plan["control"].get(cycle)
        dut.control__valid.value = int(word is not None)
        dut.control__payload.value = (
            chooser.getrandbits(len(dut.control__payload))
            if word is None
            else pack(layout, dict(zip(NAMES, word, strict=True)))
        )
        psum = plan["psum"].get(cycle, {})
        dut.psum.value = sum(
            (psum.get(c, chooser.getrandbits(32)) & 0xFFFFFFFF) << 32 * c for c in range(columns)
        )
        dut.read_entry.value = plan["read"].get(cycle, chooser.randrange(depth))
        await FallingEdge(dut.clk)


def run(
    columns: int,
    *,
    copied: bool | None = None,
    uninitialized: bool = False,
    simulator=None,
    depth: int = 16,
    **options: Any,
):
    run_cocotb(
        Accumulators(machine(columns, depth, options.get("pipeline", PIPELINE)), copied=copied),
        __name__,
        testcase="accumulates",
        params={"columns": columns, "depth": depth, "schedule": options},
        uninitialized=uninitialized,
        simulator=simulator,
    )


@slow("True-1", "False-6")
@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("copied", [False, True])
def test_accumulates(columns, copied):
    run(columns, copied=copied, seed=1 + copied)


@slow("memory-False", "accumulator-True")
@pytest.mark.parametrize("copied", [False, True])
@PIPELINES
def test_with_fewer_registers(copied, pipeline):
    run(3, copied=copied, seed=6 + copied, pipeline=pipeline)


def test_deeper():
    run(4, seed=3, depth=64, passes=4)


def test_verilator():
    run(3, seed=4, simulator="verilator")


def test_nothing_undefined_is_read(icarus):
    run(3, seed=5, uninitialized=True, simulator=icarus)


@DEPTHS
@pytest.mark.parametrize("broken", ["early", "early_read"])
def test_hazard_and_done_are_tight(broken, pipeline):
    with pytest.raises(pytest.fail.Exception, match="read"):
        run(3, seed=1, pipeline=pipeline, **{broken: 1})


#: Bits of an entry in the proofs: the movement is the same and the adders are less to solve.
WIDTH = 2


def depth_of(pipeline) -> int:
    """Cycles for reset, two words ``hazard`` apart, the pipeline of two columns, a read."""
    unit = Accumulators(machine(2, pipeline=pipeline))
    return 2 * unit.hazard + unit.read_latency + 3


class EntrySpec(wiring.Component):
    """Any one entry: whenever it may be read, it holds what the words for it have made of it.

    Assumed is what the control stream promises: ``hazard`` cycles between two words for the entry.
    """

    def __init__(
        self,
        columns: int = 2,
        sooner: int = 0,
        early: int = 0,
        *,
        copied: bool = False,
        pipeline=PIPELINE,
    ) -> None:
        self.config = machine(columns, pipeline=pipeline)
        self.copied = copied
        self.hazard = hazard_of(pipeline) - sooner
        self.early = early
        super().__init__({
            "control": In(stream.Signature(control_layout(16), always_ready=True)),
            "psum": In(WIDTH).array(columns),
            "read_entry": In(4),
            "entry": In(4),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.first = first = FirstCycle()
        m.submodules.dut = dut = Accumulators(self.config, width=WIDTH, copied=self.copied)
        columns = self.config.columns
        entry = Signal(4, reset_less=True)
        m.d.sync += entry.eq(self.entry)
        with m.If(first.started):
            m.d.comb += Assume(self.entry == entry)

        valid = Signal()
        word = self.control.payload
        m.d.comb += [
            valid.eq(self.control.valid & first.started),
            dut.control.payload.eq(word),
            dut.control.valid.eq(valid),
            dut.read_entry.eq(self.read_entry),
        ]
        hit = Signal()
        since = Signal(range(self.hazard + 1), init=self.hazard)
        m.d.comb += hit.eq(valid & (word.entry == self.entry))
        m.d.comb += Assume(~hit | (since == self.hazard))
        m.d.sync += since.eq(Mux(hit, 1, since + (since != self.hazard)))

        # No word for this half in the last cycles, the present one included.
        settled = columns + dut.hazard - 1 - self.early
        quiet = Signal(range(settled + 1), init=settled)
        busy = Signal()
        m.d.comb += busy.eq(valid & (word.entry[-1] == self.entry[-1]))
        m.d.sync += quiet.eq(Mux(busy, 1, quiet + (quiet != settled)))
        readable = Signal()
        reads = [readable]
        m.d.comb += readable.eq(
            first.started & (self.read_entry == self.entry) & (quiet == settled) & ~busy
        )
        for cycle in range(dut.read_latency):
            reads.append(Signal(name=f"read_{cycle}"))
            m.d.sync += reads[-1].eq(reads[-2])

        hits, words, updates = [hit], [word], Signal(3)
        m.d.sync += updates.eq(updates + hit)
        for c in range(columns):
            held, answer = Signal(WIDTH, name=f"held_{c}"), Signal(WIDTH, name=f"answer_{c}")
            m.d.comb += dut.psum[c].eq(self.psum[c])
            with m.If(hits[c]):
                with m.If(words[c].first):
                    m.d.sync += held.eq(self.psum[c])
                with m.Elif(words[c].maximum):
                    greater = held.as_signed() > self.psum[c].as_signed()
                    m.d.sync += held.eq(Mux(greater, held, self.psum[c]))
                with m.Else():
                    m.d.sync += held.eq(held + self.psum[c])
            m.submodules[f"later_{c}"] = later = Delay(WIDTH, dut.read_latency)
            m.d.comb += [later.i.eq(held), answer.eq(later.o)]
            with m.If(reads[-1]):
                m.d.comb += Assert(dut.read_data[c].as_unsigned() == answer)
            if c + 1 < columns:
                hits.append(Signal(name=f"hit_{c}"))
                words.append(Signal(control_layout(16), name=f"word_{c}"))
                m.d.sync += [hits[-1].eq(hits[-2]), words[-1].eq(words[-2])]
        m.d.comb += [
            Cover(reads[-1] & (updates == 2) & (dut.read_data[0] == 1)),
            Cover(reads[-1] & (updates == 1) & valid & (word.entry[-1] != self.entry[-1])),
        ]
        return m


@pytest.mark.parametrize("copied", [False, True])
@DEPTHS
def test_proved(copied, pipeline):
    assert_proved(EntrySpec(copied=copied, pipeline=pipeline), depth=depth_of(pipeline))
    assert_covered(EntrySpec(copied=copied, pipeline=pipeline), depth=depth_of(pipeline))


@pytest.mark.parametrize("broken", [{"sooner": 1}, {"early": 1}], ids=["sooner", "early"])
@pytest.mark.parametrize("copied", [False, True])
@DEPTHS
def test_broken_is_refuted(broken, copied, pipeline):
    spec = EntrySpec(**broken, copied=copied, pipeline=pipeline)
    assert_refuted(spec, depth=depth_of(pipeline))


def test_attributes():
    units = [Accumulators(machine(3, pipeline=names)) for names in (*SUBSETS, PIPELINE)]
    assert [(unit.hazard, unit.read_latency) for unit in units] == [(3, 1), (4, 2), (4, 1), (5, 2)]
    assert (units[0].columns, units[0].depth) == (3, 16)
    assert [Accumulators(machine(3, depth)).copied for depth in (512, 1024)] == [True, False]
