# SPDX-License-Identifier: Apache-2.0
"""Reports as CSV files, and two of them compared."""

import csv
import json

import pytest

import kiwicha
from kiwicha.cli.main import main
from kiwicha.report.difference import compare

#: Columns that ethos-u-vela 5.2.0 writes, as far as they mean the same here.
VELA_LAYER = {
    "Original Operator", "Target", "Op Cycles", "Network% (cycles)", "MAC Count", "Network% (MAC)",
    "Util% (MAC)", "Name",
}
VELA_SUMMARY = {
    "network", "accelerator_configuration", "dram_total_bytes", "total_original_weights",
    "total_npu_encoded_weights", "nn_macs", "cycles_total",
}


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def predicted(folder, name, *options):
    path = folder / name
    command = ["sim", str(folder / "model.onnx"), "--predict", "--report", str(path), *options]
    assert main(command) == 0
    return path


def test_csv_of_a_prediction(folder, no_build):
    made = kiwicha.compile_model(folder / "model.onnx", "tiny")
    path = predicted(folder, "predicted.csv", "--preset", "tiny")
    layers, [whole] = rows(path), rows(folder / "predicted_summary.csv")
    assert set(layers[0]) >= VELA_LAYER
    assert set(whole) >= VELA_SUMMARY
    for row, layer in zip(layers, made.layers, strict=True):
        assert (row["Name"], row["Original Operator"]) == (layer.name, layer.op)
        assert int(row["Op Cycles"]) == int(row["Predicted Cycles"]) == layer.cycles
        assert row["Measured Cycles"] == row["Mismatches"] == ""
        assert float(row["Util% (MAC)"]) == pytest.approx(100 * layer.utilization)
        assert row["Advice"] == layer.advice
    assert sum(float(row["Network% (cycles)"]) for row in layers) == pytest.approx(100)
    assert int(whole["cycles_total"]) == made.cycles
    assert int(whole["nn_macs"]) == made.macs == sum(int(row["MAC Count"]) for row in layers)
    assert int(whole["dram_total_bytes"]) == made.bytes_read + made.bytes_written


def test_csv_of_a_run(folder):
    path = folder / "run.csv"
    assert main(["sim", str(folder / "model.onnx"), "--preset", "tiny", "--report", str(path)]) == 0
    layers, [whole] = rows(path), rows(folder / "run_summary.csv")
    assert whole["exact"] == "True"
    assert sum(int(row["Measured Cycles"]) for row in layers) == int(whole["measured_cycles"])
    assert sum(int(row["Predicted Cycles"]) for row in layers) == int(whole["predicted_cycles"])
    assert {row["Mismatches"] for row in layers} == {"0"}


def test_both_csv_files_or_none(folder, no_build, capfd):
    (folder / "in_the_way_summary.csv").mkdir()
    path = folder / "in_the_way.csv"
    assert main(["sim", str(folder / "model.onnx"), "--report", str(path)]) == 2
    assert "in_the_way_summary.csv: is a folder" in capfd.readouterr().err
    assert not path.exists()


def test_diff(folder, no_build, capfd):
    small = predicted(folder, "tiny.json", "--preset", "tiny")
    large = predicted(folder, "small.json", "--preset", "small")
    capfd.readouterr()
    assert main(["diff", str(small), str(large)]) == 0
    out = capfd.readouterr().out
    before, after = (json.loads(path.read_text()) for path in (small, large))
    change = after["predicted_cycles"] / before["predicted_cycles"] - 1
    line = next(line for line in out.splitlines() if line.split()[:1] == ["all"])
    assert line.split()[1:4] == [
        f"{before['predicted_cycles']:,}", f"{after['predicted_cycles']:,}", f"{change:+.1%}"
    ]
    for layer in before["layers"]:
        assert any(row.split()[:1] == [layer["name"]] for row in out.splitlines())
    assert "machine: rows = 4 and 8" in out


def report(*layers, **more):
    made = [
        {"name": name, "cycles": cycles, "predicted_cycles": cycles, "utilization": 0.5,
         "bytes_read": 10, "bytes_written": 1}
        for name, cycles in layers
    ]
    total = sum(cycles for _, cycles in layers)
    return {
        "schema": 1, "model": "m", "config": {"rows": 4}, "layers": made, "cycles": total,
        "predicted_cycles": total, "predicted": False, "utilization": 0.5, "exact": True, **more,
    }


def test_layers_of_one_report_alone():
    found, words = compare(
        report(("a", 10), ("b", 20), ("b", 5), ("d", 1)), report(("a", 20), ("b", 20), ("c", 7))
    )
    assert [(row.name, row.cycles) for row in found] == [
        ("a", (10, 20)), ("b", (20, 20)), ("b", (5, None)), ("d", (1, None)), ("c", (None, 7)),
        ("all", (36, 47)),
    ]
    assert [row.change for row in found[:3]] == [1.0, 0.0, None]
    assert found[-1].bytes == (44, 33)
    assert words == []


def test_what_else_differs_is_said():
    _, words = compare(
        report(("a", 1)),
        report(("a", 1), model="n", config={"rows": 8}, exact=False, predicted=True, cycles=None),
    )
    assert words == [
        "model: m and n", "cycles: measured and predicted", "machine: rows = 4 and 8",
        "the second run has wrong bits",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "bad.json: not JSON"),
        ("[]", "bad.json: not a report: it has no 'schema'"),
        ('{"schema": 99}', "the report's schema is 99; must be 1"),
        ('{"schema": 1}', "the report has no 'model'"),
        (json.dumps(report(("a", 1)) | {"layers": [{"name": "a"}]}), "not two reports"),
    ],
)
def test_what_is_no_report(tmp_path, capfd, text, said):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(report(("a", 1))))
    bad.write_text(text)
    assert main(["diff", str(good), str(bad)]) == 2
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert main(["diff", str(good), str(tmp_path / "nowhere.json")]) != 0
