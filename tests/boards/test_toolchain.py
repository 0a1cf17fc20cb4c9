# SPDX-License-Identifier: Apache-2.0
"""Tools are found or named, run to their end or ended, and their reports are read."""

import json
import time

import pytest

from kiwicha.boards import toolchain
from kiwicha.boards.toolchain import PACKAGES, ToolError, find_tool, read_report, run_tool

REPORT = {
    "fmax": {"$glbnet$clk$TRELLIS_IO_IN": {"achieved": 100.5, "constraint": 12.0}},
    "utilization": {"TRELLIS_FF": {"used": 3, "available": 10}},
    "critical_paths": [
        {"from": "<async>", "to": "posedge $glbnet$clk$TRELLIS_IO_IN", "path": [
            {"type": "source", "delay": 0.0, "from": {"cell": "pin", "port": "O"},
             "to": {"cell": "pin", "port": "O"}},
            {"type": "routing", "delay": 1.5, "from": {"cell": "pin", "port": "O"},
             "to": {"cell": "a", "port": "DI"}},
        ]},
        {"from": "posedge clk$SB_IO_IN_$glb_clk", "to": "posedge clk$SB_IO_IN_$glb_clk", "path": [
            {"type": "clk-to-q", "delay": 0.5, "from": {"cell": "a", "port": "CLK"},
             "to": {"cell": "a", "port": "Q"}},
            {"type": "routing", "delay": 2.0, "from": {"cell": "a", "port": "Q"},
             "to": {"cell": "lut", "port": "A"}},
            {"type": "logic", "delay": 0.25, "from": {"cell": "lut", "port": "A"},
             "to": {"cell": "lut", "port": "F"}},
            {"type": "routing", "delay": 1.0, "from": {"cell": "lut", "port": "F"},
             "to": {"cell": "b", "port": "DI"}},
            {"type": "setup", "delay": 0.25, "from": {"cell": "b", "port": "DI"},
             "to": {"cell": "b", "port": "DI"}},
        ]},
    ],
}


def shell(tmp_path, command, **options):
    options = {"timeout": 20.0, "quiet": True} | options
    return run_tool("sh", ["-c", command], directory=tmp_path / "new", log="log", **options)


def test_missing_tool_names_package_and_command(monkeypatch):
    monkeypatch.setattr(toolchain.shutil, "which", lambda _: None)
    monkeypatch.setattr(toolchain.sys, "executable", "/nowhere/python")
    for tool, package in PACKAGES.items():
        with pytest.raises(ToolError, match=rf"{tool} is .* \(package {package}\).*setup-fpga"):
            find_tool(tool)


def test_run_is_logged(tmp_path):
    run = shell(tmp_path, "pwd; echo Info: busy; echo trouble >&2")
    assert (run.status, run.timed_out) == (0, False)
    assert run.log.read_text() == f"{tmp_path}/new\nInfo: busy\ntrouble\n"
    assert 0 < run.elapsed < 20


def test_failure_is_an_error_with_its_last_words(tmp_path):
    with pytest.raises(ToolError, match=r"sh ended with status 3; log: .*/new/log\nbroken"):
        shell(tmp_path, "echo broken; exit 3")
    assert shell(tmp_path, "exit 3", check=False).status == 3


def test_time_is_limited(tmp_path):
    started = time.monotonic()
    with pytest.raises(ToolError, match=r"sh took longer than 0\.2 s"):
        shell(tmp_path, "echo begun; exec sleep 30", timeout=0.2)
    assert time.monotonic() - started < 15
    assert (tmp_path / "new" / "log").read_text() == "begun\n"
    assert shell(tmp_path, "exec sleep 30", timeout=0.2, check=False).timed_out


def test_progress_without_a_terminal_is_a_line_at_each_end(tmp_path, capsys):
    shell(tmp_path, "true", quiet=False, what="a [b]")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "sh (a [b]) ..."
    assert lines[1].startswith("sh (a [b]): done after ")
    shell(tmp_path, "false", quiet=False, check=False)
    assert "sh: failed after " in capsys.readouterr().err


def test_steps_are_headings_and_infos():
    assert toolchain._step("2.13.4. Executing ABC9 pass.\n") == "ABC9 pass."
    assert toolchain._step("Info: Routing globals...\n") == "Routing globals..."
    assert toolchain._step("  cells\n") == ""


def test_report(tmp_path):
    file = tmp_path / "report.json"
    file.write_text(json.dumps(REPORT))
    report = read_report(file)
    assert report.fmax == {"clk": 100.5}
    assert report.utilization == {"TRELLIS_FF": (3, 10)}
    slow, pin = report.paths
    assert (slow.begin, slow.end) == ("posedge clk", "posedge clk")
    assert (slow.first.cell, slow.last.cell, slow.last.port) == ("a", "b", "DI")
    assert (slow.delay, slow.routing) == (4.0, 3.0)
    assert slow.cells == ("a", "lut", "b")
    assert (pin.begin, pin.delay) == ("<async>", 1.5)


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"critical_paths": 1}'])
def test_other_files_are_no_report(tmp_path, text):
    file = tmp_path / "report.json"
    file.write_text(text)
    with pytest.raises(ToolError, match=r"report\.json is no report"):
        read_report(file)
