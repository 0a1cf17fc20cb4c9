# SPDX-License-Identifier: Apache-2.0
"""Reading models: what is accepted, how the batch is bound, and what each bad file is told."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kiwicha.compiler.frontend.load import check_model, load_model
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError, ModelError, UnsupportedModel
from kiwicha.models.lenet5 import FP32, INT8
from kiwicha.models.quantize import FORMS
from kiwicha.models.variants import build

from .onnx_models import dq, model, node, q, scales

CONSTANTS = scales(x=(0.03, np.uint8(120)), w=(0.02, np.int8(0)), a=(0.1, np.uint8(130)))
CONSTANTS["W"] = np.ones((2, 3, 3, 3), np.int8)
CONV = ["xq", "x_s", "x_z", "W", "w_s", "w_z", "a_s", "a_z"]
NODES = [q("x", "xq", "x"), node("QLinearConv", CONV, ["aq"], name="conv"), dq("aq", "y", "a")]


def small(**changes):
    shape = changes.pop("shape", [1, 3, 8, 8])
    return model(NODES, CONSTANTS | changes, {"x": shape})


def test_not_found(tmp_path):
    path = tmp_path / "none.onnx"
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert str(caught.value) == f"{path}: No such file or directory"


@pytest.mark.parametrize("content", [b"", b"not an onnx model", bytes(1000), b"\x08\x08"])
def test_not_onnx(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.onnx: not an ONNX model, or truncated") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused_or_harmless(tmp_path):
    """A cut after the graph and the default operator set may leave a whole model: same graph."""
    whole = INT8.read_bytes()
    full = load_model(INT8)
    cuts = {0, 1, 2, *range(len(whole) - 60, len(whole))}
    cuts |= set(np.random.RandomState(1).randint(0, len(whole), 150).tolist())
    path, accepted = tmp_path / "cut.onnx", []
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        try:
            cut_model = load_model(path)
        except ModelError as error:
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)
        else:
            accepted.append(cut)
            assert cut_model.graph == full.graph
    assert len(accepted) < 60


def test_flipped_bytes_never_raise_anything_else(tmp_path):
    whole = bytearray(small().SerializeToString())
    generator = np.random.RandomState(2)
    path = tmp_path / "flipped.onnx"
    for _ in range(150):
        broken = bytearray(whole)
        for place in generator.randint(0, len(whole), 2):
            broken[place] ^= 1 << generator.randint(8)
        path.write_bytes(broken)
        try:
            load_model(path)
        except KiwichaError as error:
            assert "\n" not in str(error)


def test_old_operator_set(tmp_path):
    path = tmp_path / "old.onnx"
    onnx.save(model(NODES, CONSTANTS, {"x": [1, 3, 8, 8]}, opset=9), path)
    with pytest.raises(ModelError) as caught:
        load_model(path)
    told = "operator set 9; the first with quantized operators is 10"
    assert str(caught.value) == f"{path}: {told}"


def test_external_data(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(small(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert lower(load_model(path)).inputs[0].shape == (1, 3, 8, 8)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert str(caught.value) == f"{path}: external data: 'weights.bin' is missing"


def test_float_model_is_told_to_quantize():
    with pytest.raises(ModelError) as caught:
        lower(load_model(FP32))
    assert str(caught.value) == (
        "the model is a float model; quantize it to int8 with "
        "onnxruntime.quantization.quantize_static"
    )


def test_dynamic_quantization_stays_as_it_is():
    nodes = [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
             node("MatMulInteger", ["q", "W", "z"], ["a"]),
             node("Cast", ["a"], ["y"], to=TensorProto.FLOAT)]
    dynamic = model(nodes, {"W": np.ones((4, 2), np.uint8)}, {"x": [1, 4]})
    lowered = lower(dynamic)
    assert lowered.dynamic
    assert lowered.model.graph == dynamic.graph
    assert not lower(small()).dynamic


@pytest.mark.parametrize("zero", [None, 0, -3])
def test_int8_weights_of_dynamic_models_become_uint8(zero):
    """What keeps ONNX Runtime exact on hosts without VNNI."""
    given = {} if zero is None else {"W_z": np.int8(zero)}
    nodes = [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
             node("MatMulInteger", ["q", "W", "z", *given], ["a"]),
             node("Cast", ["a"], ["y"], to=TensorProto.FLOAT)]
    weights = np.array([[-128, 127], [0, 1]], np.int8)
    graph = lower(model(nodes, given | {"W": weights}, {"x": [1, 2]})).model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    _, moved, _, moved_zero = (constants.get(name) for name in graph.node[1].input)
    assert (moved.dtype, moved_zero.dtype) == (np.uint8, np.uint8)
    np.testing.assert_array_equal(moved.astype(int) - moved_zero, weights.astype(int) - (zero or 0))


@pytest.mark.parametrize("scale", [np.nan, np.inf, 0.0, -0.5, 1e-40])
def test_bad_scales_name_node_and_tensor(scale):
    with pytest.raises(UnsupportedModel) as caught:
        legalize(lower(small(w_s=np.float32(scale))))
    assert str(caught.value) == (
        "1 node cannot be mapped\n"
        f"  'conv' (QLinearConv): scale 'w_s' is {np.float32(scale)}; must be positive, normal and "
        "finite"
    )


def test_bad_scales_are_all_listed():
    with pytest.raises(UnsupportedModel) as caught:
        legalize(lower(small(w_s=np.array([0.1, np.nan], np.float32), a_s=np.float32(0))))
    right = "must be positive, normal and finite"
    assert [(name, reason) for name, _, reason in caught.value.refusals] == [
        ("conv", f"scale 'w_s' is nan; {right}; scale 'a_s' is 0.0; {right}"),
        ("d_y", f"scale 'a_s' is 0.0; {right}"),
    ]


def test_dynamic_batch_is_bound():
    dynamic = small(shape=["N", 3, 8, 8])
    assert lower(dynamic).inputs[0].shape == (1, 3, 8, 8)
    assert lower(dynamic, batch=7).inputs[0].shape == (7, 3, 8, 8)
    assert dynamic.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_fixed_batch_stays():
    assert lower(small(shape=[2, 3, 8, 8]), batch=7).inputs[0].shape == (2, 3, 8, 8)


def test_other_dynamic_dimensions_are_refused():
    with pytest.raises(ModelError) as caught:
        lower(small(shape=["N", 3, "height", 8]))
    assert str(caught.value) == (
        "input 'x': dimension 2 ('height') is dynamic; only the batch may be; --dim height=N gives "
        "it a length"
    )


def test_wrong_input_type_is_refused():
    wrong = small()
    wrong.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises(ModelError) as caught:
        lower(wrong)
    assert str(caught.value) == "'x' is double; must be float32, int8 or uint8"


def test_unknown_operator_is_refused_in_one_line():
    nodes = [q("x", "xq", "x"), node("Foo", ["xq"], ["z"], name="foo"), dq("z", "y", "a")]
    with pytest.raises(ModelError, match="^ONNX Runtime refuses the model: .*Foo") as caught:
        lower(model(nodes, CONSTANTS, {"x": [1, 3]}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_stays_in_float_but_edges_and_clamps(form):
    lowered = lower(build("separable", FORMS[form])[0])
    allowed = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QGemm", "MaxPool", "Flatten",
               "Clip"}
    assert {n.op_type for n in lowered.model.graph.node} <= allowed


@pytest.mark.parametrize(
    "form", ["qdq-u8s8-channel-asyma-symw", "qoperator-u8s8-tensor-asyma-symw"]
)
def test_no_uint8_times_int8_is_left(form):
    """Those saturate on hosts without VNNI."""
    lowered = lower(build("separable", FORMS[form])[0])
    kinds = {i.name: i.data_type for i in lowered.model.graph.initializer}
    seen = 0
    for n in lowered.model.graph.node:
        if n.op_type in ("QLinearConv", "QGemm"):
            seen += 1
            assert kinds[n.input[3]] == TensorProto.UINT8
    assert seen == 4


def test_shared_zero_points():
    """ONNX Runtime fails to make weights uint8 when two operators share a zero point."""
    second = ["aq", "a_s", "a_z", "V", "w_s", "w_z", "a_s", "a_z"]
    nodes = [*NODES[:2], node("QLinearConv", second, ["bq"], name="conv2"), dq("bq", "y", "a")]
    constants = CONSTANTS | {"V": np.ones((2, 2, 3, 3), np.int8)}
    lowered = lower(model(nodes, constants, {"x": [1, 3, 8, 8]}))
    kinds = {i.name: i.data_type for i in lowered.model.graph.initializer}
    convs = [n for n in lowered.model.graph.node if n.op_type == "QLinearConv"]
    assert [kinds[n.input[3]] for n in convs] == [TensorProto.UINT8] * 2


def test_source_is_not_changed():
    given = small()
    before = given.SerializeToString(deterministic=True)
    lower(given, batch=3)
    assert given.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("form", FORMS)
def test_every_form_loads_from_its_file(form, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(build("flatten", FORMS[form])[0], path)
    assert lower(load_model(path)).outputs[0].name == "y"


@pytest.mark.parametrize(
    ("operator", "inputs", "bad"),
    [("QLinearSoftmax", ["xq", "x_s", "x_z", "w_s", "x_z"], "w_s"),
     ("QLinearSigmoid", ["xq", "w_s", "x_z", "a_s", "a_z"], "w_s"),
     ("QLinearLeakyRelu", ["xq", "x_s", "x_z", "w_s", "a_z"], "w_s")],
)
def test_bad_scales_of_special_functions_are_named(operator, inputs, bad):
    nodes = [q("x", "xq", "x"), node(operator, inputs, ["yq"], name="f", domain="com.microsoft"),
             dq("yq", "y", "a")]
    with pytest.raises(UnsupportedModel, match=rf"microsoft.{operator}\): scale '{bad}' is 0\.0"):
        legalize(lower(model(nodes, CONSTANTS | {"w_s": np.float32(0)}, {"x": [1, 4]})))


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_large_weights_are_checked_without_a_copy(kind):
    """Broken ones as the small: by the checker, which names them."""
    whole = model(NODES, CONSTANTS, {"x": [1, 3, 8, 8]})
    wide = np.dtype(kind).itemsize
    tensor = whole.graph.initializer.add(
        name="large", data_type=helper.np_dtype_to_tensor_dtype(np.dtype(kind)), dims=[1 << 17]
    )
    tensor.raw_data = bytes(wide << 17)
    check_model(whole, "it")
    tensor.raw_data = bytes((wide << 17) - 1)
    with pytest.raises(ModelError, match="large"):
        check_model(whole, "it")
