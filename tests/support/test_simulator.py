# SPDX-License-Identifier: Apache-2.0
"""Builds are cached by content, show only the top's signals, and fail with a reason."""

import dataclasses
import importlib.metadata
import os
import sys

import amaranth.hdl
import cocotb
import pytest
from cocotb.triggers import RisingEdge

import kiwicha.sim.builder
from kiwicha.sim.simulator import SimulatorError, build_design, find_simulator, run_design

from . import bench
from .sources import BUILD_ROOT

#: A clock made inside the simulation, and a register that only a full build shows to cocotb.
SOURCE = """
module inner(input clk, output reg [15:0] count);
  reg [15:0] secret = 0;
  initial count = 0;
  always @(posedge clk) begin count <= count + 1; secret <= ~secret; end
endmodule
module top(output reg done);
  reg clk = 0;
  wire [15:0] count;
  initial done = 0;
  always #5 clk = ~clk;
  inner inner(.clk(clk), .count(count));
  always @(posedge clk) done <= count == 999;
endmodule
"""


@cocotb.test()
async def counts(dut):
    await RisingEdge(dut.done)
    assert dut.count.value == 1000
    shown = hasattr(dut, "inner") and hasattr(dut.inner, "secret")
    assert shown == (os.environ["EXPECT_SECRET"] == "1")


@cocotb.test()
async def hangs(dut):
    while True:
        await RisingEdge(dut.clk)


@cocotb.test()
async def fails(dut):
    # Rewriting is for what says why a test failed; all else is imported as it is.
    loaders = [type(module.__spec__.loader).__name__ for module in (bench, amaranth.hdl)]
    assert loaders == ["AssertionRewritingHook", "SourceFileLoader"]
    answer = 6 * 9
    assert answer == 42


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "top.v"
    path.write_text(SOURCE)
    return path


@pytest.mark.parametrize("public", ["top", "all"])
def test_verilator_with_a_clock_inside(source, tmp_path, public):
    # In the cache of all tests, since most of the time goes into Verilator's own library.
    verilator = find_simulator("verilator")
    args = {"timing": True, "public": public, "optimize": "-O0", "cache": BUILD_ROOT}
    build = build_design(verilator, [source], **args)
    env = {"EXPECT_SECRET": "1" if public == "all" else "0"}
    result = run_design(
        build, __name__, run_dir=tmp_path / "run", testcase="counts", env=env, timeout=60
    )
    assert result.passed, result.failures or result.log
    again = build_design(verilator, [source], **args)
    assert again.directory == build.directory
    assert again.seconds < 0.5


def test_every_input_of_a_build_is_in_its_name(source, tmp_path, icarus):
    toolchain, cache = find_simulator(icarus), tmp_path / "cache"
    names = {build_design(toolchain, [source], cache=cache).directory}
    names.add(build_design(toolchain, [source], cache=cache, waves="vcd").directory)
    names.add(build_design(toolchain, [source], cache=cache, args=["-DX"]).directory)
    newer = dataclasses.replace(toolchain, version="another")
    names.add(build_design(newer, [source], cache=cache).directory)
    source.write_text(SOURCE.replace("999", "998"))
    names.add(build_design(toolchain, [source], cache=cache).directory)
    assert len(names) == 5


@pytest.fixture
def no_build(monkeypatch):
    """Name a build's folder, but leave it empty."""
    monkeypatch.setattr(kiwicha.sim.builder, "_build_verilator", lambda *arguments: None)


def test_ingredients_of_a_verilator_build(source, tmp_path, no_build, monkeypatch):
    toolchain = find_simulator("verilator")
    assert toolchain.compiler

    def name(used=toolchain, **options):
        return build_design(used, [source], cache=tmp_path / "cache", **options).directory.name

    names = [name(), name(timing=True), name(public="all"), name(optimize="-O3"), name(top="inner")]
    names += [name(args=["-DA", "-DB"]), name(args=["-DA -DB"]), name(waves="vcd")]
    for change in ({"version": "another"}, {"compiler": "another"}):
        names.append(name(dataclasses.replace(toolchain, **change)))
    for variable in ("CXXFLAGS", "LDFLAGS", "CPATH", "KIWICHA_OPTIMIZE"):
        monkeypatch.setenv(variable, "-another")
        names.append(name())
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "another")
    names.append(name())
    monkeypatch.setattr(sys, "version", "another")
    names.append(name())
    assert len(set(names)) == len(names)
    assert name() == names[-1]


def test_icarus_with_waves(source, tmp_path, icarus):
    build = build_design(find_simulator(icarus), [source], waves="vcd", cache=tmp_path / "cache")
    result = run_design(
        build,
        __name__,
        run_dir=tmp_path / "run",
        testcase="counts",
        env={"EXPECT_SECRET": "1"},
        waves=tmp_path / "w.vcd",
        timeout=60,
    )
    assert result.passed, result.failures or result.log
    assert "secret" in result.waves.read_text()


def test_hung_simulation_is_killed(source, tmp_path, icarus):
    build = build_design(find_simulator(icarus), [source], cache=tmp_path / "cache")
    with pytest.raises(SimulatorError, match=r"killed after 3 s"):
        run_design(build, __name__, run_dir=tmp_path / "run", testcase="hangs", timeout=3)


def test_failed_assertions_have_their_values(source, tmp_path, icarus):
    build = build_design(find_simulator(icarus), [source], cache=tmp_path / "cache")
    result = run_design(build, __name__, run_dir=tmp_path / "run", testcase="fails", timeout=60)
    assert result.failures == ("fails: assert 54 == 42",)


@pytest.mark.parametrize(
    "simulator", ["verilator", pytest.param("icarus", marks=pytest.mark.icarus)]
)
def test_broken_source_names_the_error(tmp_path, simulator):
    path = tmp_path / "top.v"
    path.write_text("module top(input a, output b);\n  assign b = c +;\nendmodule\n")
    with pytest.raises(SimulatorError, match=r"top\.v:2.*syntax error"):
        build_design(find_simulator(simulator), [path], cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("top-????????????????"))


def test_unknown_simulator():
    with pytest.raises(SimulatorError, match=r"^unknown simulator 'vcs'; legal: "):
        find_simulator("vcs")


def test_waves_must_be_built_in(source, tmp_path, icarus):
    build = build_design(find_simulator(icarus), [source], cache=tmp_path / "cache")
    with pytest.raises(ValueError, match=r"^waves asked for, but the build was made without them$"):
        run_design(build, __name__, run_dir=tmp_path / "run", waves=tmp_path / "w.vcd")
