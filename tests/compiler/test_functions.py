# SPDX-License-Identifier: Apache-2.0
"""Functions of single elements: the same answer for every calibration, at every place of a tensor,
and ONNX Runtime's bits wherever they are promised."""

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.frontend.session import open_session
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import UnsupportedModel
from kiwicha.golden.network import evaluate, outputs
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.reference import reference, runtime_tensors

from ..support.slow import slow
from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_special import CONSTANTS, UNARY

U8, S8 = np.uint8, np.int8
MICROSOFT = {"domain": "com.microsoft"}
SEEDS = range(24)
SIZES = [(1, 1), (3, 1), (5, 24), (3, 7, 11), (4099,)]
"""One element; fewer than any vector; multiples of 8, not of 16; tails."""


def calibration(seed, keys):
    """Scales over two decades and any zero points, int8 or uint8."""
    rng, dtype = np.random.RandomState(seed), (U8, S8)[seed % 2]
    info = np.iinfo(dtype)
    codes = rng.randint(info.min, info.max + 1, len(keys) + 1).astype(dtype)
    found = {
        key: (10 ** rng.uniform(-2.7, -0.7), zero)
        for key, zero in zip(keys, codes[1:], strict=True)
    }
    return scales(**found) | {"code": codes[0], "root": np.float32(2**0.5)}


def gelu_calibration(seed):
    """As a calibration has it for 1 + erf(x), or 1 + tanh(x), whose reach is all but 1."""
    constants = calibration(seed, "xecam")
    reach = 1 - 10 ** np.random.RandomState(seed).uniform(-8, -3)
    dtype = constants["x_z"].dtype.type
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return constants | {"code": dtype(high)} | scales(
        e=(2 * reach / 255, dtype(low + 127)), a=((1 + reach) / 255, dtype(low)),
        c=(1 / 255, dtype(low)),
    )


def pair(operator, first, second, target):
    """An integer operator; operands and result are called like their scales."""
    a, b, y = first[0], second[0], target[0]
    names = [first, f"{a}_s", f"{a}_z", second, f"{b}_s", f"{b}_z", f"{y}_s", f"{y}_z"]
    return node(operator, names, [target], **MICROSOFT)


def gelu(function):
    """x * (f(x) + constant), with all but f quantized; the result is "mq"."""
    return [
        q("x", "xq", "x"), dq("xq", "f0", "x"), *function, q("f", "eq", "e"),
        pair("QLinearAdd", "eq", "code", "aq"), pair("QLinearMul", "xq", "aq", "mq"),
    ]


ERF = [node("Div", ["f0", "root"], ["d"]), node("Erf", ["d"], ["f"])]
FUNCTIONS = {
    "gelu": [*gelu(ERF), dq("mq", "y", "m")],
    "tanh_gelu": [*gelu([node("Tanh", ["f0"], ["f"])]), dq("mq", "y", "m")],
    "logarithm": [q("x", "xq", "x"), dq("xq", "f0", "x"), node("Log", ["f0"], ["f"]),
                  q("f", "mq", "m"), dq("mq", "y", "m")],
}


@slow(
    "gelu-1x1", "gelu-3x1", "gelu-3x7x11", "gelu-4099", "tanh_gelu-1x1", "tanh_gelu-3x1",
    "tanh_gelu-5x24", "tanh_gelu-4099", "logarithm-1x1", "logarithm-3x1", "logarithm-5x24",
    "logarithm-4099",
)
@pytest.mark.parametrize("shape", SIZES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_calibration_changes_the_answer(name, shape):
    """A function of one code is a table, exact wherever that is promised, whatever the scales."""
    for seed in SEEDS:
        whole = model(FUNCTIONS[name], gelu_calibration(seed), {"x": shape})
        graph = legalize(lower(whole))
        assert [n.kind for n in graph.nodes] == ["table"]
        if graph.nodes[0].promise == "runtime":
            x = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
            agree(whole, {"x": 4 * x})


def tail(code_scale=0.03):
    """A model whose result is ONNX Runtime's Log of one code, far magnified; and the code.

    Its vector code and its code for the rest (one element in four) differ by a last bit there.
    """
    constants = scales(x=(code_scale, U8(0)), y=(1, U8(100)))
    session = open_session(model(
        [dq("xq", "f0", "x"), node("Log", ["f0"], ["y"])], constants, {"xq": [5]},
        types={"xq": TensorProto.UINT8},
    ), ())
    for code in range(1, 256):
        (found,) = session.run(["y"], {"xq": np.full(5, code, U8)})
        if found[0] != found[4]:
            break
    step = 1 / np.float32(abs(found[4] - found[0]))
    more = {"found": found[0], "step": np.float32(40 * step)}
    nodes = [q("x", "xq", "x"), dq("xq", "f0", "x"), node("Log", ["f0"], ["l"], name="log"),
             node("Sub", ["l", "found"], ["d"]), node("Mul", ["d", "step"], ["f"], name="mul"),
             q("f", "yq", "y"), dq("yq", "y", "y")]
    return nodes, constants | more, code


def test_a_tail_that_differs_is_said_and_counted():
    nodes, constants, code = tail()
    lowered = lower(model(nodes, constants, {"x": [3, 7]}))
    graph = legalize(lowered)
    assert (graph.nodes[0].kind, graph.nodes[0].promise) == ("table", "golden")
    assert graph.nodes[0].table[code] == 100  # of the vector code, at 20 of 21 places
    text = "1 of 256 codes give something else at 1 of 21 places, by at most 40"
    assert [note.node for note in graph.notes if text in note.text] == ["mul"]
    x = np.full((3, 7), 0.03 * code, np.float32)
    found, expected = evaluate(graph, {"x": x})["yq"], runtime_tensors(lowered, {"x": x})["yq"]
    assert np.flatnonzero(found != expected).tolist() == [20]


def test_a_tensor_without_tail_is_exact():
    nodes, constants, code = tail()
    whole = model(nodes, constants, {"x": [3, 64]})
    graph = agree(whole, {"x": np.full((3, 64), 0.03 * code, np.float32)})
    assert graph.nodes[0].promise == "runtime"


def test_a_tensor_that_is_all_tail_is_exact():
    nodes, constants, code = tail()
    graph = agree(model(nodes, constants, {"x": [3]}), {"x": np.full(3, 0.03 * code, np.float32)})
    assert graph.nodes[0].promise == "runtime"
    assert graph.nodes[0].table[code] != 100


NOT_FINITE = {
    "nan_and_infinity": [node("Log", ["f0"], ["f"])],
    "division_by_zero": [node("Div", ["three", "f0"], ["f"])],
    "zero_by_zero": [node("Div", ["f0", "f0"], ["f"])],
    "overflow": [node("Mul", ["f0", "f0"], ["f"])],
}


@pytest.mark.parametrize("scale", [0.03, 3e38])
@pytest.mark.parametrize("key", ["a", "t"])
@pytest.mark.parametrize("name", NOT_FINITE)
def test_nan_and_infinity_become_the_runtimes_codes(name, key, scale):
    constants = CONSTANTS | scales(x=(scale, U8(120)))
    nodes = [q("x", "xq", "x"), dq("xq", "f0", "x"), *NOT_FINITE[name], q("f", "yq", key),
             dq("yq", "y", key)]
    x = np.random.RandomState(1).uniform(-120, 135, (5, 64)).astype(np.float32) * min(scale, 1e36)
    graph = agree(model(nodes, constants, {"x": [5, 64]}), {"x": x.astype(np.float32)})
    assert [n.promise for n in graph.nodes] == ["runtime"]


# Functions behind the last DequantizeLinear, by the host --------------------------------------


@pytest.mark.parametrize("shape", [(2, 3, 7), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("name", UNARY)
def test_a_function_at_the_end_is_done_by_the_host(name, shape):
    constants = CONSTANTS | {"shape": np.array([shape[0] * shape[1], shape[2]])}
    first = node("QLinearLeakyRelu", ["xq", "x_s", "x_z", "a_s", "a_z"], ["aq"], **MICROSOFT)
    whole = model([q("x", "xq", "x"), first, dq("aq", "f0", "a"), *UNARY[name]], constants,
                  {"x": shape}, ["f"])
    graph = agree(whole)
    assert [n.kind for n in graph.nodes if n.kind != "view"] == ["table"]
    assert graph.dequantize[0].values.shape[1] == 256
    assert "done by the host" in graph.notes[0].text


@pytest.mark.parametrize("key", ["x", "s"])
@pytest.mark.parametrize("operator", ["Log", "Cos", "Softplus", "Mish", "Elu", "Tanh"])
def test_the_host_knows_each_place(operator, key):
    """Every code at every place of a tensor with a tail, NaN included."""
    nodes = [dq("xq", "f0", key), node(operator, ["f0"], ["y"])]
    dtype = CONSTANTS[f"{key}_z"].dtype
    types = {"xq": TensorProto.UINT8 if dtype == U8 else TensorProto.INT8}
    lowered = lower(model(nodes, CONSTANTS, {"xq": [256, 7]}, opset=18, types=types))
    graph = legalize(lowered)
    for shift in range(0, 256, 16):
        x = (np.arange(256 * 7) + shift).astype(U8).view(dtype).reshape(256, 7)
        found = outputs(graph, evaluate(graph, {"xq": x}))["y"]
        expected = reference(lowered, {"xq": x}).outputs["y"]
        np.testing.assert_array_equal(found, expected)


def test_the_machine_does_what_comes_before_the_host():
    weights = scales(w=(0.02, S8(0))) | {"W": np.random.RandomState(2).randint(-9, 9, (7, 5), S8)}
    product = node("QLinearMatMul", ["xq", "x_s", "x_z", "W", "w_s", "w_z", "a_s", "a_z"], ["aq"])
    nodes = [q("x", "xq", "x"), product, dq("aq", "f0", "a"),
             node("Transpose", ["f0"], ["t"], perm=[0, 2, 1]), node("Sigmoid", ["t"], ["s"]),
             node("Mul", ["s", "t"], ["y"], name="swish")]
    graph = agree(model(nodes, CONSTANTS | weights, {"x": [2, 3, 7]}))
    assert [n.kind for n in graph.nodes] == ["matmul", "view"]
    assert graph.notes[-1].node == "swish"
    compile_graph(graph, AcceleratorConfig())


def test_a_pooled_function_at_the_end_is_refused():
    nodes = [q("x", "xq", "x"), dq("xq", "f0", "x"), node("Tanh", ["f0"], ["t"]),
             node("MaxPool", ["t"], ["y"], kernel_shape=[2, 2])]
    line = r"'y' \(graph output\): is the float result of MaxPool; quantize it"
    with pytest.raises(UnsupportedModel, match=line):
        legalize(lower(model(nodes, CONSTANTS, {"x": [1, 2, 4, 4]})))


# Masks, and chains that no scale expresses ------------------------------------------------------


@pytest.mark.parametrize("swapped", [False, True])
def test_masks_fill_with_any_code(swapped):
    """Among the kept codes, below, above; of scales that no sum of real values could mask with."""
    kinds = set()
    for seed in SEEDS:
        constants = calibration(seed, "xby") | {"mask": np.random.RandomState(9).rand(3, 7) < 0.6}
        if seed % 3 == 2:
            constants |= {f"{key}_s": np.float32(2e38 / (1 + seed)) for key in "xby"}
        kept, fill = ["xq", "x_s", "x_z"], ["code", "b_s", "b_z"]
        operands = [*fill, *kept] if swapped else [*kept, *fill]
        nodes = [q("x", "xq", "x"),
                 node("QLinearWhere", ["mask", *operands, "y_s", "y_z"], ["yq"], **MICROSOFT),
                 dq("yq", "y", "y")]
        x = np.random.RandomState(seed).uniform(-2e2, 2e2, (2, 3, 7)) * constants["x_s"]
        with np.errstate(over="ignore"):
            graph = agree(model(nodes, constants, {"x": [2, 3, 7]}), {"x": x.astype(np.float32)})
        assert all(n.promise == "runtime" for n in graph.nodes)
        kinds.add(" ".join(n.kind for n in graph.nodes))
    assert {"table add table", "table add"} <= kinds


@pytest.mark.parametrize("fill", [0, 130, 255])
def test_masks_of_all_256_codes(fill):
    """Nothing is changed but the fill, which is one of the codes that are kept."""
    constants = CONSTANTS | {"fill": U8(fill), "mask": np.arange(7) % 2 == 1}
    nodes = [node("QLinearWhere", ["mask", "xq", "x_s", "x_z", "fill", "x_s", "x_z", "x_s", "x_z"],
                  ["yq"], **MICROSOFT), dq("yq", "y", "x")]
    types = {"xq": TensorProto.UINT8}
    x = np.repeat(np.arange(256, dtype=U8), 7).reshape(256, 7)
    agree(model(nodes, constants, {"xq": [256, 7]}, types=types), {"xq": x})


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("x", "y"), [((0.013, 87), (0.05, 174)), ((0.005, 243), (0.004, 197)),
                 ((0.034, 120), (0.012, 1)), ((0.033, 91), (0.008, 128))], ids=str,
)
def test_a_pooling_between_scales_that_no_factor_joins(x, y, relu):
    """Two roundings (DequantizeLinear, QuantizeLinear) that no one multiplication gives."""
    constants = scales(x=(x[0], U8(x[1])), y=(y[0], U8(y[1])))
    first = [node("Relu", ["f0"], ["r"])] if relu else []
    nodes = [dq("xq", "f0", "x"), *first,
             node("MaxPool", ["r" if relu else "f0"], ["p"], kernel_shape=[2, 2]),
             q("p", "yq", "y"), dq("yq", "y", "y")]
    codes = np.random.RandomState(4).randint(0, 256, (1, 3, 16, 16)).astype(U8)
    whole = model(nodes, constants, {"xq": codes.shape}, types={"xq": TensorProto.UINT8})
    graph = agree(whole, {"xq": codes})
    if not relu:
        assert [n.kind for n in graph.nodes] == ["table", "pool"]
