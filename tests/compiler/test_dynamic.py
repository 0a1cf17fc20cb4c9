# SPDX-License-Identifier: Apache-2.0
"""Models from quantize_dynamic: golden machine, golden network and ONNX Runtime agree bit for bit.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError, UnsupportedModel
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate, outputs
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import walk_program
from kiwicha.machine.isa import Opcode, VectorMode
from kiwicha.sim.export import program_files
from kiwicha.sim.host import products_saturate
from kiwicha.sim.inference import run_model

from ..support.bench import unit_simulator
from ..support.slow import slow
from .any_order import EAGER_LOAD, LAZY_STORE, run_in_order_of

SMALL = AcceleratorConfig(
    name="small", rows=4, columns=4, axi_data_width=64, activation_bytes=512, weight_bytes=256,
    accumulator_depth=16, output_bytes=512, parameter_channels=16, requantize_lanes=2,
    queue_words=16, dynamic=True,
)
WIDE = AcceleratorConfig(
    name="wide", rows=8, columns=8, axi_data_width=256, weight_bytes=16384, dynamic=True
)
CONFIGS = {"small": SMALL, "wide": WIDE}


def save(path, nodes, constants, x_shape, outputs=("y",), opset=13):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, x_shape)],
        [value(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)


def mlp(rng, sizes, bias=True, relu=True, x_shape=None, spread=1.0):
    """Nodes and constants of a perceptron with layers of these sizes, Relu between and, where
    asked for, at the end."""
    nodes, constants, value = [], {}, "x"
    for index, (depth, columns) in enumerate(zip(sizes, sizes[1:], strict=False)):
        weights = rng.normal(0.1, 1, (depth, columns)) * spread / np.sqrt(depth)
        constants[f"w{index}"] = weights.astype(np.float32)
        nodes.append(helper.make_node("MatMul", [value, f"w{index}"], [f"m{index}"]))
        value = f"m{index}"
        if bias:
            constants[f"b{index}"] = rng.normal(0, 1, columns).astype(np.float32)
            nodes.append(helper.make_node("Add", [value, f"b{index}"], [f"a{index}"]))
            value = f"a{index}"
        if relu:
            nodes.append(helper.make_node("Relu", [value], [f"r{index}"]))
            value = f"r{index}"
    nodes.append(helper.make_node("Identity", [value], ["y"]))
    return nodes, constants


def quantized(tmp_path, nodes, constants, x_shape, outputs=("y",), opset=13, **options):
    save(tmp_path / "float.onnx", nodes, constants, x_shape, outputs, opset)
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx", **options)
    return onnx.load(tmp_path / "dynamic.onnx")


def check(model, config, x, batch=None):
    """Compile for the golden machine, compare every tensor with the golden network and the outputs
    with ONNX Runtime on the model as it is, or where its products would saturate, on the lowered
    one: the same weights, but unsigned."""
    lowered = lower(model, batch)
    graph = legalize(lowered)
    compiled = compile_graph(graph, config)
    tensors = evaluate(graph, {"x": x})
    memory = compiled.load(tensors)
    machine = Machine(config, memory, compiled.read_window, compiled.write_window)
    others = [run_in_order_of(order, machine, compiled.words) for order in (EAGER_LOAD, LAZY_STORE)]
    machine.run(compiled.words)
    assert not machine.tokens.any()
    for other in others:
        np.testing.assert_array_equal(other, memory)
    found = {  # what memory has, and not the machine alone
        name: compiled.read(memory, tensor) for name, tensor in graph.tensors.items()
        if name in compiled.addresses or name in compiled.places
    }
    for name, array in found.items():
        np.testing.assert_array_equal(array, tensors[name], name)
    results = outputs(graph, found)
    judge = lowered.model if products_saturate() else model
    session = onnxruntime.InferenceSession(
        judge.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in model.graph.output]
    for name, expected in zip(names, session.run(names, {"x": x}), strict=True):
        assert (results[name].dtype, results[name].shape) == (expected.dtype, expected.shape)
        nowhere = np.isnan(results[name]) & np.isnan(expected)
        differ = results[name].view(np.uint32) != expected.view(np.uint32)
        assert not (differ & ~nowhere).any()
    return graph, compiled


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("weight_type", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("sizes", [(5, 7), (19, 33, 3), (13, 21, 9, 11)])
def test_perceptrons(tmp_path, config, weight_type, per_channel, bias, relu, sizes):
    rng = np.random.default_rng([len(sizes), bias, relu, per_channel])
    nodes, constants = mlp(rng, sizes, bias, relu)
    model = quantized(
        tmp_path, nodes, constants, [None, sizes[0]], weight_type=weight_type,
        per_channel=per_channel,
    )
    for rows in (1, 7):
        x = rng.normal(0.5, 2, (rows, sizes[0])).astype(np.float32)
        check(model, CONFIGS[config], x, rows)

def modes(compiled):
    """The modes of all VECTOR instructions, in their order."""
    return [
        VectorMode(fields["mode"])
        for _, opcode, fields in walk_program(compiled.words)
        if opcode == Opcode.VECTOR
    ]


def test_computed_once_where_the_accumulators_hold_all(tmp_path):
    rng = np.random.default_rng(1)
    nodes, constants = mlp(rng, (8, 16, 8))
    model = quantized(tmp_path, nodes, constants, [None, 8])
    config = CONFIGS["wide"].replace(accumulator_depth=16)
    for rows, tiles in ((4, 2), (40, 10)):
        x = rng.normal(size=(rows, 8)).astype(np.float32)
        _, compiled = check(model, config, x, rows)
        first = [mode for mode in modes(compiled) if mode != VectorMode.RAW]
        assert first == [VectorMode.MEASURE] * tiles + [VectorMode.QUANTIZE] * tiles
        # Those of the second layer are not many: its sums are drained once.
        count = sum(opcode == Opcode.COMPUTE for _, opcode, _ in walk_program(compiled.words))
        raw = modes(compiled).count(VectorMode.RAW)
        assert count - raw == (1 if rows == 4 else 2 * tiles)


def test_ranges(tmp_path):
    """Nothing but 0, one sign only, and far apart."""
    rng = np.random.default_rng(2)
    nodes, constants = mlp(rng, (9, 6, 5), bias=False)
    model = quantized(tmp_path, nodes, constants, [3, 9])
    zeros = np.zeros((3, 9), np.float32)
    for x in (zeros, zeros + 2, zeros - 3, rng.normal(size=(3, 9)) * 1e6, zeros + 1e-9):
        check(model, CONFIGS["small"], x.astype(np.float32))


@pytest.mark.parametrize("spread", [1e-36, 1e-39, 3e-44])
def test_denormal_values_and_scales(tmp_path, spread):
    """Of the inputs, of what is between the layers, and of the weights."""
    rng = np.random.default_rng(8)
    nodes, constants = mlp(rng, (9, 6, 5), spread=1.0)
    constants |= {name: constants[name] * np.float32(spread) for name in ("w0", "b0", "b1")}
    model = quantized(tmp_path, nodes, constants, [3, 9])
    for power in (0, -3, -8, -30, -42, 30):
        x = (rng.normal(size=(3, 9)) * 10.0**power).astype(np.float32)
        check(model, CONFIGS["small"], x)


def test_values_without_a_finite_range(tmp_path):
    """Infinite inputs, and those too far apart; sums that overflow are as the runtime's where they
    are an output, and refused by name where they would have to be quantized."""
    rng = np.random.default_rng(9)
    nodes, constants = mlp(rng, (4, 3, 2), bias=False, relu=False)
    constants["w0"] *= np.float32(1e20)
    model = quantized(tmp_path, nodes, constants, [2, 4])
    graph = legalize(lower(model))
    for wrong in (np.inf, -np.inf, np.nan, 3e38):
        x = np.full((2, 4), -3e38, np.float32)
        x[1, 2] = wrong
        with pytest.raises(KiwichaError, match=r"^input 'x' .* must be finite$"):
            evaluate(graph, {"x": x})
    x = rng.normal(size=(2, 4)).astype(np.float32)
    with pytest.raises(KiwichaError, match="'m0_quantized', which .* cannot be quantized: its ran"):
        run_model(model, CONFIGS["small"], {"x": x * np.float32(1e20)})
    check(model, CONFIGS["small"], x)
    nodes, constants = mlp(rng, (4, 3), relu=False)
    constants["w0"] *= np.float32(1e38)
    model = quantized(tmp_path, nodes, constants, [2, 4])
    for power in (0, 10):
        check(model, CONFIGS["small"], x * np.float32(10**power))


def test_stacks_views_and_gemm(tmp_path):
    """A matrix stack, a reshape on the way, and Gemm, which quantize_dynamic makes MatMul."""
    rng = np.random.default_rng(3)
    _, constants = mlp(rng, (6, 5, 4))
    make, gemm = helper.make_node, {"w1": rng.normal(size=(4, 10)).astype(np.float32)}
    nodes = [
        make("Flatten", ["x"], ["f"], axis=2),
        make("MatMul", ["f", "w0"], ["m"]),
        make("Add", ["b0", "m"], ["a"]),
        make("Relu", ["a"], ["r"]),
        make("Reshape", ["r", "shape"], ["v"]),
        make("Gemm", ["v", "w1", "b1"], ["y"], transB=1),
    ]
    shape = {"shape": np.array([3, 10])}
    model = quantized(tmp_path, nodes, constants | gemm | shape, [2, 3, 2, 3])
    check(model, CONFIGS["small"], rng.normal(size=(2, 3, 2, 3)).astype(np.float32))


def test_a_hidden_value_is_an_output_too(tmp_path):
    rng = np.random.default_rng(4)
    nodes, constants = mlp(rng, (5, 6, 4, 3))
    model = quantized(tmp_path, nodes, constants, [3, 5], ["r1", "y", "a0"])
    check(model, CONFIGS["small"], rng.normal(size=(3, 5)).astype(np.float32))


def test_slots_go_round(tmp_path):
    rng = np.random.default_rng(4)
    nodes, constants = mlp(rng, (5, 6, 4, 3, 7, 6, 5))
    model = quantized(tmp_path, nodes, constants, [3, 5])
    graph, _ = check(model, CONFIGS["small"], rng.normal(size=(3, 5)).astype(np.float32))
    assert [node.slot for node in graph.nodes] == [0, 1, 2, 3, 0, 1]
    assert [node.target for node in graph.nodes] == [1, 2, 3, 0, 1, None]


def branched(rng, branches):
    """Nodes, constants and outputs of all first layers of some branches, then all second ones."""
    first, second, constants, names = [], [], {}, []
    for k in range(branches):
        constants |= {f"{n}{k}": rng.normal(size=(5, 5)).astype(np.float32) for n in "vw"}
        first.append(helper.make_node("MatMul", ["x", f"v{k}"], [f"h{k}"]))
        second.append(helper.make_node("MatMul", [f"h{k}", f"w{k}"], [f"y{k}"]))
        names.append(f"y{k}")
    return [*first, *second], constants, names


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("branches", [3, 4, 9])
def test_slots_in_use_at_once(tmp_path, branches, config):
    """The second layers' operands have their scales back in slots that others had; x is in use with
    its last reader."""
    rng = np.random.default_rng(5)
    nodes, constants, names = branched(rng, branches)
    model = quantized(tmp_path, nodes, constants, [3, 5], names)
    graph, _ = check(model, CONFIGS[config], rng.normal(size=(3, 5)).astype(np.float32))
    assert any(node.reload for node in graph.nodes) == (branches > 3)


def test_the_report_has_the_density_of_its_weights(tmp_path):
    nodes, constants = mlp(np.random.default_rng(6), (5, 6))
    model = quantized(tmp_path, nodes, constants, [3, 5])
    (layer,) = compile_graph(legalize(lower(model)), CONFIGS["small"]).layers
    used = np.count_nonzero(layer.node.weights != layer.node.weight_zero)
    assert layer.weights.density == used / 30 > 0


def test_refusals(tmp_path):
    rng = np.random.default_rng(6)
    nodes, constants = mlp(rng, (5, 6))
    model = quantized(tmp_path, nodes, constants, [3, 5])
    with pytest.raises(KiwichaError, match="dynamically; dynamic is false; true would do"):
        compile_graph(legalize(lower(model)), CONFIGS["small"].replace(dynamic=False))
    make = helper.make_node
    sigmoid = [*nodes[:2], make("Sigmoid", ["a0"], ["s"]), make("MatMul", ["s", "w"], ["y"])]
    model = quantized(tmp_path, sigmoid, constants | {"w": np.ones((6, 2), np.float32)}, [3, 5])
    message = r"Sigmoid of a dyn.*in this order; .*use quantize_st"
    with pytest.raises(UnsupportedModel, match=message):
        legalize(lower(model))
    norm = [*nodes[:2], make("LpNormalization", ["a0"], ["y"])]
    model = quantized(tmp_path, norm, constants, [3, 5])
    with pytest.raises(UnsupportedModel, match="let the model end at 'a0' and compute LpNormaliz"):
        legalize(lower(model))
    model.graph.node.pop()
    model.graph.output[0].name = "a0"
    check(model, CONFIGS["small"], rng.normal(size=(3, 5)).astype(np.float32))


@pytest.mark.parametrize("last", [["Sigmoid"], ["Softmax"], ["Tanh", "Exp", "LogSoftmax"]])
def test_what_the_host_computes_in_the_end(tmp_path, last):
    """Of the float values of the last layer, before a graph output."""
    rng = np.random.default_rng(8)
    nodes, constants = mlp(rng, (5, 6))
    names = ["a0", *(f"l{place}" for place in range(len(last) - 1)), "y"]
    nodes = nodes[:2] + [
        helper.make_node(kind, [a], [b])
        for kind, a, b in zip(last, names, names[1:], strict=False)
    ]
    model = quantized(tmp_path, nodes, constants, [3, 5])
    check(model, CONFIGS["small"], rng.normal(size=(3, 5)).astype(np.float32))
    graph = legalize(lower(model))
    assert any("computed by the host" in note.text for note in graph.notes)
    compiled = compile_graph(graph, CONFIGS["small"])
    assert b"sums, then operators" in program_files("it", compiled)["program.json"]


@slow("1.0")
@pytest.mark.parametrize("spread", [1.0, 1e-37])
def test_simulated(tmp_path, spread):
    """The hardware too: layers computed once and twice, every one against ONNX Runtime; values and
    scales that are denormal numbers as well."""
    rng = np.random.default_rng(7)
    nodes, constants = mlp(rng, (13, 21, 9, 11))
    constants |= {name: constants[name] * np.float32(spread) for name in ("w0", "b0", "b1", "b2")}
    model = quantized(tmp_path, nodes, constants, [None, 13])
    x = rng.normal(0.5, 2, (7, 13)).astype(np.float32)
    simulator = unit_simulator().name  # Icarus if it is there: no C++ to compile for one run
    report = run_model(model, CONFIGS["small"], {"x": x}, simulator=simulator).report
    assert report.exact
    assert report.reference["whole"]
    assert all(layer.compared for layer in report.layers)
