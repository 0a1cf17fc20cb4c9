# SPDX-License-Identifier: Apache-2.0
"""Whole models: compiled, run by the golden machine, equal to the golden operators everywhere."""

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import CompiledModel, compile_graph
from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError, UnfitMachine
from kiwicha.golden.machine import Machine, MachineError
from kiwicha.golden.network import evaluate
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import encode, walk_program
from kiwicha.machine.fields import with_fields
from kiwicha.machine.isa import Engine, Opcode
from kiwicha.machine.modes import RequantizeMode
from kiwicha.machine.presets import preset
from kiwicha.models.variants import DEFAULT, NETWORKS, SPECIAL, build

SMALL = [n for n in NETWORKS if not n.startswith("bench_") and n not in SPECIAL]


def compiled_on(name: str, config: AcceleratorConfig, form: object = DEFAULT) -> CompiledModel:
    model, shape = build(name, form)
    return compile_graph(legalize(lower(model, shape[0])), config)


def check(compiled: CompiledModel, mode: RequantizeMode = RequantizeMode.ONNX) -> None:
    graph = compiled.graph
    tensors = evaluate(graph, random_inputs(graph.inputs, 7), mode)
    memory = compiled.load(tensors)
    machine = Machine(compiled.config, memory, compiled.read_window, compiled.write_window)
    machine.run(compiled.words)
    assert not machine.tokens.any()
    for name, tensor in graph.tensors.items():
        if name in compiled.addresses:
            found = compiled.read(memory, tensor)
            np.testing.assert_array_equal(found, tensors[name], err_msg=name)


@pytest.mark.parametrize("config", ["tiny", "wide", "default"])
@pytest.mark.parametrize("name", SMALL)
def test_network(name: str, config: str) -> None:
    check(compiled_on(name, preset(config)))


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_gates(lanes: int) -> None:
    check(compiled_on("gates", preset("default").replace(special={"lanes": lanes})))


@pytest.mark.parametrize("mode", ["tflite", "tflite-single"])
def test_other_rounding(mode: str) -> None:
    check(compiled_on(SMALL[0], preset("tiny").replace(requantize_mode=mode)), RequantizeMode(mode))


def test_same_bytes_every_time() -> None:
    first, second = (compiled_on(SMALL[0], preset("tiny")) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    assert first.program == second.program


def test_prediction_adds_up() -> None:
    compiled = compiled_on(SMALL[0], preset("tiny"))
    assert sum(layer.predicted_cycles for layer in compiled.layers) == compiled.timeline.total
    for layer in compiled.layers:
        assert 0 < layer.bound_cycles <= layer.predicted_cycles


def test_too_large_for_the_address_space() -> None:
    with pytest.raises(KiwichaError, match="conv1' does not fit: .* axi_address_width is 16; 20 w"):
        compiled_on("bench_conv3x3", preset("tiny").replace(axi_address_width=16))


def test_too_large_for_the_scratchpad() -> None:
    config = preset("tiny").replace(activation_bytes=256)
    match = "one output pixel does not fit .*; activation_bytes is 256; 1024 would do$"
    with pytest.raises(KiwichaError, match=match):
        compiled_on("bench_conv3x3", config)


def test_every_layer_that_is_too_large_is_named_with_what_would_do() -> None:
    config = preset("default").replace(
        activation_bytes=256, output_bytes=256, pooling={"window": 0},
    )
    with pytest.raises(UnfitMachine) as refused:
        compiled_on("separable", config)
    head, *lines = str(refused.value).splitlines()
    assert head == "3 nodes do not fit the machine"
    assert [line.split()[0] for line in lines] == ["conv2", "conv3", "maxpool1"]
    assert [line.split("; ", 1)[1] for line in lines] == [
        f"{field} is 256; 512 would do"
        for field in ("activation_bytes", "output_bytes", "activation_bytes")
    ]
    enough = {need.field: need.enough for need in refused.value.needs}
    assert enough == {"activation_bytes": 512, "output_bytes": 512}
    compiled_on("separable", with_fields(config, enough))
    for field in enough:
        with pytest.raises(UnfitMachine, match=f"; {field} is 256; 512 would do"):
            compiled_on("separable", with_fields(config, {**enough, field: 256}))


def test_no_window_is_left() -> None:
    compiled = compiled_on(SMALL[0], preset("tiny"))
    graph = compiled.graph
    memory = compiled.load(evaluate(graph, random_inputs(graph.inputs, 7)))
    machine = Machine(compiled.config, memory, compiled.read_window, (0, 0))
    with pytest.raises(MachineError, match=r"^word \d+, STORE: write .* leaves the granted"):
        machine.run(compiled.words)


def test_token_that_never_comes() -> None:
    machine = Machine(preset("tiny"), np.zeros(64, np.uint8), (0, 64), (0, 64))
    load = encode(Opcode.LOAD, wait=1 << Engine.STORE, length=1, segments=1)
    words = np.concatenate([load, encode(Opcode.END)])
    assert len(list(walk_program(words))) == 2
    with pytest.raises(MachineError, match="^word 0, LOAD: waits for a token from STORE"):
        machine.run(words)
