# SPDX-License-Identifier: Apache-2.0
"""``kiwicha sim`` with layers that are counted, and layers in blocks, from the model to the report.
"""

import io
import json

import numpy as np
import onnx
import pytest
from rich.console import Console

from kiwicha.cli.main import main
from kiwicha.models.variants import build
from kiwicha.report.statistics import StatisticsReport, statistics_tables

from ..support.bench import unit_simulator

COUNTING = """\
preset = "tiny"
name = "counting"
[statistics]
elements = 256
[blocks]
channels = 8
scale = "multiway"
ways = [[4, 0], [8, 0], [4, 2]]
"""
#: The machine of `tests/accelerator/test_random_blocks.py`, which is built anyway.
RANDOM = """\
preset = "tiny"
name = "random-blocks"
requantize_mode = "shift"
[blocks]
channels = 8
rounding = "lfsr"
"""


def run(folder, network, config, *options, simulator=None):
    """Run the command; return its code, the report and the outputs."""
    onnx.save(build(network)[0], folder / "model.onnx")
    (folder / "machine.toml").write_text(config)
    report, outputs = folder / "report.json", folder / "outputs.npz"
    names = {"--report": report, "--outputs": outputs, "--config": folder / "machine.toml"}
    names |= {} if simulator is None else {"--simulator": simulator}
    arguments = [str(word) for pair in names.items() for word in pair]
    code = main(["sim", str(folder / "model.onnx"), *arguments, *options])
    with np.load(outputs) as file:
        return code, json.loads(report.read_text()), dict(file)


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """A convolution and a matrix product for two samples, all counted, the last in blocks."""
    return run(
        tmp_path_factory.mktemp("counted"), "flatten", COUNTING, "--statistics", "all",
        "--blocks", "gemm1", simulator=unit_simulator().name,
    )


def test_statistics(counted):
    code, report, _ = counted
    assert code == 0
    assert report["exact"]
    conv, gemm = report["statistics"]
    assert (conv["layer"], conv["results"], conv["elements"]) == ("conv1", "uint8", 128)
    assert (gemm["layer"], gemm["results"], gemm["elements"]) == ("gemm1", "int8", 20)
    for found in (conv, gemm):
        assert found["minimum"] <= found["mean"] <= found["maximum"]
        assert sum(found["histogram"]) == found["elements"]
        assert found["zeros"] == found["histogram"][0]
        assert found["mismatches"] == 0
    assert conv["scale"] > 0
    assert gemm["scale"] is None  # each block has one


def test_several_ways(counted):
    _, report, _ = counted
    (blocks,) = report["blocks"]
    assert (blocks["layer"], blocks["output"], blocks["scale"]) == ("gemm1", "y", "multiway")
    assert (blocks["code_bytes"], blocks["scale_bytes"]) == (20, 2 * 2 * 2)
    assert blocks["decibels"] > 30
    assert blocks["static_decibels"] > 30
    assert [layer["promise"] for layer in report["layers"]] == ["runtime-exact", "golden-exact"]
    assert not report["reference"]["whole"]


def test_blocks_with_random_rounding(tmp_path, capsys):
    outputs = []
    for options in (["--random-seed", "5"], ["--random-seed", "5", "--random-step", "9"]):
        code, report, output = run(tmp_path, "gemm", RANDOM, "--blocks", "gemm1", *options)
        assert code == 0
        assert report["exact"]
        assert report["blocks"][0]["rounding"] == "lfsr"
        outputs.append(output["y"])
    assert not np.array_equal(*outputs)
    np.testing.assert_allclose(*outputs, atol=0.05 * np.abs(outputs[0]).max())
    out = capsys.readouterr().out
    assert "gemm1: 'y' comes from blocks of 8 channels (pot scales, rounded lfsr; " in out
    assert "no runtime defines them" in out


@pytest.mark.parametrize(("options", "message"), [
    (["--statistics", "conv1"], "statistics of 'conv1': the machine keeps none, its statistics.el"),
    (["--blocks", "gemm1"], "blocks of 'gemm1': the machine makes none, its blocks.channels is 0"),
    (["--random-seed", "1"], "random_seed is 1; the machine's blocks are not rounded randomly"),
    (["--random-step", "-1"], "'-1' is not an integer, 0 to 4294967295"),
])
def test_refused_before_anything_is_built(folder, no_build, capsys, options, message):
    assert main(["sim", str(folder / "model.onnx"), "--preset", "tiny", *options]) == 2
    assert message in capsys.readouterr().err


def test_tables_are_readable_on_a_narrow_terminal():
    """Layers of any name, sums of up to 32 bits."""
    def report(name, histogram):
        return StatisticsReport(
            name, None, "int32", sum(histogram), -(1 << 31), 1 << 30, -12345.678, 1e6, histogram[0],
            tuple(histogram), None, None, 1, 0,
        )

    narrow = Console(width=80, file=io.StringIO())
    assert statistics_tables((), narrow) == []
    for table in statistics_tables(
        (report("[b]a", [3] * 33), report("b", [1, *[0] * 31, 9])), narrow
    ):
        narrow.print(table)
    text = narrow.file.getvalue()
    assert "…" not in text
    assert "[b]a" in text
    assert "-2,147,483,648" in text
    assert "90.0%" in text
    wide = Console(width=160)
    assert len(statistics_tables((report("a", [5] * 9 + [0] * 24),), wide)) == 2
