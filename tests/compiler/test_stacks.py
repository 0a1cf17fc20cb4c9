# SPDX-License-Identifier: Apache-2.0
"""Products with a stack of constant matrices: equal to ONNX Runtime."""

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.machine.presets import preset
from kiwicha.models.quantize import FORMS, quantize

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_emit import MICRO
from .test_moves import runs

F32, U8, S8 = np.float32, np.uint8, np.int8
SHAPES = [
    ((2, 3, 6), (2, 6, 5)),
    ((2, 4, 3, 6), (1, 4, 6, 5)),
    ((2, 1, 3, 6), (4, 6, 5)),
    ((3, 6), (2, 6, 5)),
    ((1, 2, 33, 20), (2, 20, 37)),
    ((2, 3, 4, 6), (2, 1, 6, 5)),
    ((3, 1, 2, 7), (3, 2, 7, 1)),
]


@pytest.mark.parametrize(("x", "weights"), SHAPES)
@pytest.mark.parametrize("form", [
    "qdq-u8s8-tensor-asyma-symw", "qoperator-s8s8-tensor-syma-symw", "qdq-u8u8-tensor-asyma-asymw",
])
def test_equals_onnx_runtime(x, weights, form):
    rng = np.random.RandomState(len(x) + weights[-1])
    made = model([node("MatMul", ["x", "w"], ["y"], name="it")],
                 {"w": rng.randn(*weights).astype(F32)}, {"x": x})
    quantized = quantize(made, FORMS[form], rng.randn(4, *x).astype(F32))
    graph = agree(quantized)
    assert [n.kind for n in graph.nodes] == ["matmul_stack"]
    assert graph.nodes[0].macs == graph.nodes[0].y.size * x[-1]
    runs(graph, MICRO)
    runs(graph, "default")


def test_heads_through_transposes():
    """Heads side by side in memory on the way in and out, a matrix for each."""
    rng = np.random.RandomState(1)
    constants = scales(x=(0.03, U8(120)), w=(0.02, S8(0)), y=(0.05, U8(100))) | {
        "W": rng.randint(-128, 128, (4, 6, 5)).astype(S8)}
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"), dq("W", "wf", "w"),
             node("Transpose", ["xf"], ["t"], perm=[0, 2, 1, 3]), q("t", "tq", "x"),
             dq("tq", "tf", "x"), node("MatMul", ["tf", "wf"], ["m"], name="it"),
             q("m", "mq", "y"), dq("mq", "mf", "y"),
             node("Transpose", ["mf"], ["u"], perm=[0, 2, 1, 3]), q("u", "uq", "y"),
             dq("uq", "y", "y")]
    graph = agree(model(nodes, constants, {"x": [2, 7, 4, 6]}))
    assert [n.kind for n in graph.nodes if n.kind != "view"] == ["matmul_stack"]
    runs(graph, MICRO)


def test_a_matrix_is_in_memory_once():
    made = []
    for batch in (1, 8):
        rng = np.random.RandomState(1)
        float_model = model([node("MatMul", ["x", "w"], ["y"], name="it")],
                            {"w": rng.randn(1, 3, 40, 50).astype(F32)}, {"x": [batch, 3, 2, 40]})
        form = FORMS["qdq-u8s8-tensor-asyma-symw"]
        samples = rng.randn(4, batch, 3, 2, 40).astype(F32)
        graph = legalize(lower(quantize(float_model, form, samples)))
        compiled = compile_graph(graph, preset("default"))
        made.append(compiled.program[0] - compiled.write_window[1])
    assert made[1] < 1.5 * made[0]
