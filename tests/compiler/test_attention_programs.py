# SPDX-License-Identifier: Apache-2.0
"""Whole attention models as programs: every bit of the golden machine's outputs is ONNX Runtime's,
every tensor that of the golden operators."""

import numpy as np
import onnx
import pytest

from kiwicha.compiler.emit.compile import CompiledModel, compile_graph
from kiwicha.compiler.frontend.lower import LoweredModel, lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate, outputs
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import preset
from kiwicha.models.attention import attention_block, attention_inputs
from kiwicha.sim.reference import reference

from .any_order import EAGER_LOAD, run_in_order_of
from .random_nodes import CONFIGS
from .transformers import SHAPE, Builder, encoder

MODELS = {
    "heads": {"sequence": 8, "embedding": 16, "heads": 2, "head_dim": 8},
    "odd": {"sequence": 7, "embedding": 10, "heads": 3, "head_dim": 5, "batch": 2, "signed": True},
    "causal": {"sequence": 9, "embedding": 12, "heads": 2, "head_dim": 6, "causal": True},
    "padding": {"sequence": 8, "embedding": 16, "heads": 2, "head_dim": 8, "batch": 3,
                "padding": True, "projected": False},
    "both": {"sequence": 5, "embedding": 8, "heads": 1, "head_dim": 8, "batch": 2,
             "padding": True, "causal": True, "projected": False},
}


def run(
    lowered: LoweredModel, inputs: dict[str, np.ndarray], config: AcceleratorConfig
) -> tuple[CompiledModel, dict[str, np.ndarray]]:
    """Run on the golden machine; return the graph outputs."""
    graph = legalize(lowered)
    tensors = evaluate(graph, inputs)
    compiled = compile_graph(graph, config)
    memory = compiled.load(tensors)
    machine = Machine(config, memory, compiled.read_window, compiled.write_window)
    early = run_in_order_of(EAGER_LOAD, machine, compiled.words)
    machine.run(compiled.words)
    assert not machine.tokens.any()
    np.testing.assert_array_equal(early, memory, "tokens are missing")
    for name, tensor in graph.tensors.items():
        if name in compiled.addresses:
            found = compiled.read(memory, tensor)
            np.testing.assert_array_equal(found, tensors[name], err_msg=name)
    found = {t.name: compiled.read(memory, t) for t in graph.output_tensors}
    return compiled, outputs(graph, found)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", MODELS)
def test_attention_is_onnx_runtimes(name: str, config: str) -> None:
    model = attention_block(**MODELS[name])
    lowered = lower(model)
    inputs = attention_inputs(model, 3)
    compiled, found = run(lowered, inputs, CONFIGS[config])
    for key, value in reference(lowered, inputs).outputs.items():
        np.testing.assert_array_equal(found[key], value)
    assert {node.promise for layer in compiled.layers for node in layer.nodes} == {"runtime"}
    assert any(len(layer.nodes) > 2 for layer in compiled.layers)
    ends = sum(layer.predicted_cycles for layer in compiled.layers)
    assert ends == compiled.timeline.total


def test_encoder() -> None:
    """Residual sums, normalization and Gelu around it."""
    build = Builder(2)
    lowered = lower(build.quantized(encoder(build, "x")))
    inputs = {"x": np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32)}
    compiled, _ = run(lowered, inputs, CONFIGS["tiny"])
    golden = [layer.name for layer in compiled.layers if layer.node.promise == "golden"]
    assert golden == ["norm1", "norm2"]


def test_vision_transformer() -> None:
    lowered = lower(onnx.load("models/vit/vit_int8.onnx"), 2)
    graph = legalize(lowered)
    rng = np.random.default_rng(5)
    value = graph.inputs[0]
    inputs = {value.name: rng.random(value.shape).astype(np.float32)}
    run(lowered, inputs, preset("default").replace(transposer=True, special={"lanes": 4}))


@pytest.mark.parametrize(
    ("missing", "node"),
    [({"transposer": False}, "score.*transposer is false; true would do"),
     ({"special": {"lanes": 0}}, "share.*special.lanes is 0; 4 would do")],
)
def test_a_machine_without(missing: dict[str, object], node: str) -> None:
    graph = legalize(lower(attention_block(**MODELS["heads"])))
    with pytest.raises(KiwichaError, match=node):
        compile_graph(graph, CONFIGS["tiny"].replace(**missing))
