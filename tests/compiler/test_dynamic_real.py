# SPDX-License-Identifier: Apache-2.0
"""Sums, concatenations, parts and slopes between dynamically quantized layers: golden machine,
golden network and ONNX Runtime agree."""

import numpy as np
import pytest
from onnx import helper

import kiwicha
from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError, UnsupportedModel
from kiwicha.golden.network import evaluate
from kiwicha.machine.presets import preset
from kiwicha.sim.golden_run import run_on_golden_machine
from kiwicha.sim.judge import judge

from .test_dynamic import CONFIGS, check, quantized
from .test_dynamic_conv import conv, fully_connected

F32 = np.float32
node = helper.make_node
REAL = {
    "small": CONFIGS["small"].replace(real={"bytes": 512}),
    "wide": CONFIGS["wide"].replace(real={"bytes": 4096}, forwarding=True),
}
configs = pytest.mark.parametrize("config", REAL)


def linear(name, source, depth, columns, rng, constants):
    """Return a product with bias, whose constants enter ``constants``."""
    constants |= {f"{name}.w": (rng.normal(size=(depth, columns)) / 2).astype(F32),
                  f"{name}.b": rng.normal(size=columns).astype(F32)}
    return [node("MatMul", [source, f"{name}.w"], [f"{name}.m"], name=f"{name}.m"),
            node("Add", [f"{name}.m", f"{name}.b"], [name], name=f"{name}.a")]


def of(op, inputs, output, **attributes):
    """Return a node named like its result."""
    return node(op, inputs, [output], name=output, **attributes)


def checked(tmp_path, config, nodes, constants, shape, outputs=("y",), seed=3, **options):
    """Compare with ONNX Runtime; return the kinds of nodes."""
    model = quantized(tmp_path, nodes, constants, shape, outputs, **options)
    x = np.random.default_rng(seed).normal(0.3, 1, shape).astype(F32)
    graph, _ = check(model, REAL[config], x)
    return [n.kind for n in graph.nodes if n.kind != "view"]


@configs
@pytest.mark.parametrize("per_channel", [False, True])
def test_sum_of_two_layers(tmp_path, config, per_channel):
    rng, constants = np.random.default_rng(1), {}
    nodes = [
        *linear("a", "x", 5, 7, rng, constants), *linear("b", "x", 5, 7, rng, constants),
        of("Add", ["a", "b"], "s"), of("Relu", ["s"], "r"),
        *linear("y", "r", 7, 3, rng, constants),
    ]
    kinds = checked(tmp_path, config, nodes, constants, [6, 5], per_channel=per_channel)
    assert kinds == ["dynamic"] * 2 + ["dynamic_real", "dynamic"]


def test_sums_without_a_finite_range(tmp_path):
    rng, constants = np.random.default_rng(1), {}
    nodes = [
        *linear("a", "x", 5, 7, rng, constants), *linear("b", "x", 5, 7, rng, constants),
        of("Add", ["a", "b"], "s"), *linear("y", "s", 7, 3, rng, constants),
    ]
    constants["a.w"] *= F32(1e20)
    graph = legalize(lower(quantized(tmp_path, nodes, constants, [6, 5], ("y", "s"))))
    x = rng.normal(size=(6, 5)).astype(F32) * F32(1e20)
    with pytest.raises(OverflowError, match="'s_quantized', which .* cannot be quantized: its ran"):
        evaluate(graph, {"x": x})
    output = next(edge for edge in graph.dequantize if edge.target == "s")
    octets = np.full(output.tensor.shape, 0, np.uint8)
    octets.view("<f4")[0, 0] = np.inf
    with pytest.raises(KiwichaError, match="^output 's' has values that are not finite in binary3"):
        output(octets)


def residual_network(rng, blocks, channels=6):
    """Return nodes, constants and input shape of a residual network: blocks that keep the image,
    then one with a stride and a convolution on its short cut."""
    constants = {}
    nodes = [conv("stem", "x", (channels, 3, 3, 3), rng, constants, pads=[1] * 4),
             of("Relu", ["stem"], "x0")]
    source = "x0"
    for k in range(blocks):
        last = k == blocks - 1
        more, wide = {"strides": [2, 2]} if last else {}, channels + 2 * last
        short = source
        if last:
            nodes.append(conv("short", source, (wide, channels, 1, 1), rng, constants, **more))
            short = "short"
        nodes += [
            conv(f"p{k}", source, (channels, channels, 3, 3), rng, constants, pads=[1] * 4, **more),
            of("Relu", [f"p{k}"], f"q{k}"),
            conv(f"c{k}", f"q{k}", (wide, channels, 3, 3), rng, constants, pads=[1] * 4),
            of("Add", [f"c{k}", short] if k % 2 else [short, f"c{k}"], f"s{k}"),
            of("Relu", [f"s{k}"], f"x{k + 1}"),
        ]
        source = f"x{k + 1}"
    nodes += fully_connected(source, (channels + 2) * 3 * 4, rng, constants)
    return nodes, constants, [2, 3, 6, 7]


@configs
def test_residual_network(tmp_path, config):
    nodes, constants, shape = residual_network(np.random.default_rng(2), 3)
    kinds = checked(tmp_path, config, nodes, constants, shape)
    assert kinds.count("dynamic_real") == 4
    assert kinds.count("dynamic_conv") == 8


def test_every_quantization_is_judged(tmp_path):
    nodes, constants, shape = residual_network(np.random.default_rng(2), 2)
    lowered = lower(quantized(tmp_path, nodes, constants, shape))
    graph = legalize(lowered)
    tensors = evaluate(graph, {"x": np.random.default_rng(3).normal(size=shape).astype(F32)})
    reals = [n for n in graph.nodes if n.kind == "dynamic_real"]
    verdicts = [judge(lowered, graph, (n,), preset("default"), tensors) for n in reals]
    # Of the last one the model has no more than a view.
    assert [v.compared for v in verdicts] == [*(n.y.size for n in reals[:-1]), 0]
    assert not any(v.differ for v in verdicts)
    tensors[reals[0].y.name].reshape(-1)[5] ^= 1
    assert judge(lowered, graph, (reals[0],), preset("default"), tensors).differ == 1


@configs
def test_short_cut_from_the_graph_input(tmp_path, config):
    rng, constants = np.random.default_rng(4), {}
    nodes = [
        conv("a", "x", (4, 4, 3, 3), rng, constants, pads=[1] * 4),
        of("Relu", ["a"], "r"), of("Add", ["r", "x"], "s"),
        conv("b", "s", (4, 4, 1, 1), rng, constants), of("Add", ["s", "b"], "y"),
    ]
    checked(tmp_path, config, nodes, constants, [2, 4, 5, 3], ("y", "s"))


@configs
def test_sequences(tmp_path, config):
    """1-D: a short cut from the graph input, which is concatenated, too."""
    rng, constants = np.random.default_rng(18), {}
    nodes = [
        conv("a", "x", (4, 4, 3), rng, constants, pads=[1, 1]), of("Add", ["x", "a"], "s"),
        of("Concat", ["s", "x"], "t", axis=1), conv("b", "t", (3, 8, 2), rng, constants),
        of("Relu", ["b"], "y"),
    ]
    checked(tmp_path, config, nodes, constants, [2, 4, 9])


@configs
@pytest.mark.parametrize("op", ["LeakyRelu", "PRelu", "PRelu of channels"])
def test_slopes(tmp_path, config, op):
    rng, constants = np.random.default_rng(5), {}
    nodes = [conv("a", "x", (5, 3, 3, 3), rng, constants)]
    if op == "LeakyRelu":
        nodes.append(of(op, ["a"], "l", alpha=0.1))
    else:
        constants["slope"] = np.array([[[0.3]]], F32)
        if op != "PRelu":
            constants["slope"] = rng.normal(size=(5, 1, 1)).astype(F32)
        nodes.append(of("PRelu", ["a", "slope"], "l"))
    nodes += fully_connected("l", 5 * 4 * 4, rng, constants)
    assert checked(tmp_path, config, nodes, constants, [2, 3, 6, 6]) == ["dynamic_conv", "dynamic"]


@configs
def test_slope_before_a_sum(tmp_path, config):
    """As Darknet has it; and as graph output."""
    rng, constants = np.random.default_rng(6), {}
    nodes = [
        conv("a", "x", (4, 3, 1, 1), rng, constants), of("LeakyRelu", ["a"], "la", alpha=0.1),
        conv("b", "la", (3, 4, 3, 3), rng, constants, pads=[1] * 4),
        of("LeakyRelu", ["b"], "lb", alpha=0.1), of("Add", ["x", "lb"], "s"),
        conv("c", "s", (2, 3, 2, 2), rng, constants),
        of("LeakyRelu", ["c"], "lc", alpha=0.2), of("Flatten", ["lc"], "y"),
    ]
    checked(tmp_path, config, nodes, constants, [1, 3, 5, 4])


@configs
@pytest.mark.parametrize("channels", [(3, 5, 2), (8, 16, 8)])
def test_concat_of_channels(tmp_path, config, channels):
    rng, constants = np.random.default_rng(7), {}
    nodes = []
    for k, count in enumerate(channels):
        nodes += [conv(f"c{k}", "x", (count, 3, 3, 3), rng, constants),
                  of("Relu", [f"c{k}"], f"r{k}")]
    names = [f"r{k}" for k in range(len(channels))]
    nodes += [of("Concat", names, "t", axis=1),
              *fully_connected("t", sum(channels) * 3 * 4, rng, constants)]
    kinds = checked(tmp_path, config, nodes, constants, [2, 3, 5, 6])
    assert kinds == ["dynamic_conv"] * 3 + ["dynamic_real", "dynamic"]


@configs
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_concat_of_rows(tmp_path, config, axis):
    """Products of two layers and of concatenations; a Relu behind."""
    rng, constants = np.random.default_rng(8), {}
    nodes = [
        *linear("a", "x", 6, 5, rng, constants), *linear("b", "x", 6, 5, rng, constants),
        of("Concat", ["a", "b"], "t", axis=axis), of("Relu", ["t"], "r"),
        *linear("y", "r", 10 if axis == 2 else 5, 3, rng, constants),
    ]
    checked(tmp_path, config, nodes, constants, [2, 3, 6])


@configs
def test_dense_network(tmp_path, config):
    """Each layer reads all before it."""
    rng, constants = np.random.default_rng(9), {}
    nodes, have, channels = [conv("c0", "x", (4, 3, 3, 3), rng, constants, pads=[1] * 4)], "c0", 4
    for k in (1, 2, 3):
        nodes += [
            conv(f"c{k}", have, (3, channels, 3, 3), rng, constants, pads=[1] * 4),
            of("Concat", [have, f"c{k}"], f"t{k}", axis=1),
        ]
        have, channels = f"t{k}", channels + 3
    nodes += fully_connected(have, channels * 4 * 3, rng, constants)
    checked(tmp_path, config, nodes, constants, [2, 3, 4, 3])


@pytest.mark.parametrize("op", ["Split", "Slice"])
def test_columns_of_a_layer(tmp_path, op):
    """Parts are layers with fewer columns; the range is that of the part."""
    rng, constants = np.random.default_rng(10), {}
    nodes = linear("a", "x", 5, 9, rng, constants)
    if op == "Split":
        constants["sizes"] = np.array([2, 4, 3])
        nodes.append(node("Split", ["a", "sizes"], ["q", "k", "v"], name="split", axis=-1))
    else:
        for name, values in {"from": [2], "to": [6], "axes": [1]}.items():
            constants[name] = np.array(values)
        nodes.append(of("Slice", ["a", "from", "to", "axes"], "k"))
    nodes += [of("Relu", ["k"], "r"), *linear("y", "r", 4, 3, rng, constants)]
    model = quantized(tmp_path, nodes, constants, [6, 5])
    graph, _ = check(model, CONFIGS["small"], rng.normal(size=(6, 5)).astype(F32))
    assert [n.columns for n in graph.nodes] == [4, 3]


def test_average_behind_a_sum(tmp_path):
    """Golden-exact, as an average of a layer's result is; all before is runtime-exact."""
    nodes, constants, shape = residual_network(np.random.default_rng(11), 2)
    nodes = nodes[:-3]
    rng = np.random.default_rng(1)
    nodes += [of("GlobalAveragePool", ["x2"], "p"), *fully_connected("p", 8, rng, constants)]
    model = quantized(tmp_path, nodes, constants, shape)
    x = rng.normal(size=shape).astype(F32)
    outcome = run_on_golden_machine(model, REAL["wide"], {"x": x})
    assert outcome.wrong == ()
    expected = outcome.reference.outputs["y"]
    assert np.abs(outcome.outputs["y"] - expected).max() < 0.05 * np.abs(expected).max()


def test_sum_as_output_of_a_function(tmp_path):
    rng, constants = np.random.default_rng(12), {}
    nodes = [*linear("a", "x", 5, 4, rng, constants), *linear("b", "x", 5, 4, rng, constants),
             of("Add", ["a", "b"], "s"), of("Softmax", ["s"], "y")]
    checked(tmp_path, "small", nodes, constants, [6, 5])


def test_machines_and_models_that_have_no_such_values(tmp_path):
    rng, constants = np.random.default_rng(13), {}
    nodes, constants, shape = residual_network(rng, 1)
    model = quantized(tmp_path, nodes, constants, shape)
    with pytest.raises(KiwichaError, match="has values in binary32; real.bytes is 0; 16384 would"):
        compile_graph(legalize(lower(model)), CONFIGS["small"])
    nodes[-3:] = [of("Sigmoid", ["x1"], "g"), *fully_connected("g", 8 * 12, rng, constants)]
    with pytest.raises(UnsupportedModel, match="Sigmoid of a dynamically quantized layer's result"):
        legalize(lower(quantized(tmp_path, nodes, constants, shape)))


def test_columns_of_a_convolution_are_outputs(tmp_path):
    """What a layer makes is compared where it is all of the runtime's sums; its columns' values,
    which a host reads, are compared as outputs."""
    rng, constants = np.random.default_rng(23), {}
    for name, values in {"from": [1], "to": [4], "axes": [1]}.items():
        constants[name] = np.array(values)
    nodes = [
        conv("a", "x", (6, 3, 1, 1), rng, constants),
        of("Slice", ["a", "from", "to", "axes"], "k"), of("Mul", ["k", "k"], "y"),
    ]
    model = quantized(tmp_path, nodes, constants, [1, 3, 2, 4])
    x = rng.normal(size=(1, 3, 2, 4)).astype(F32)
    run = kiwicha.run_golden(model, {"x": x}, host_fallback=True)
    assert run.exact
