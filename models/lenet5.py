# SPDX-License-Identifier: Apache-2.0
"""Trains LeNet-5 on handwritten digits, exports it to ONNX and quantizes it.

Run as ``python -m kiwicha.models.lenet5`` with the ``train`` extra installed (15 seconds on one
core); it rewrites the files in ``models/lenet5/``, or writes them elsewhere (``--out``).
"""

from __future__ import annotations

import os
from pathlib import Path

# One thread: the order of BLAS's sums, and so the trained bits, must not depend on the core count.
if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import onnx
from onnx import helper

from kiwicha.models.digits import load_digits
from kiwicha.models.script import Script, finished
from kiwicha.models.train import Parameters, train

__all__ = ["CALIBRATION", "FP32", "INT8", "SCRIPT", "TEST", "export"]

FOLDER = Path(__file__).resolve().parent / "lenet5"
FP32 = FOLDER / "lenet5_fp32.onnx"
INT8 = FOLDER / "lenet5_int8.onnx"
TEST = FOLDER / "digits_test.npz"  #: held-out images and labels
CALIBRATION = FOLDER / "digits_calibration.npz"  #: training images, for quantizing again
OPSET, IR_VERSION = 17, 8


def export(parameters: Parameters) -> onnx.ModelProto:
    """The float32 graph: ``image`` (N x 1 x 28 x 28) to ``logits`` (N x 10)."""
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes, tensor = [], "image"
    for name, op, attributes in (
        ("conv1", "Conv", {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]}),
        ("relu1", "Relu", {}),
        ("pool1", "MaxPool", pool),
        ("conv2", "Conv", {"kernel_shape": [5, 5]}),
        ("relu2", "Relu", {}),
        ("pool2", "MaxPool", pool),
        ("flatten", "Flatten", {}),
        ("fc1", "Gemm", {"transB": 1}),
        ("relu3", "Relu", {}),
        ("fc2", "Gemm", {"transB": 1}),
        ("relu4", "Relu", {}),
        ("fc3", "Gemm", {"transB": 1}),
    ):
        learned = [f"{name}.weight", f"{name}.bias"] if f"{name}.weight" in parameters else []
        output = "logits" if name == "fc3" else f"{name}_out"
        nodes.append(helper.make_node(op, [tensor, *learned], [output], name=name, **attributes))
        tensor = output
    return finished("lenet5", nodes, parameters, 28, OPSET, IR_VERSION)


SCRIPT = Script(
    __doc__, FP32, INT8, TEST, CALIBRATION, epochs=30, digits=load_digits, export=export,
    train=lambda images, labels, epochs: train(images, labels, epochs=epochs),
)

if __name__ == "__main__":
    SCRIPT.run()
