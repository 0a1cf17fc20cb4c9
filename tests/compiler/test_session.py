# SPDX-License-Identifier: Apache-2.0
"""What ONNX Runtime says reaches the user without the paths and signatures of its source."""

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.frontend.session import open_session, runtime_message
from kiwicha.errors import ModelError

from .onnx_models import dq, model, node, q, scales

PREFIX = "[ONNXRuntimeError] : 1 : FAIL : "
SOURCE = "/onnxruntime_src/onnxruntime/core/"
RUN = "Non-zero status code returned while running {} node. Name:'{}' Status Message: "

#: Real messages of release 1.31.1.
MESSAGES = {
    "condition": (
        RUN.format("DequantizeLinear", "dw") + SOURCE + "providers/cpu/quantization/"
        "quantize_linear.cc:110 void onnxruntime::PrepareForQDQ(const TensorShape&, const Tensor&, "
        "const Tensor*, int64_t, int64_t, int64_t&, int64_t&, int64_t&) "
        "scale.Shape().NumDimensions() == 1 && scale.Shape()[0] == broadcast_dim was false. For "
        "per axis quantization, scale must be 1D tensor with size 4\n",
        "'dw' (DequantizeLinear): For per axis quantization, scale must be 1D tensor with size 4"),
    "template": (
        RUN.format("QLinearConv", "conv") + SOURCE + "providers/cpu/quantization/qlinearconv.cc:93 "
        "static std::vector<float> onnxruntime::QLinearConv<ActType>::ComputeOutputScale("
        "onnxruntime::OpKernelContext*, int64_t) [with ActType = unsigned char; int64_t = long int]"
        " IsValidQuantParam(W_scale, M) was false. QLinearConv : filter scale shape invalid\n",
        "'conv' (QLinearConv): QLinearConv : filter scale shape invalid"),
    "const member": (
        RUN.format("QLinearMatMul", "mm") + SOURCE + "providers/cpu/quantization/"
        "quantize_linear_matmul.cc:80 virtual onnxruntime::common::Status onnxruntime::"
        "QLinearMatMul::Compute(onnxruntime::OpKernelContext*) const IsBQuantParamSupported("
        "b_offset->Shape(), b ? b->Shape() : b_shape_) was false. QLinearMatmul : weight zero point"
        " must be a scalar\n",
        "'mm' (QLinearMatMul): QLinearMatmul : weight zero point must be a scalar"),
    "no condition": (
        SOURCE + "graph/model_load_utils.h:46 void onnxruntime::model_load_utils::"
        "ValidateOpsetForDomain(const std::unordered_map<std::__cxx11::basic_string<char>, int>&, "
        "const onnxruntime::logging::Logger&, bool, const std::string&, int) ONNX Runtime only "
        "*guarantees* support for models stamped with official released onnx opset versions.\n",
        "ONNX Runtime only *guarantees* support for models stamped with official released onnx "
        "opset versions."),
    "nothing but a condition": (
        SOURCE + "graph/graph.cc:9 onnxruntime::Node& onnxruntime::Graph::GetNode(size_t) p != "
        "nullptr was false. \n", "an internal check failed"),
    "two lines": (
        "Got invalid dimensions for input: x for the following indices\n index: 0 Got: 2 "
        "Expected: 1\n Please fix either the inputs/outputs or the model.",
        "Got invalid dimensions for input: x for the following indices index: 0 Got: 2 Expected: 1 "
        "Please fix either the inputs/outputs or the model."),
    "checked": (
        'This is an invalid model. In Node, ("p", MaxPool, "", -1) : ("x": tensor(float),) -> '
        "(\"y\": tensor(float),) , Error Required attribute 'kernel_shape' is missing.",
        "This is an invalid model. 'p' (MaxPool): Required attribute 'kernel_shape' is missing."),
    "nameless": (
        RUN.format("Gather", "") + "indices element out of data bounds, idx=77",
        "Gather: indices element out of data bounds, idx=77"),
    "types": (
        "Type Error: Type parameter (T) of Optype (Add) bound to different types (tensor(float) and"
        " tensor(double) in node (sum).",
        "Type Error: Type parameter (T) of Optype (Add) bound to different types (tensor(float) and"
        " tensor(double) in node (sum)."),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_messages(case):
    said, told = MESSAGES[case]
    assert runtime_message(RuntimeError(PREFIX + said)) == told


FAILING = {
    "pool": (node("MaxPool", ["xq"], ["y"], name="it", kernel_shape=[9, 9]), [1, 2, 5, 5]),
    "gather": (node("Gather", ["xq", "far"], ["y"], name="it"), [4]),
    "reshape": (node("Reshape", ["xq", "shape"], ["y"], name="it"), [4]),
    "scales": (node("QLinearMatMul", ["xq", "x_s", "x_z", "M", "w_s", "w_z", "x_s", "x_z"], ["y"],
                    name="it"), [2, 4]),
}


@pytest.mark.parametrize("case", FAILING)
def test_what_this_release_says(case):
    """The shape of the messages, should another release change it."""
    failing, shape = FAILING[case]
    constants = scales(x=(0.03, np.uint8(120)), w=(np.ones(2, np.float32), np.zeros(2, np.int8)))
    constants |= {"far": np.array([77]), "shape": np.array([7, 5]),
                  "M": np.ones((4, 3), np.int8)}
    proto = model([q("x", "xq", "x"), failing], constants, {"x": shape},
                  types={"y": TensorProto.UINT8})
    with pytest.raises(Exception, match="returned while running") as caught:
        open_session(proto, ()).run(None, {"x": np.zeros(shape, np.float32)})
    told = runtime_message(caught.value)
    assert told.startswith(f"'it' ({failing.op_type}): ")
    assert "::" not in told
    assert ".cc" not in told
    assert ".h:" not in told
    assert "was false" not in told


def test_refused_models_are_one_line():
    proto = model([q("x", "xq", "x"), dq("xq", "f", "x"), node("Foo", ["f"], ["y"], name="foo")],
                  scales(x=(0.03, np.uint8(120))), {"x": [1]})
    with pytest.raises(ModelError, match=r"^ONNX Runtime refuses .*: .*'foo' \(Foo\): No Op"):
        open_session(proto, ())
