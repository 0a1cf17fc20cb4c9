# SPDX-License-Identifier: Apache-2.0
"""Models and inputs for the command's tests, good ones and broken ones."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

import kiwicha.sim.inference
from kiwicha.models.variants import build, random_input

__all__: list[str] = []

NETWORK = "flatten"  #: convolution, Flatten and Gemm; two samples, ten classes


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    """A model, inputs for it, and inputs that are wrong in one way each."""
    folder = tmp_path_factory.mktemp("cli")
    model, shape = build(NETWORK)
    onnx.save(model, folder / "model.onnx")
    onnx.save(build("determinant")[0], folder / "determinant.onnx")
    data = (folder / "model.onnx").read_bytes()
    (folder / "truncated.onnx").write_bytes(data[: len(data) // 2])
    (folder / "text.onnx").write_text("not a model\n")
    x, labels = random_input(shape), np.arange(len(random_input(shape)))
    arrays = {
        "good": {"x": x, "labels": labels},
        "name": {"image": x},
        "more": {"x": x, "extra": x},
        "shape": {"x": x[:, :, :5]},
        "scalar": {"x": np.float32(1)},
        "empty": {"x": x[:0]},
        "dtype": {"x": x.astype(np.float64)},
        "nan": {"x": np.full_like(x, np.nan)},
        "labels": {"x": x, "labels": labels[:1]},
        "float_labels": {"x": x, "labels": labels.astype(np.float32)},
    }
    for name, content in arrays.items():
        np.savez(folder / f"{name}.npz", **content)
    (folder / "text.npz").write_text("not an archive\n")
    data = (folder / "good.npz").read_bytes()
    (folder / "truncated.npz").write_bytes(data[: len(data) // 2])
    np.save(folder / "one.npy", x)
    (folder / "broken.toml").write_text("rows = = 4\n")
    (folder / "key.toml").write_text('preset = "tiny"\nrow = 4\n')
    (folder / "value.toml").write_text("rows = 129\n")
    (folder / "type.toml").write_text('rows = "4"\n')
    (folder / "bytes.toml").write_bytes(b"\xff\xfe")
    (folder / "narrow.toml").write_text('preset = "tiny"\naxi_address_width = 16\n')
    (folder / "tflite.toml").write_text('preset = "tiny"\nrequantize_mode = "tflite"\n')
    (folder / "nowhere.vcd").mkdir()
    return folder


@pytest.fixture(scope="package")
def dynamic(tmp_path_factory):
    """A perceptron of two layers, as quantize_dynamic writes it."""
    folder = tmp_path_factory.mktemp("follow")
    rng = np.random.default_rng(3)
    weights = {"w": rng.normal(size=(12, 20)), "v": rng.normal(size=(20, 5))}
    value, node = helper.make_tensor_value_info, helper.make_node
    graph = helper.make_graph(
        [node("MatMul", ["x", "w"], ["a"]), node("Relu", ["a"], ["b"]),
         node("MatMul", ["b", "v"], ["y"])],
        "g", [value("x", TensorProto.FLOAT, [3, 12])], [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "float.onnx")
    quantize_dynamic(folder / "float.onnx", folder / "dynamic.onnx")
    return folder / "dynamic.onnx"


@pytest.fixture
def no_build(monkeypatch):
    """Fail if the hardware is generated or built."""

    def never(*arguments, **options):
        pytest.fail("the build has begun")

    monkeypatch.setattr(kiwicha.sim.inference, "simulated_machine", never)
    monkeypatch.setattr("kiwicha.api.machine.write_hardware", never)
