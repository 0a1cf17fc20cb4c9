# SPDX-License-Identifier: Apache-2.0
"""The measured tables on the smallest machine: figures are whole, honest and come from runs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from kiwicha.bench import __main__ as front
from kiwicha.bench import cocotb_default
from kiwicha.bench import simulation as depends
from kiwicha.bench.emission import emission
from kiwicha.bench.onchip import steady_state
from kiwicha.bench.program import Memory, layer, measure
from kiwicha.bench.table import Table
from kiwicha.bench.utilization import utilization
from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.emit import emit
from kiwicha.compiler.schedule.search import choose_tiling
from kiwicha.golden.machine import Machine
from kiwicha.machine.presets import preset
from kiwicha.sim.simulation import simulated_machine

__all__: list[str] = []

TINY = preset("tiny")
LAYERS = {
    "conv": ((6, 6, 8), 8, 3, 1),
    "depthwise": ((5, 5, 8), 8, 3, 8),
    "fc": ((1, 1, 40), 24, 1, 1),
}


@pytest.fixture(scope="module")
def machine():
    return simulated_machine(TINY, 0)


@pytest.fixture(scope="module")
def table() -> Table:
    return utilization(TINY, layers=LAYERS, size=16, progress=lambda _: None)


def test_utilization_is_below_its_bound(table: Table) -> None:
    assert len(table.values) == len(table.rows) == len(LAYERS) + 2
    for figures in table.values:
        share = figures["macs"] / (figures["cycles"] * TINY.rows * TINY.columns)
        assert figures["utilization"] == share
        assert 0 < share <= figures["bound"] <= 1, figures
        assert figures["predicted"] == pytest.approx(figures["cycles"], rel=0.25), figures


def test_macs_are_the_useful_ones(table: Table) -> None:
    macs = {figures["layer"]: figures["macs"] for figures in table.values}
    assert macs["conv"] == 6 * 6 * 8 * 8 * 9
    assert macs["depthwise"] == 5 * 5 * 8 * 9
    assert macs["fc"] == 40 * 24


def test_array_is_full_when_operands_stay_on_chip(machine) -> None:
    run = steady_state(TINY, machine, size=16, drains=False)
    assert run.macs / (run.cycles * 16) > 0.95


def test_latency_counts(machine) -> None:
    def cycles(latency: int) -> int:
        work, x = layer(TINY, (1, 1, 40), 24, 1)
        builder, memory = ProgramBuilder(TINY), Memory(work, x)
        emit(work, choose_tiling(work, TINY), builder, memory.put)
        return measure(builder, memory, machine, latency=latency).cycles

    assert cycles(200) > cycles(20) + 180


def test_no_figure_comes_from_a_fault(machine, monkeypatch) -> None:
    def wrong(self: Machine, words: np.ndarray) -> None:
        del words
        self.memory[self.write_window[0]] ^= 1

    monkeypatch.setattr(Machine, "run", wrong)
    work, x = layer(TINY, (1, 1, 8), 8, 1)
    builder, memory = ProgramBuilder(TINY), Memory(work, x)
    emit(work, choose_tiling(work, TINY), builder, memory.put)
    with pytest.raises(RuntimeError, match="differ from the golden machine"):
        measure(builder, memory, machine)


def test_operands_that_do_not_stay_on_chip_are_refused(machine) -> None:
    with pytest.raises(ValueError, match="do not stay on the chip"):
        steady_state(TINY, machine, size=128)


def test_clock_can_be_taken_out_of_the_testbench() -> None:
    inside, outside = (cocotb_default._testbench(out) for out in (False, True))
    assert "always #" in inside
    assert "input clk" in outside
    assert "always #" not in outside


def test_emission_shares_modules() -> None:
    shared, separate = emission(6, 5, lambda _: None).values
    assert shared["modules"] < separate["modules"]
    assert separate["modules"] >= 30


@pytest.mark.parametrize(("more", "there", "sections"), [
    ([], True, 11), (["--full"], True, 16), ([], False, 10),
])
def test_page_and_json(tmp_path, monkeypatch, capsys, table: Table, more, there, sections) -> None:
    monkeypatch.setattr(front, "files_folder", lambda: tmp_path if there else None)
    asked = []
    monkeypatch.setattr(front, "tiny_table", lambda _, predict: asked.append(predict) or table)
    monkeypatch.setattr(front, "utilization", lambda *_, **__: table)
    monkeypatch.setattr(front, "speed", lambda *_, **__: table)
    monkeypatch.setattr(front, "emission", lambda *_: emission(3, 2, lambda _: None))
    others = ("attention", "moves", "formats", "sparse", "dynamic", "block_scales", "several_ways",
              "simulation", "training", "optimizers", "updates")
    for name in others:
        monkeypatch.setattr(front, name, lambda *_, **__: table)
    page, figures = tmp_path / "new" / "page.md", tmp_path / "figures.json"
    command = ["bench", *more, "--write", str(page), "--json", str(figures)]
    monkeypatch.setattr("sys.argv", command)
    assert front.main() == 0
    captured = capsys.readouterr()
    assert "depthwise" in captured.out
    assert ("mlperf-tiny: skipped" in captured.err) is not there
    assert asked == ([not more] if there else [])
    text = page.read_text()
    assert text.count("\n## ") == sections
    assert "- verilator: " in text
    values = json.loads(figures.read_text())
    assert values["tables"]["utilization"][0]["layer"] == "conv"
    assert values["latency"] == 20


def test_one_table_goes_into_a_page(tmp_path, monkeypatch, capsys, table: Table) -> None:
    monkeypatch.setattr(front, "utilization", lambda *_, **__: table)
    monkeypatch.setattr(front, "BUILD", tmp_path / "build")
    page = tmp_path / "page.md"
    page.write_text("# Before\n")
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["bench", "--only", "utilization", "--write", str(page)])
        assert front.main() == 0
    assert page.read_text().startswith("# Before\n")
    assert page.read_text().count("\n## ") == 1
    monkeypatch.setattr("sys.argv", ["bench", "--only", "weather"])
    with pytest.raises(SystemExit):
        front.main()
    assert "unknown table 'weather'; legal: utilization, speed" in capsys.readouterr().err


def test_machine_that_cannot_have_a_table_is_named(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--preset", "tiny", "--only", "attention"])
    with pytest.raises(SystemExit) as stopped:
        front.main()
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert "\nerror: no such table of the machine 'tiny': " in said
    assert "transposer is false; true would do\n" in said


def test_unknown_preset_is_named(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--preset", "giant"])
    with pytest.raises(SystemExit) as stopped:
        front.main()
    assert stopped.value.code == 2
    assert "unknown preset 'giant'" in capsys.readouterr().err


def test_every_copy_of_a_memory_takes_the_same_program():
    work, x = layer(preset("tiny"), (4, 4, 4), 4, 3)
    memory, program = Memory(work, x), np.arange(100, dtype=np.uint8)
    size = memory.image().size
    for copy in (memory.copy(), memory.copy()):
        start = copy.put(program)
        assert np.array_equal(copy.image()[start : start + program.size], program)
    assert memory.image().size == size


def _body_sizes(folder: Path, kind: str) -> int:
    """Return the characters of the C++ functions whose names have ``kind`` in them."""
    found = 0
    for path in folder.glob("Vtop*.cpp"):
        for part in re.split(r"^(?=\S.* \{$)", path.read_text(), flags=re.M):
            found += len(part) if kind in part.partition("\n")[0] else 0
    return found


def test_a_cycle_is_evaluated_once(machine) -> None:
    """What depends on the top's inputs is evaluated at both edges of the clock, changed or not."""
    each_edge, clocked = (_body_sizes(machine.build.directory, kind) for kind in ("__ico", "__nba"))
    assert clocked > 100_000
    assert each_edge < clocked / 50


def test_what_the_speed_depends_on(machine, monkeypatch) -> None:
    asked = []

    def built(_, size: int, public: str = "marked"):
        asked.append((size, public))
        return machine

    monkeypatch.setattr(depends, "simulated_machine", built)
    table = depends.simulation(TINY, channels=4, image=4, rounds=1, progress=lambda _: None)
    assert asked == [(0, "marked"), (512 << 20, "marked"), (0, "top")]
    assert len(table.rows) == len(table.values) == 7
    assert [found["program"] for found in table.values].count("conv 3x3, 4 > 4") == 4
    for found in table.values:
        assert 0 < found["cycles_per_processor_second"]
        assert 0 < found["in_use"] < 1
