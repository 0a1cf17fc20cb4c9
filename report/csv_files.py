# SPDX-License-Identifier: Apache-2.0
"""A report as two CSV files, with the column names of Arm's Vela where the meaning is the same.

Vela (ethos-u-vela) writes a file of layers and one of the whole network; who compares machines has
scripts that read them. Cycles are measured where the report is of a run, else predicted.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kiwicha.report.prediction import PredictedLayer, Prediction
from kiwicha.report.report import LayerReport, Report

__all__ = ["csv_files", "summary_path"]


def summary_path(path: Path) -> Path:
    """Return where the whole network goes if its layers go to ``path``."""
    return path.with_name(f"{path.stem}_summary{path.suffix}")


def csv_files(report: Report | Prediction, path: Path) -> dict[Path, bytes]:
    """Return the contents of both files: the layers at ``path``, the network beside it."""
    layers = [_layer(layer, report) for layer in report.layers]
    return {
        path: _text(layers or [{}]),
        summary_path(path): _text([_summary(report)]),
    }


def _text(rows: Iterable[Mapping[str, Any]]) -> bytes:
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def _layer(layer: LayerReport | PredictedLayer, report: Report | Prediction) -> dict[str, Any]:
    """Return a layer's row: Vela's columns, then our own."""
    ran = layer if isinstance(layer, LayerReport) else None
    return {
        "Original Operator": layer.op,
        "Target": "NPU",
        "Op Cycles": layer.cycles,
        "Network% (cycles)": _percent(layer.cycles, report.cycles),
        "MAC Count": layer.macs,
        "Network% (MAC)": _percent(layer.macs, report.macs),
        "Util% (MAC)": 100 * layer.utilization,
        "Name": layer.name,
        "Predicted Cycles": ran.predicted_cycles if ran else layer.cycles,
        "Measured Cycles": layer.cycles if ran else "",
        "Bound% (MAC)": 100 * layer.bound,
        "Bound By": layer.bound_by,
        "Bytes Read": layer.bytes_read,
        "Bytes Written": layer.bytes_written,
        "Input Shape": "x".join(map(str, layer.x_shape)),
        "Output Shape": "x".join(map(str, layer.y_shape)),
        "Promise": layer.promise,
        "Mismatches": ran.mismatches if ran else "",
        "Advice": layer.advice,
    }


def _summary(report: Report | Prediction) -> dict[str, Any]:
    """Return the network's row: Vela's columns, then our own. External memory is its ``dram``."""
    ran = report if isinstance(report, Report) else None
    read = sum(layer.bytes_read for layer in report.layers)
    written = sum(layer.bytes_written for layer in report.layers)
    return {
        "network": report.model,
        "accelerator_configuration": report.config["name"],
        "dram_total_bytes": read + written,
        "total_original_weights": sum(layer.weight_bytes for layer in report.layers),
        "total_npu_encoded_weights": sum(layer.stored_bytes for layer in report.layers),
        "nn_macs": report.macs,
        "cycles_total": report.cycles,
        "predicted_cycles": ran.predicted_cycles if ran else report.cycles,
        "measured_cycles": report.cycles if ran else "",
        "mac_utilization": report.utilization,
        "rows": report.config["rows"],
        "columns": report.config["columns"],
        "bytes_read": read,
        "bytes_written": written,
        "exact": ran.exact if ran else "",
    }
