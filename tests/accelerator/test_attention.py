# SPDX-License-Identifier: Apache-2.0
"""Attention and the vision transformer on simulated RTL, every node against ONNX Runtime."""

import onnx
import pytest

from kiwicha.machine.presets import preset
from kiwicha.models.attention import attention_block, attention_inputs
from kiwicha.sim.inference import run_model
from kiwicha.sim.prepare import prepare
from kiwicha.sim.shipped import SHIPPED

__all__: list[str] = []

#: Rows of tokens and of a head lie at any alignment to beats, rows and columns; where beats do,
#: results stay on chip.
CONFIG = preset("small").replace(
    name="attention", columns=6, transposer=True, forwarding=True,
    special={"lanes": 2, "bytes": 2048, "digits": 2},
)


@pytest.mark.parametrize(
    "shape",
    [
        {"sequence": 13, "embedding": 12, "heads": 2, "head_dim": 6, "batch": 2, "causal": True},
        {"sequence": 9, "embedding": 16, "heads": 1, "head_dim": 16, "padding": True},
        {"sequence": 20, "embedding": 10, "heads": 2, "head_dim": 5, "projected": False},
    ],
    ids=["causal", "padding", "inputs"],
)
@pytest.mark.parametrize("signed", [False, True], ids=["uint8", "int8"])
def test_attention_is_exact(shape, signed) -> None:
    model = attention_block(**shape, signed=signed, seed=5)
    report = run_model(model, CONFIG, attention_inputs(model, 5)).report
    assert report.exact
    assert report.reference["whole"]
    assert all(layer.compared for layer in report.layers)
    assert 0 < report.counters["special_busy"] <= report.cycles


def test_vision_transformer() -> None:
    model = onnx.load(SHIPPED["vit"].path)
    report = run_model(model, CONFIG, samples=1).report
    assert report.exact
    plain = prepare(model, CONFIG.replace(forwarding=False), samples=1).compiled
    assert report.cycles < 0.95 * plain.timeline.total
    assert report.cycles == pytest.approx(report.predicted_cycles, rel=0.02)
    golden = [layer.op for layer in report.layers if layer.promise == "golden-exact"]
    assert golden == ["LayerNormalization"] * 5
    assert all(layer.compared for layer in report.layers if layer.promise == "runtime-exact")
