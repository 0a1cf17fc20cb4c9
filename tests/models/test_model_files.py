# SPDX-License-Identifier: Apache-2.0
"""The shipped model files are what their scripts say they are, and the network tables are sound."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from kiwicha.models import lstm, resnet8, vit
from kiwicha.models.corners import CORNERS, OPERATORS, build_corner
from kiwicha.models.digits import enlarge, load_npz
from kiwicha.models.lenet5 import CALIBRATION, FP32, INT8, TEST
from kiwicha.models.quantize import DEFAULT, FORMS, Form, quantize
from kiwicha.models.script import accuracy
from kiwicha.models.train import SHAPES
from kiwicha.models.variants import NETWORKS, UNSUPPORTED, build, lenet5, random_input

# A changed file must be a decision: rerun its script in models/, look at the accuracy, update
# these.
HASHES = {
    CALIBRATION: "89d3cc7fb4449464646b567ab3f9957d3d2f5feb5b9e0f7a644708c8ca8bf6ff",
    TEST: "fb1977126dc8adaa5c540f62b8b0a5e06c1114639f48d1cbdaf8e4df0645dc49",
    FP32: "871c155bd24b138d406fc23dca431596fa8e6d8974e5c76fdfb55b45d38135fa",
    INT8: "186246afa59dbed55a2ce33d18179fd8252cafda40c884dc96b9bf2ce60ce4aa",
    lstm.FP32: "bee3bd33459794aae4a91fca8204862fe1dc61a04ab93a317edfa7c5532f3dcb",
    lstm.INT8: "42c60f94edbb59d4528f9ce19db90c7d111b26cba72009f456087b3e5ea2484e",
    resnet8.FP32: "9a47fe09c5d0fecee27f94a7d258a3d8be64fb8995044a46a7fdb7b0f11ef756",
    resnet8.INT8: "6f6095a869ef590bd6cf4a5c4deb16ce075390adc44700a3f6d967a5250be297",
    vit.CALIBRATION: "7709ce5b85fdf69dbfb61f5b465c96fabd290e956619ecf6eafff9ecb90c3d7d",
    vit.TEST: "9eb697cd1cd866b9396ba495c30a13b1a6936c0645e9ff25e56069d455117009",
    vit.FP32: "7d66389b3bfde5cd9ed74fac5de300f49faf170a7d67f599a77fb6b209ab1b21",
    vit.INT8: "528d5e8bee7b03775470bd0ca6cbebfc7504ac57aed815e2d60e946adac36850",
}
WEIGHTS = 61_706  # biases included
#: forms that between them touch every field
FORM_SAMPLE = (
    DEFAULT,
    Form(activations="s8", symmetric_activations=True),
    Form(weights="u8", per_channel=False, symmetric_weights=False),
    Form(format="qoperator", symmetric_weights=False),
    Form(format="qoperator", activations="s8", per_channel=False),
)


def _run(model: onnx.ModelProto, feed: dict[str, np.ndarray], activations: str) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # uint8 x int8 sums saturate on CPUs without VNNI unless told not to. One setting turns int8
    # weights into uint8, for which there is no kernel with int8 activations; the other one keeps
    # those from becoming uint8.
    signed = activations == "s8"
    options.add_session_config_entry("session.x64quantprecision", "0" if signed else "1")
    options.add_session_config_entry("session.qdqisint8allowed", "1" if signed else "0")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    result: np.ndarray = session.run(None, feed)[0]
    return result


@pytest.mark.parametrize("path", HASHES, ids=lambda path: path.name)
def test_file_is_the_one_that_was_measured(path: Path) -> None:
    assert hashlib.sha256(path.read_bytes()).hexdigest() == HASHES[path]
    assert path.stat().st_size < 2**19


def test_fp32_model_is_lenet5() -> None:
    model = onnx.load(FP32)
    onnx.checker.check_model(model, full_check=True)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert {n: tensors[f"{n}.weight"].shape for n in SHAPES} == SHAPES
    assert sum(t.size for t in tensors.values()) == WEIGHTS
    assert [i.name for i in model.graph.input] == ["image"]
    assert [o.name for o in model.graph.output] == ["logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    ops = [node.op_type for node in model.graph.node]
    assert ops == ["Conv", "Relu", "MaxPool"] * 2 + ["Flatten"] + ["Gemm", "Relu"] * 2 + ["Gemm"]


def test_int8_model_has_the_default_form() -> None:
    model = onnx.load(INT8)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for name, shape in SHAPES.items():
        assert tensors[f"{name}.weight_quantized"].dtype == np.int8
        assert tensors[f"{name}.weight_scale"].shape == shape[:1]
        assert not tensors[f"{name}.weight_zero_point"].any()
    assert tensors["relu1_out_zero_point"].dtype == np.uint8


@pytest.mark.parametrize(
    ("float32", "int8", "calibration", "form"),
    [
        (FP32, INT8, CALIBRATION, DEFAULT), (resnet8.FP32, resnet8.INT8, CALIBRATION, DEFAULT),
        (vit.FP32, vit.INT8, vit.CALIBRATION, DEFAULT),
        (lstm.FP32, lstm.INT8, vit.CALIBRATION, lstm.FORM),
    ],
    ids=["lenet5", "resnet8", "vit", "lstm"],
)
def test_int8_model_is_reproduced_by_quantizing_again(
    float32: Path, int8: Path, calibration: Path, form: Form
) -> None:
    again = quantize(onnx.load(float32), form, load_npz(calibration).images[:, None])
    old, new = (
        {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        for model in (onnx.load(int8), again)
    )
    assert old.keys() == new.keys()
    for name, value in old.items():
        if "weight" in name or name.endswith("_zero_point"):
            assert np.array_equal(value, new[name]), name
        elif name.endswith("_scale"):
            # Calibration runs in fp32: another CPU may sum in another order.
            assert np.allclose(value, new[name], rtol=1e-4, atol=0), name


def test_digits_are_clean() -> None:
    digits, calibration = load_npz(TEST), load_npz(CALIBRATION)
    assert digits.images.shape == (360, 1, 28, 28)
    assert digits.images.dtype == np.float32
    assert digits.labels.shape == (360,)
    assert digits.labels.dtype == np.int64
    assert np.bincount(digits.labels).tolist() == [36, 36, 36, 36, 37, 36, 36, 36, 35, 36]
    grey = digits.images * 255
    assert np.abs(grey - np.rint(grey)).max() < 1e-4
    assert (grey.min(), grey.max()) == (0, 255)
    # Calibration must not have seen a held-out image.
    held_out = {image.tobytes() for image in digits.images}
    assert not any(image.tobytes() in held_out for image in calibration.images)


def test_enlarge_is_bilinear() -> None:
    ramp = np.tile(np.arange(8.0) * 2, (1, 8, 1))
    row = enlarge(ramp)[0, 0, 5] * 255
    centres = np.clip((np.arange(28) + 0.5) * 8 / 28 - 0.5, 0, 7)
    assert np.array_equal(np.rint(row), np.rint(centres * 2 / 16 * 255))


@pytest.mark.parametrize(
    ("test", "float32", "int8"),
    [
        (TEST, FP32, INT8), (TEST, resnet8.FP32, resnet8.INT8), (vit.TEST, vit.FP32, vit.INT8),
        (vit.TEST, lstm.FP32, lstm.INT8),
    ],
    ids=["lenet5", "resnet8", "vit", "lstm"],
)
def test_accuracy(test: Path, float32: Path, int8: Path) -> None:
    digits = load_npz(test)
    before, after = (accuracy(onnx.load(path), digits) for path in (float32, int8))
    assert before >= 0.97
    assert after >= before - 0.005


def test_form_refuses_what_has_no_kernel() -> None:
    with pytest.raises(ValueError, match=r"^weights='u8': only 's8' with activations='s8'$"):
        Form(activations="s8", weights="u8")
    with pytest.raises(ValueError, match=r"^format='qd': one of qdq, qoperator$"):
        Form(format="qd")


def test_the_sweep_is_complete() -> None:
    assert len(FORMS) == 48
    assert FORMS[DEFAULT.name] == DEFAULT
    assert DEFAULT.name == "qdq-u8s8-channel-asyma-symw"


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_lenet5_takes_every_form(form: Form) -> None:
    digits, model = load_npz(TEST), lenet5(form)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    ops = {node.op_type for node in model.graph.node}
    assert ("QLinearConv" in ops, "Conv" in ops) == (form.format != "qdq", form.format == "qdq")
    assert ("Relu" in ops) == form.symmetric_activations
    types = {"u8": np.uint8, "s8": np.int8}
    # fc1, not conv1: the QOperator quantizer writes per-channel convolutions in int8 whatever
    # the weights' type.
    zero, image_zero = tensors["fc1.weight_zero_point"], tensors["image_zero_point"]
    assert zero.dtype == types[form.weights]
    assert zero.shape == ((120,) if form.per_channel else ())
    assert image_zero.dtype == types[form.activations]
    middle = {"u8": 128, "s8": 0}
    assert (image_zero == middle[form.activations]) == form.symmetric_activations
    # The QDQ quantizer ignores a wish for asymmetric int8 weights per channel.
    symmetric = form.symmetric_weights or (form.format == "qdq" and form.per_channel)
    assert (zero == middle[form.weights]).all() == symmetric
    logits = _run(model, {"image": digits.images}, form.activations)
    assert (logits.argmax(axis=1) == digits.labels).mean() >= 0.97


@pytest.mark.parametrize("name", [*NETWORKS, *UNSUPPORTED])
def test_network_runs_and_is_reproducible(name: str) -> None:
    reference = None
    for form in (None, *FORM_SAMPLE):
        model, shape = build(name, form)
        result = _run(model, {"x": random_input(shape)}, form.activations if form else "u8")
        reference = result if reference is None else reference
        assert result.shape == reference.shape
        # A quantized network that no longer resembles the float one would test nothing.
        # (quantize_static itself scales the bias wrongly where alpha is not 1.)
        error = np.abs(result - reference).mean()
        assert error < 0.05 * np.abs(reference).max() or name == "gemm_alpha"
        again = build(name, form)[0]
        assert again.SerializeToString(deterministic=True) == model.SerializeToString(
            deterministic=True
        )


def test_unknown_network_is_named() -> None:
    with pytest.raises(ValueError, match=r"^network='nothing': one of conv_plain, "):
        build("nothing")


@pytest.mark.parametrize("name", CORNERS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_corner_loads_and_is_not_degenerate(operator: str, name: str) -> None:
    model, x = build_corner(operator, name)
    y = _run(model, {"x": x}, CORNERS[name].activations)
    assert np.isfinite(y).all()
    assert len(np.unique(y)) >= (1 if name == "scale_tiny" else 7)
