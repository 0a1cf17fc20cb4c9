# SPDX-License-Identifier: Apache-2.0
"""Functions between dynamically quantized layers (`real.functions`): golden machine, golden network
and ONNX Runtime agree."""

import numpy as np
import pytest
from onnx import helper

import kiwicha
from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError, UnsupportedModel
from kiwicha.golden.network import evaluate
from kiwicha.sim.inference import run_model

from ..support.bench import unit_simulator
from .test_dynamic import check, quantized
from .test_dynamic_conv import conv, fully_connected
from .test_dynamic_real import REAL, linear, of

F32 = np.float32
node = helper.make_node
MACHINES = {
    name: config.replace(real={"functions": True}, pooling={"window": 3})
    for name, config in REAL.items()
}
configs = pytest.mark.parametrize("config", MACHINES)


def checked(tmp_path, config, nodes, constants, shape, outputs=("y",), spread=2.0, **options):
    """Compare with ONNX Runtime; return the graph."""
    model = quantized(tmp_path, nodes, constants, shape, outputs, **options)
    x = np.random.default_rng(3).normal(0.2, spread, shape).astype(F32)
    return check(model, MACHINES[config], x)[0]


def clip(x, output, constants, low=None, high=None):
    """Return a Clip, whose bounds enter ``constants``."""
    names = []
    for name, value in (("low", low), ("high", high)):
        names.append("" if value is None else f"{output}.{name}")
        constants |= {} if value is None else {names[-1]: np.array(value, F32)}
    return of("Clip", [x, *names], output)


@configs
@pytest.mark.parametrize("bounds", [
    (0, 6), (0, None), (None, 1.5), (-1, 1), (-0.0, 1e-3), (-3, -0.5), (0.25, 2), (1, 1), (2, -1),
    (None, None), (-np.inf, np.inf), (0, 0),
], ids=str)
def test_bounds(tmp_path, config, bounds):
    rng, constants = np.random.default_rng(1), {}
    nodes = [
        *linear("a", "x", 5, 7, rng, constants), clip("a", "c", constants, *bounds),
        *linear("y", "c", 7, 3, rng, constants),
    ]
    graph = checked(tmp_path, config, nodes, constants, [6, 5])
    assert [n.kind for n in graph.nodes] == ["dynamic", "dynamic"]


@configs
def test_inverted_residuals(tmp_path, config):
    """As MobileNetV2 has them: depthwise, Relu6, a sum whose second operand is bounded by nothing;
    an old Clip, whose bounds are attributes, would be the same."""
    rng, constants = np.random.default_rng(2), {}
    nodes, source = [conv("s", "x", (4, 3, 3, 3), rng, constants, pads=[1] * 4)], "s"
    for k in range(2):
        nodes += [
            conv(f"e{k}", source, (8, 4, 1, 1), rng, constants),
            clip(f"e{k}", f"ec{k}", constants, 0, 6),
            conv(f"d{k}", f"ec{k}", (8, 1, 3, 3), rng, constants, group=8, pads=[1] * 4),
            clip(f"d{k}", f"dc{k}", constants, 0, 6),
            conv(f"p{k}", f"dc{k}", (4, 8, 1, 1), rng, constants),
            of("Add", [source, f"p{k}"], f"a{k}"),
        ]
        source = f"a{k}"
    nodes += fully_connected(source, 4 * 5 * 4, rng, constants)
    graph = checked(tmp_path, config, nodes, constants, [2, 3, 5, 4], spread=4)
    assert [n.kind for n in graph.nodes].count("dynamic_conv") == 7


@configs
def test_several_one_after_the_other(tmp_path, config):
    """Clip and Relu in any order and number are one pair of bounds; with a slope before."""
    rng, constants = np.random.default_rng(3), {}
    nodes = [
        *linear("a", "x", 5, 7, rng, constants), of("Relu", ["a"], "ar"),
        clip("ar", "ac", constants, -1, 3), clip("ac", "acc", constants, 0.5, 8),
        *linear("b", "acc", 7, 6, rng, constants), of("LeakyRelu", ["b"], "bl", alpha=0.2),
        clip("bl", "bc", constants, -0.3, 2), of("Relu", ["bc"], "br"),
        *linear("y", "br", 6, 3, rng, constants),
    ]
    checked(tmp_path, config, nodes, constants, [6, 5])


@configs
def test_bounds_of_what_is_in_memory(tmp_path, config):
    """Of a sum, of a concatenation, of values that others read; as graph outputs."""
    rng, constants = np.random.default_rng(4), {}
    nodes = [
        conv("a", "x", (4, 3, 3, 3), rng, constants, pads=[1] * 4),
        conv("b", "x", (4, 3, 1, 1), rng, constants), of("Add", ["a", "b"], "s"),
        clip("s", "sc", constants, -1, 1.5),
        conv("c", "sc", (4, 4, 1, 1), rng, constants), clip("c", "cc", constants, 0, 6),
        of("Concat", ["sc", "cc"], "t", axis=1), clip("t", "tc", constants, -0.5, 1),
        conv("d", "tc", (2, 8, 2, 2), rng, constants), clip("d", "dc", constants, -2, 2),
        conv("y", "dc", (2, 2, 1, 1), rng, constants),
    ]
    checked(tmp_path, config, nodes, constants, [2, 3, 5, 4], ("y", "sc", "dc"))


@configs
@pytest.mark.parametrize("first", ["Clip", "MaxPool"])
@pytest.mark.parametrize("low", [0, -2])
def test_bounds_and_maxima(tmp_path, config, first, low):
    """In either order: of codes where the range is known, else of values in windows."""
    rng, constants = np.random.default_rng(5), {}
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [conv("a", "x", (5, 3, 3, 3), rng, constants)]
    if first == "Clip":
        nodes += [clip("a", "b", constants, low, 1), of("MaxPool", ["b"], "c", **pool)]
    else:
        nodes += [of("MaxPool", ["a"], "b", **pool), clip("b", "c", constants, low, 1)]
    nodes += fully_connected("c", 5 * 2 * 2, rng, constants)
    checked(tmp_path, config, nodes, constants, [2, 3, 6, 6])


def test_views_behind(tmp_path):
    rng, constants = np.random.default_rng(6), {}
    nodes = [
        *linear("a", "x", 5, 7, rng, constants), clip("a", "c", constants, 0, 6),
        of("Reshape", ["c", "shape"], "v"), *linear("y", "v", 14, 3, rng, constants),
    ]
    constants["shape"] = np.array([3, 14])
    checked(tmp_path, "small", nodes, constants, [6, 5])


@configs
@pytest.mark.parametrize("op", ["HardSwish", "HardSigmoid"])
@pytest.mark.parametrize("image", [True, False])
def test_hard_functions(tmp_path, config, op, image):
    """Two roundings and bounds; HardSwish is a product with that, of a layer computed again."""
    rng, constants = np.random.default_rng(8), {}
    given = {"alpha": 0.3, "beta": 0.4} if op == "HardSigmoid" else {}
    if image:
        nodes = [conv("a", "x", (5, 3, 3, 3), rng, constants), of(op, ["a"], "h", **given),
                 conv("b", "h", (5, 1, 2, 2), rng, constants, group=5), of(op, ["b"], "hb"),
                 *fully_connected("hb", 5 * 3 * 3, rng, constants)]
    else:
        nodes = [*linear("a", "x", 6, 7, rng, constants), of(op, ["a"], "h", **given),
                 *linear("y", "h", 7, 3, rng, constants)]
    shape = [2, 3, 6, 6] if image else [2, 3, 6]
    checked(tmp_path, config, nodes, constants, shape, opset=14)


@configs
@pytest.mark.parametrize("nodes", [
    [("Mul", "all")], [("Mul", "each"), ("Add", "each")], [("Add", "each")],
    [("Add", "all"), ("Add", "each")], [("Mul", "each"), ("Relu", None)],
    [("Add", "all"), ("Mul", "each"), ("Clip", None)],
], ids=lambda nodes: "-".join(kind for kind, _ in nodes))
def test_constants(tmp_path, config, nodes):
    """Factors and offsets of each channel or of all, behind a layer with or without bias: as
    ConvNeXt scales its layers."""
    rng, constants = np.random.default_rng(9), {}
    bias = nodes[0][0] == "Mul"  # else the first one is
    made, value = [conv("a", "x", (5, 3, 2, 2), rng, constants, bias=bias)], "a"
    for place, (kind, size) in enumerate(nodes):
        name = f"f{place}"
        if kind == "Clip":
            made.append(clip(value, name, constants, -1, 2))
        elif kind == "Relu":
            made.append(of(kind, [value], name))
        else:
            shape = (5, 1, 1) if size == "each" else ()
            constants[f"{name}.k"] = rng.normal(size=shape).astype(F32)
            made.append(of(kind, [value, f"{name}.k"], name))
        value = name
    made += fully_connected(value, 5 * 3 * 4, rng, constants)
    checked(tmp_path, config, made, constants, [2, 3, 4, 5])


@configs
def test_products_of_two_layers(tmp_path, config):
    """Gates: of one input, of two, of values in memory; a sum and bounds behind; an output."""
    rng, constants = np.random.default_rng(10), {}
    nodes = [
        *linear("a", "x", 5, 7, rng, constants), *linear("b", "x", 5, 7, rng, constants),
        of("HardSigmoid", ["b"], "bh"), of("Mul", ["a", "bh"], "g"), of("Relu", ["g"], "gr"),
        *linear("c", "gr", 7, 6, rng, constants), *linear("d", "gr", 7, 6, rng, constants),
        of("Add", ["c", "d"], "s"), *linear("e", "s", 6, 6, rng, constants),
        of("Mul", ["s", "e"], "t"), clip("t", "tc", constants, -1, 1),
        *linear("y", "tc", 6, 3, rng, constants),
    ]
    checked(tmp_path, config, nodes, constants, [6, 5], ("y", "t"))


def normalized(x, output, channels, rng, constants):
    """Return a BatchNormalization, whose constants enter ``constants``."""
    names = [f"{output}.{name}" for name in ("scale", "bias", "mean", "variance")]
    constants |= {name: rng.normal(size=channels).astype(F32) for name in names}
    constants[names[-1]] = rng.uniform(0.2, 3, channels).astype(F32)
    return of("BatchNormalization", [x, *names], output, epsilon=1e-3)


@configs
@pytest.mark.parametrize("channels", [(4, 3), (8, 8), (9, 2)])
def test_normalization(tmp_path, config, channels):
    """As DenseNet has it: of a layer (of ONNX Runtime's own bits, unfolded), of a concatenation, of
    what is pooled and read by others; Relu or Clip behind."""
    first, more = channels
    rng, constants = np.random.default_rng(12), {}
    nodes = [
        conv("a", "x", (first, 3, 3, 3), rng, constants, pads=[1] * 4),
        normalized("a", "n", first, rng, constants), of("Relu", ["n"], "r"),
        conv("b", "r", (first, first, 1, 1), rng, constants), of("Relu", ["b"], "br"),
        of("MaxPool", ["br"], "p", kernel_shape=[2, 2], strides=[1, 1]),
        normalized("p", "pn", first, rng, constants), of("Relu", ["pn"], "pr"),
        conv("c", "pr", (more, first, 1, 1), rng, constants),
        of("Concat", ["p", "c"], "t", axis=1),
        normalized("t", "tn", first + more, rng, constants), clip("tn", "tr", constants, 0, 3),
        conv("y", "tr", (2, first + more, 1, 1), rng, constants),
    ]
    checked(tmp_path, config, nodes, constants, [2, 3, 4, 5], opset=15)


def test_more_factors_than_fit(tmp_path):
    rng, constants = np.random.default_rng(13), {}
    nodes = [
        conv("a", "x", (70, 3, 1, 1), rng, constants), of("Relu", ["a"], "r"),
        normalized("r", "n", 70, rng, constants), conv("y", "n", (2, 70, 1, 1), rng, constants),
    ]
    graph = legalize(lower(quantized(tmp_path, nodes, constants, [1, 3, 2, 2], opset=15)))
    with pytest.raises(KiwichaError, match="has 70 factors; real.bytes is 512; 1024 would"):
        compile_graph(graph, MACHINES["small"])


@pytest.mark.parametrize("op", [
    "Sigmoid", "Tanh", "Gelu", "Exp", "LayerNormalization", "Softmax", "Erf", "Elu",
])
def test_functions_of_the_runtime_are_refused_and_the_host_has_them(tmp_path, op):
    """Their bits are those of its vector code, and the next layer's range follows from them."""
    rng, constants = np.random.default_rng(11), {"gain": np.ones(7, F32)}
    more = ["gain"] if op == "LayerNormalization" else []
    nodes = [*linear("a", "x", 5, 7, rng, constants), of(op, ["a", *more], "f"),
             *linear("y", "f", 7, 3, rng, constants)]
    model = quantized(tmp_path, nodes, constants, [6, 5], opset=20)
    x = rng.normal(size=(6, 5)).astype(F32)
    message = f"^1 node cannot be mapped\n  'f' [(]{op}[)]: {op} of a dynamically quantized la"
    with pytest.raises(UnsupportedModel, match=message):
        kiwicha.run_golden(model, {"x": x})
    run = kiwicha.run_golden(model, {"x": x}, host_fallback=True)
    assert run.exact
    np.testing.assert_array_equal(run.outputs["y"], run.expected["y"])


def test_what_is_not_finite_has_no_bounds(tmp_path):
    """ONNX Runtime would hold infinity; the machine does not tell it from NaN, and stops."""
    rng, constants = np.random.default_rng(1), {}
    nodes = [
        *linear("a", "x", 5, 7, rng, constants), clip("a", "c", constants, 0, 6),
        *linear("y", "c", 7, 3, rng, constants),
    ]
    constants["a.w"] *= F32(1e20)
    graph = legalize(lower(quantized(tmp_path, nodes, constants, [6, 5])))
    with pytest.raises(OverflowError, match="'c_quantized', which .* cannot be quantized: its ran"):
        evaluate(graph, {"x": rng.normal(size=(6, 5)).astype(F32) * F32(1e20)})


def test_machines_that_have_no_functions(tmp_path):
    rng, constants = np.random.default_rng(1), {}
    nodes = [
        *linear("a", "x", 5, 7, rng, constants), clip("a", "c", constants, 0, 6),
        *linear("y", "c", 7, 3, rng, constants),
    ]
    graph = legalize(lower(quantized(tmp_path, nodes, constants, [6, 5])))
    with pytest.raises(KiwichaError, match="functions of binary32 values; real.functions is f"):
        compile_graph(graph, REAL["small"])


def test_on_simulated_hardware(tmp_path):
    """Two pairs of bounds, of a layer and of values in memory; a HardSwish, factors."""
    rng, constants = np.random.default_rng(7), {}
    nodes = [
        conv("a", "x", (3, 2, 2, 2), rng, constants), clip("a", "ac", constants, 0, 2),
        conv("b", "ac", (3, 3, 1, 1), rng, constants), of("Add", ["ac", "b"], "s"),
        normalized("s", "n", 3, rng, constants), clip("n", "sc", constants, -0.5, 1),
        conv("d", "sc", (3, 3, 1, 1), rng, constants),
        of("HardSwish", ["d"], "h"), conv("e", "h", (3, 3, 1, 1), rng, constants),
        of("Mul", ["e", "k"], "ek"), *fully_connected("ek", 3 * 2 * 3, rng, constants),
    ]
    constants["k"] = rng.normal(size=(3, 1, 1)).astype(F32)
    model = quantized(tmp_path, nodes, constants, [1, 2, 3, 4], opset=14)
    x = rng.normal(size=(1, 2, 3, 4)).astype(F32)
    simulator = unit_simulator().name  # Icarus if it is there: no C++ to compile for one run
    report = run_model(model, MACHINES["small"], {"x": x}, simulator=simulator).report
    assert report.exact
    assert report.reference["whole"]
