# SPDX-License-Identifier: Apache-2.0
"""Trains a ResNet-8 on handwritten digits, exports it to ONNX and quantizes it.

Run as ``python -m kiwicha.models.resnet8`` with the ``train`` extra installed (50 seconds on
one core); it rewrites the files in ``models/resnet8/``, or writes them elsewhere (``--out``). The
digits are those of LeNet-5, and lie with it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# One thread: the order of BLAS's sums, and so the trained bits, must not depend on the core count.
if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import onnx
from onnx import NodeProto, helper

from kiwicha.models.digits import load_digits
from kiwicha.models.lenet5 import CALIBRATION, TEST
from kiwicha.models.script import Script, finished
from kiwicha.models.train import Parameters
from kiwicha.models.train_resnet8 import STAGES, train

__all__ = ["FP32", "INT8", "SCRIPT", "export"]

FOLDER = Path(__file__).resolve().parent / "resnet8"
FP32 = FOLDER / "resnet8_fp32.onnx"
INT8 = FOLDER / "resnet8_int8.onnx"
OPSET, IR_VERSION = 17, 8


def export(parameters: Parameters) -> onnx.ModelProto:
    """The float32 graph: ``image`` (N x 1 x 28 x 28) to ``logits`` (N x 10)."""
    nodes: list[NodeProto] = []

    def node(op: str, name: str, *inputs: str, **attributes: Any) -> str:
        learned = [t for t in (f"{name}.weight", f"{name}.bias") if t in parameters]
        output = "logits" if name == "head" else f"{name}_out"
        made = helper.make_node(op, [*inputs, *learned], [output], name=name, **attributes)
        nodes.append(made)
        return output

    def conv(name: str, x: str, stride: int = 1) -> str:
        side = parameters[f"{name}.weight"].shape[-1]
        return node(
            "Conv", name, x, kernel_shape=[side] * 2, strides=[stride] * 2, pads=[side // 2] * 4
        )

    def relu(name: str, x: str) -> str:
        return node("Relu", f"{name}.relu", x)

    x = relu("stem", conv("stem", "image"))
    for name, _, _, stride in STAGES:
        y = conv(f"{name}.second", relu(f"{name}.first", conv(f"{name}.first", x, stride)))
        side = conv(f"{name}.shortcut", x, stride) if stride > 1 else x
        x = relu(name, node("Add", f"{name}.add", y, side))
    x = node("Flatten", "flatten", node("GlobalAveragePool", "mean", x))
    node("Gemm", "head", x, transB=1)
    return finished("resnet8", nodes, parameters, 28, OPSET, IR_VERSION)


SCRIPT = Script(
    __doc__, FP32, INT8, TEST, CALIBRATION, epochs=30, digits=load_digits, export=export,
    train=lambda images, labels, epochs: train(images, labels, epochs=epochs),
)

if __name__ == "__main__":
    SCRIPT.run()
