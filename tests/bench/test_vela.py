# SPDX-License-Identifier: Apache-2.0
"""Vela's files, as a stand-in of it writes them; the real one where it is installed."""

import sys

import pytest

from kiwicha.bench import vela
from kiwicha.bench.tiny_peers import NETWORKS, PUBLISHED, published_table
from kiwicha.boards.toolchain import ToolError

STAND_IN = """\
#!{python}
import pathlib, sys
if sys.argv[1:] == ["--version"]:
    print("5.2.0")
elif "bad" in sys.argv[1]:
    sys.exit("Error: Invalid tflite file")
else:
    folder = pathlib.Path(sys.argv[sys.argv.index("--output-dir") + 1])
    (folder / "m_summary_Some_System.csv").write_text(
        "network,nn_macs,cycles_total\\nm,640,1234.0\\n")
    (folder / "m_per-layer.csv").write_text(
        "Original Operator,NNG Operator,Op Cycles,MAC Count,Util% (MAC),Name\\n"
        "Conv2D,Conv2D,1000,640,1.0,a\\nConv2D,Relu,0,0,100,a\\n")
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    command = tmp_path / "vela"
    command.write_text(STAND_IN.format(python=sys.executable))
    command.chmod(0o755)
    monkeypatch.setattr(vela, "find_vela", lambda: str(command))


def test_the_files_are_read(stand_in, tmp_path):
    run = vela.run_vela(tmp_path / "m.tflite")
    assert (run.version, run.cycles, run.macs) == ("5.2.0", 1234, 640)
    assert [(layer.operation, layer.cycles) for layer in run.layers] == [
        ("Conv2D", 1000), ("Relu", 0)
    ]
    assert run.layers[0].utilization == 0.01


def test_a_refusal_is_passed_on(stand_in, tmp_path):
    with pytest.raises(ToolError, match=r"refuses .*bad\.tflite: Error: Invalid tflite file"):
        vela.run_vela(tmp_path / "bad.tflite")


def test_it_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(vela, "find_vela", lambda: None)
    with pytest.raises(ToolError, match="vela is not installed"):
        vela.run_vela(tmp_path / "m.tflite")


def test_published():
    table = published_table()
    assert len(table.rows) == len(PUBLISHED)
    assert all(set(each.kilocycles) <= set(NETWORKS) for each in PUBLISHED)
    assert all(len(row) == len(table.columns) for row in table.rows)
