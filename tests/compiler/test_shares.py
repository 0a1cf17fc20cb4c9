# SPDX-License-Identifier: Apache-2.0
"""Cycles of layers that overlap: none is faster than the machine can be, their sum is the run's."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.cost.shares import layer_shares
from kiwicha.sim.inference import run_model

from ..accelerator.test_attention import CONFIG as FORWARDING
from .onnx_models import dq, model, node, q, scales

# Layers in the order of the model.
CONFIG = FORWARDING.replace(forwarding=False)


@pytest.mark.parametrize(
    ("ends", "needed", "total", "shares"),
    [
        ([], [], 0, []),
        ([100], [90], 120, [120]),
        ([100, 250], [90, 90], 260, [100, 160]),
        # The third worked beside the second, and needed more than the rest of the time.
        ([100, 250, 260], [90, 0, 60], 270, [100, 110, 60]),
        # The third and the fourth worked beside the second.
        ([100, 250, 260, 270], [90, 0, 50, 40], 275, [100, 85, 50, 40]),
        # More was needed than there was: the first gives way, no share is negative.
        ([100, 110], [90, 150], 120, [0, 120]),
    ],
)
def test_shares(ends, needed, total, shares):
    assert layer_shares(ends, needed, total) == shares


@cache
def branches():
    """An addition, and beside it a convolution that does not need it."""
    weight = np.random.RandomState(1).randint(-127, 128, (16, 16, 3, 3)).astype(np.int8)
    names = ["x_s", "x_z", "W", "w_s", "w_z", "x_s", "x_z"]
    add = ["bq", "x_s", "x_z", "xq", "x_s", "x_z", "x_s", "x_z"]
    nodes = [
        q("x", "xq", "x"),
        node("QLinearConv", ["xq", *names], ["bq"], name="first", pads=[1] * 4),
        node("QLinearAdd", add, ["sq"], name="sum", domain="com.microsoft"),
        node("QLinearConv", ["bq", *names], ["cq"], name="second", pads=[1] * 4),
        dq("sq", "y", "x"), dq("cq", "z", "x"),
    ]
    constants = scales(x=(0.05, np.uint8(128)), w=(0.002, np.int8(0))) | {"W": weight}
    return model(nodes, constants, {"x": [1, 16, 12, 12]}, ("y", "z"))


def test_predicted():
    graph = legalize(lower(branches()))
    nodes = {node.name: node for node in graph.nodes}
    order = ("first", "sum", "second")  # whatever ONNX Runtime's is
    compiled = compile_graph(replace(graph, nodes=tuple(nodes[n] for n in order)), CONFIG)
    assert [layer.name for layer in compiled.layers] == list(order)
    ends = [0, *compiled.timeline.layer_end]
    second = compiled.layers[2]
    assert ends[3] - ends[2] < second.bound_cycles, "they do not overlap: the test shows nothing"
    assert second.predicted_cycles == second.bound_cycles
    assert sum(layer.predicted_cycles for layer in compiled.layers) == compiled.timeline.total


def test_simulated():
    report = run_model(branches(), CONFIG).report
    assert report.exact
    assert sum(layer.cycles for layer in report.layers) == report.cycles
    for layer in report.layers:
        assert 0 < layer.cycles
        assert layer.utilization <= layer.bound or not layer.macs
