# SPDX-License-Identifier: Apache-2.0
"""Products that ONNX Runtime leaves in float: within one code of it, or refused by name."""

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import UnsupportedModel
from kiwicha.golden.network import evaluate
from kiwicha.machine.presets import PRESETS
from kiwicha.sim.judge import judge

from .agree import agree
from .onnx_models import dq, model, node, q, scales

U8, S8 = np.uint8, np.int8
rng = np.random.RandomState(3)
WEIGHT = rng.randint(-128, 128, (4, 3, 3, 3)).astype(S8)
MATRIX = rng.randint(-128, 128, (6, 5)).astype(S8)
SCALES = scales(
    x=(0.03, U8(120)), i=(0.03, S8(-7)), w=(0.02, S8(0)), v=(0.02, U8(131)),
    u=(0.06, U8(100)), s=(0.06, S8(-20)),
    c=(np.linspace(0.01, 0.04, 4).astype(np.float32), np.array([0, -5, 7, 0], S8)),
)


def near(graph):
    return [(n.op, n.promise) for n in graph.nodes if n.promise != "runtime"]


def conv(source, target, key="u", *, x="x", weights=(), inside=(), **attributes):
    """A convolution between Q and DQ with what is ``inside`` behind it."""
    last = inside[-1].output[0] if inside else "a"
    return [
        q("x", "xq", x), dq("xq", "xf", x), *(weights or [dq("W", "wf", "w")]),
        node("Conv", ["xf", "wf"], ["a"], name="conv", **attributes), *inside,
        q(last, "yq", key), dq("yq", "y", key),
    ]


def check(nodes, constants=None, inputs=None, **rest):
    constants = SCALES | {"W": WEIGHT} | (constants or {})
    return agree(model(nodes, constants, inputs or {"x": [2, 3, 7, 7]}, **rest), exact=False)


# Convolutions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("x", "y"), [("x", "s"), ("i", "u")])
@pytest.mark.parametrize("zero", [S8(0), U8(131)])
def test_types_of_input_and_output_are_independent(x, y, zero):
    weight = WEIGHT if zero.dtype == S8 else (WEIGHT.astype(int) + 128).astype(U8)
    graph = check(conv("x", "y", y, x=x, pads=[1] * 4), {"W": weight, "w_z": zero})
    assert near(graph) == [("Conv", "near")]
    assert graph.nodes[0].x.dtype != graph.nodes[0].y.dtype


@pytest.mark.parametrize("key", ["u", "s"])
def test_relu_inside_the_range_is_a_clamp(key):
    graph = check(conv("x", "y", key, x="x", inside=[node("Relu", ["a"], ["r"], name="relu")]))
    (only,) = graph.nodes
    assert (only.op, only.low) == ("Conv+Relu", int(SCALES[f"{key}_z"]))


def test_clip_inside_the_range_is_a_clamp():
    limits = {"low": np.float32(-1), "high": np.float32(2)}
    clip = node("Clip", ["a", "low", "high"], ["r"], name="clip")
    graph = check(conv("x", "y", "u", inside=[clip]), limits)
    assert [(n.op, n.low, n.high) for n in graph.nodes] == [("Conv+Clip", 83, 133)]


def test_pool_and_views_follow_on_the_codes():
    inside = [node("Relu", ["a"], ["r"], name="relu"),
              node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2]),
              node("Flatten", ["p"], ["f"], name="flat")]
    graph = check(conv("x", "y", "s", inside=inside))
    assert [n.op for n in graph.nodes] == ["Conv+Relu", "MaxPool", "Flatten"]


def test_two_quantizations_of_one_result():
    nodes = [*conv("x", "y", "s"), q("a", "zq", "u"), dq("zq", "z", "u")]
    assert near(check(nodes, outputs=("y", "z"))) == [("Conv", "near")] * 2


VIEWS = {
    "reshape": ((4, 27), [node("Reshape", ["d", "shape"], ["wf"])]),
    "transpose": ((3, 3, 4, 3), [node("Transpose", ["d"], ["wf"], perm=[2, 3, 0, 1])]),
    "unsqueeze": ((4, 3, 3), [node("Unsqueeze", ["d", "axis"], ["wf"])]),
    "both": ((27, 4), [node("Transpose", ["d"], ["t"], perm=[1, 0]),
                       node("Reshape", ["t", "shape"], ["wf"])]),
}


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", VIEWS)
def test_weights_through_views(name, per_channel):
    shape, moves = VIEWS[name]
    key = "c" if per_channel else "w"
    names = ["W", f"{key}_s", f"{key}_z"]
    weights = [node("DequantizeLinear", names, ["d"], axis=shape.index(4)), *moves]
    constants = {"W": WEIGHT.reshape(-1)[: np.prod(shape)].reshape(shape),
                 "shape": np.array([4, 3, 3, 3]), "axis": np.array([3])}
    graph = check(conv("x", "y", "u", weights=weights), constants)
    # ONNX Runtime transposes constants itself.
    assert near(graph) == ([] if name == "transpose" else [("Conv", "near")])


def test_weights_through_a_reshape_before_they_are_dequantized():
    weights = [node("Reshape", ["W", "shape"], ["w4"]), dq("w4", "wf", "w")]
    check(conv("x", "y", "s", weights=weights),
          {"W": WEIGHT.reshape(4, 27), "shape": np.array([4, 3, 3, 3])})


# Matrix products -------------------------------------------------------------------------------


def gemm(c=None, **attributes):
    names = ["xf", "wf", *(["c"] if c is not None else [])]
    return [q("x", "xq", "x"), dq("xq", "xf", "x"), dq("W", "wf", "w"),
            node("Gemm", names, ["a"], name="fc", **attributes), q("a", "yq", "u"),
            dq("yq", "y", "u")]


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (5,), (1, 5)])
@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 1.0), (1.0, -2.0), (-1.5, 0.5), (2.0, 0.0)])
def test_gemm_with_factors_and_a_float_bias(shape, alpha, beta):
    c = np.asarray(rng.randn(*shape), np.float32)
    check(gemm(c, alpha=alpha, beta=beta), {"W": MATRIX, "c": c}, {"x": [4, 6]})


@pytest.mark.parametrize("transposed", [{"transA": 1}, {"transB": 1}, {"transA": 1, "transB": 1}])
def test_transposed_gemm(transposed):
    c = rng.randn(5).astype(np.float32)
    weight = MATRIX.T if "transB" in transposed else MATRIX
    shape = [6, 4] if "transA" in transposed else [4, 6]
    check(gemm(c, beta=3.0, **transposed), {"W": weight, "c": c}, {"x": shape})


def test_negative_alpha_of_an_integer_gemm_is_exact():
    names = ["xq", "x_s", "x_z", "W", "w_s", "w_z", "B", "u_s", "u_z"]
    nodes = [q("x", "xq", "x"), node("QGemm", names, ["yq"], name="fc", domain="com.microsoft",
             alpha=-0.5), dq("yq", "y", "u")]
    constants = SCALES | {"W": MATRIX, "B": rng.randint(-9999, 9999, 5).astype(np.int32)}
    graph = agree(model(nodes, constants, {"x": [4, 6]}))
    assert [note.text[:37] for note in graph.notes] == ["QGemm multiplies its bias by alpha = "]


@pytest.mark.parametrize("c", [(5,), (1,), (1, 1, 5), ()])
@pytest.mark.parametrize("shape", [[4, 6], [2, 3, 6]])
def test_matmul_and_add(shape, c):
    constants = {"W": MATRIX, "c": np.asarray(rng.randn(*c), np.float32)}
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"), dq("W", "wf", "w"),
             node("MatMul", ["xf", "wf"], ["m"], name="mm"),
             node("Add", ["c", "m"], ["a"], name="add"),
             node("Relu", ["a"], ["r"], name="relu"), q("r", "yq", "u"),
             dq("yq", "y", "u")]
    graph = check(nodes, constants, {"x": shape})
    # ONNX Runtime makes a Gemm of both, and names it; Relu may be a part of that.
    products = [n for n in graph.nodes if n.kind == "matmul"]
    assert [n.name for n in products] in (["mm"], ["mm + add"], ["mm + add + relu"])
    assert {note.node for note in graph.notes} <= {products[0].name}


# What is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [5, 4])
@pytest.mark.parametrize("form", ["gemm", "matmul"])
def test_a_bias_for_each_row_is_refused(form, rows):
    """Also where there are as many rows as columns: it was taken for one for each column."""
    nodes = gemm("c")
    if form == "matmul":
        nodes[3:4] = [node("MatMul", ["xf", "wf"], ["m"], name="fc"),
                      node("Add", ["m", "c"], ["a"], name="add")]
    constants = SCALES | {"W": MATRIX, "c": rng.randn(rows, 1).astype(np.float32)}
    with pytest.raises(UnsupportedModel) as caught:
        legalize(lower(model(nodes, constants, {"x": [rows, 6]})))
    ((name, _, reason),) = caught.value.refusals
    assert name == ("fc" if form == "gemm" else "fc + add")
    assert reason == f"its bias is ({rows}, 1); must be one for each column (5)"


TWO = np.float32(2)
UNITS = "input scale * weight scale"
REFUSED = {
    "bias_too_large": (
        gemm("c", beta=2.0), {"W": MATRIX, "c": np.full(5, 1e7, np.float32)}, [4, 6],
        f"its bias needs more than 32 bits in units of {UNITS}, 0.0006"),
    "bias_not_finite": (
        gemm("c", beta=2.0), {"W": MATRIX, "c": np.full((1, 5), np.inf, np.float32)}, [4, 6],
        "its bias is not finite"),
    "bias_too_fine": (
        gemm("c", beta=2.0), {"W": MATRIX, "c": np.full((1, 5), 0.25, np.float32), "x_s": TWO,
                              "w_s": TWO}, [4, 6], f"its bias is no multiple of {UNITS}"),
    "sums_too_large": (
        gemm("c", beta=2.0), {"W": MATRIX, "c": np.full(5, 644244, np.float32)}, [4, 6],
        "its sums may need more than 32 bits"),
    "alpha_zero": (
        gemm("c", alpha=0.0), {"W": MATRIX, "c": np.ones(5, np.float32)}, [4, 6],
        "alpha * weight scale is 0.0; must be positive, normal and finite"),
    "scales_of_input_channels": (
        conv("x", "y", "s", weights=[node("DequantizeLinear", ["W", "k_s", "k_z"], ["wf"],
                                          axis=1)]),
        {"k_s": np.array([1, 2, 3], np.float32), "k_z": np.zeros(3, S8)}, [2, 3, 7, 7],
        "weight 'wf' has more than one scale for an output channel"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    nodes, constants, shape, reason = REFUSED[name]
    with pytest.raises(UnsupportedModel) as caught:
        legalize(lower(model(nodes, SCALES | {"W": WEIGHT} | constants, {"x": shape})))
    assert [r for _, _, r in caught.value.refusals] == [reason]
    assert caught.value.refusals[0][0] in ("fc", "conv")


# The judge -------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["bias", "weight_zero", "scale"])
def test_a_wrong_rule_of_ours_is_found(field):
    """Whatever it makes of a model, the judge runs the model as it was given."""
    c = rng.randn(5).astype(np.float32)
    lowered = lower(model(gemm(c, alpha=0.5), SCALES | {"W": MATRIX, "c": c}, {"x": [4, 6]}))
    graph = legalize(lowered)
    given = {"x": rng.randn(4, 6).astype(np.float32)}
    verdict = judge(lowered, graph, graph.nodes, PRESETS["default"], evaluate(graph, given))
    assert (verdict.promise, verdict.compared, verdict.differ) == ("within one code", 20, 0)
    wrong = getattr(graph.nodes[0], field)
    wrong.setflags(write=True)
    wrong[2] += {"bias": 1000, "weight_zero": 20, "scale": wrong[2]}[field]
    verdict = judge(lowered, graph, graph.nodes, PRESETS["default"], evaluate(graph, given))
    assert verdict.differ


def test_a_runtime_far_from_the_model_as_written_is_found():
    """ONNX Runtime takes scales along the input channels of square weights for output channels."""
    names = ["W", "k_s", "k_z"]
    constants = {"W": rng.randint(-128, 128, (6, 6)).astype(S8), "k_z": np.zeros(6, S8),
                 "k_s": np.linspace(0.002, 0.05, 6).astype(np.float32)}
    found = []
    for axis in (0, 1):
        nodes = gemm()
        nodes[2] = node("DequantizeLinear", names, ["wf"], axis=axis)
        lowered = lower(model(nodes, SCALES | constants, {"x": [4, 6]}))
        graph = legalize(lowered)
        tensors = evaluate(graph, {"x": 3 * rng.randn(4, 6).astype(np.float32)})
        found.append(judge(lowered, graph, graph.nodes, PRESETS["default"], tensors))
    assert [verdict.differ for verdict in found] == [0, 0]
    assert found[0].off > 20
    assert found[1].off == 0


def test_integer_inputs_of_products_in_float():
    nodes = [dq("xq", "xf", "i"), *conv("x", "y", "u")[2:]]
    check(nodes, inputs={"xq": [2, 3, 7, 7]}, types={"xq": TensorProto.INT8})
