# SPDX-License-Identifier: Apache-2.0
"""Sums, differences and products in fixed point from the graph to the golden machine, and both
against LiteRT."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import FixedPairNode
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import UnfitMachine
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate
from kiwicha.machine.config import AcceleratorConfig

from .onnx_models import dq, model, node, scales

FUNCTIONS = {"ADD": "add", "SUB": "subtract", "MUL": "multiply"}
KINDS = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}
TFLITE = AcceleratorConfig(
    rows=4, columns=4, axi_data_width=64, requantize_mode="tflite", special={"lanes": 2},
)
#: Scales and zero points of a, b and y; halves, and scales far from each other, among them.
CASES = [
    ((0.5, 0.5, 1.0), (3, -4, 5)),
    ((0.1, 0.3, 0.37), (-128, 127, 0)),
    ((1.0, 2.0**-9, 0.75), (11, -90, 127)),
    ((0.0235, 0.0178, 0.031), (-1, 17, -128)),
    ((3.0, 5.0, 30.0), (0, 0, 0)),
]


def zeros_of(case, dtype):
    return [dtype(zero + (128 if dtype == np.uint8 else 0)) for zero in case[1]]


def graph_of(name, dtype, case, constant=None, first=False, lines=256):
    """A graph of one node: QLinearAdd's, with LiteRT's arithmetic in place of ONNX Runtime's; of
    256 elements a line.

    ``constant`` is the second operand, or, if ``first`` says so, the first.
    """
    keys = zip("aby", case[0], zeros_of(case, dtype), strict=True)
    constants = scales(**{key: (scale, zero) for key, scale, zero in keys})
    inputs = {"a": (lines, 256), "b": (lines, 256)}
    if constant is not None:
        constants["a" if first else "b"] = constant
        inputs.pop("a" if first else "b")
    names = ["a", "a_s", "a_z", "b", "b_s", "b_z", "y_s", "y_z"]
    whole = model(
        [node("QLinearAdd", names, ["yq"], domain="com.microsoft"), dq("yq", "y", "y")],
        constants, inputs, types=dict.fromkeys(inputs, KINDS[dtype]),
    )
    graph = legalize(lower(whole))
    (pair,) = graph.nodes
    fixed = FixedPairNode(
        pair.name, name, pair.x, pair.z, pair.y, pair.low, pair.high, pair.constant,
        first, function=FUNCTIONS[name],
    )
    return replace(graph, nodes=(fixed,))


def litert(name, a, b, case, dtype):
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT (extra dev): run `make setup`")
    from ..support.litert import Operand, run_operator

    zeros = [int(zero) for zero in zeros_of(case, dtype)]
    return run_operator(
        name, [Operand(a, case[0][0], zeros[0]), Operand(b, case[0][1], zeros[1])],
        Operand(np.empty((256, 256), dtype), case[0][2], zeros[2]), 2,
        {"fusedActivationFunction": 0}, name.capitalize(),
    )


def machine_result(graph, tensors):
    compiled = compile_graph(graph, TFLITE)
    memory = compiled.load(tensors)
    Machine(TFLITE, memory, compiled.read_window, compiled.write_window).run(compiled.words)
    return compiled.read(memory, graph.nodes[-1].y)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_pairs(name, dtype, case):
    codes = np.arange(256, dtype=np.uint8).view(dtype)
    a, b = np.repeat(codes, 256).reshape(256, 256), np.tile(codes, (256, 1))
    graph = graph_of(name, dtype, case)
    tensors = evaluate(graph, {"a": a, "b": b}, "tflite")
    np.testing.assert_array_equal(tensors["yq"], litert(name, a, b, case, dtype))
    np.testing.assert_array_equal(machine_result(graph, tensors), tensors["yq"])


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_constants(name, first):
    """A row for all rows, as either operand: the order counts."""
    case, rng = CASES[1], np.random.default_rng(4)
    x = rng.integers(-128, 128, (256, 256), dtype=np.int8)
    constant = rng.integers(-128, 128, (256,), dtype=np.int8)
    graph = graph_of(name, np.int8, case, constant, first)
    tensors = evaluate(graph, {"b" if first else "a": x}, "tflite")
    whole = np.ascontiguousarray(np.broadcast_to(constant, x.shape))
    pair = (whole, x) if first else (x, whole)
    np.testing.assert_array_equal(tensors["yq"], litert(name, *pair, case, np.int8))
    np.testing.assert_array_equal(machine_result(graph, tensors), tensors["yq"])


def test_machines_of_the_other_arithmetic():
    fixed = graph_of("ADD", np.int8, CASES[0])
    onnx = replace(TFLITE, requantize_mode="onnx")
    with pytest.raises(UnfitMachine, match=r"of LiteRT; requantize_mode is onnx; tflite would"):
        compile_graph(fixed, onnx)
    with pytest.raises(UnfitMachine, match=r"special.lanes is 0; 4 would do and requantize_mode"):
        compile_graph(fixed, AcceleratorConfig())


@pytest.mark.parametrize(("name", "sizes", "text"), [
    ("ADD", (1.0, 1.0, 2.0**-19), r"y_scale is 1.9\d+e-06; legal: more than 2\^-19 of the larger"),
    ("MUL", (128.0, 128.0, 1.0), r"the product's scale over y_scale is 16384.0; legal: above 0"),
])
def test_scales_that_litert_refuses(name, sizes, text):
    with pytest.raises(ValueError, match=text):
        compile_graph(graph_of(name, np.int8, (sizes, (0, 0, 0))), TFLITE)
