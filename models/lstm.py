# SPDX-License-Identifier: Apache-2.0
"""Trains a recurrent network on the rows of handwritten digits, exports it to ONNX, quantizes it.

Run as ``python -m kiwicha.models.lstm`` with the ``train`` extra installed (two minutes on one
core); it rewrites the files in ``models/lstm/``, or writes them elsewhere (``--out``). The digits
are those of the vision transformer, and lie with it.

ONNX Runtime quantizes no recurrent layer; its input is quantized all the same (`Form.views`), so
that the machine computes it in integers. What follows in float reads the hidden state.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

# One thread: the order of BLAS's sums, and so the trained bits, must not depend on the core count.
if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import onnx
from onnx import helper

from kiwicha.models.quantize import DEFAULT
from kiwicha.models.script import Script, finished
from kiwicha.models.train import Parameters
from kiwicha.models.train_lstm import HIDDEN, SIDE, train
from kiwicha.models.vit import CALIBRATION, TEST, digits

__all__ = ["FORM", "FP32", "INT8", "SCRIPT", "export"]

FOLDER = Path(__file__).resolve().parent / "lstm"
FP32 = FOLDER / "lstm_fp32.onnx"
INT8 = FOLDER / "lstm_int8.onnx"
OPSET, IR_VERSION = 17, 8
FORM = replace(DEFAULT, views=True)


def export(parameters: Parameters) -> onnx.ModelProto:
    """The float32 graph: ``image`` (N x 1 x 8 x 8) to ``logits`` (N x 10)."""
    bias = np.concatenate([parameters["lstm.bias"], np.zeros(4 * HIDDEN, np.float32)])
    tensors = {
        "lstm.x.weight": parameters["lstm.x.weight"][np.newaxis],
        "lstm.h.weight": parameters["lstm.h.weight"][np.newaxis],
        "lstm.bias": bias[np.newaxis],
        "head.weight": parameters["head.weight"], "head.bias": parameters["head.bias"],
        "to_rows": np.array([-1, SIDE, SIDE]), "to_line": np.array([-1, HIDDEN]),
    }
    nodes = [
        helper.make_node("Reshape", ["image", "to_rows"], ["rows"], name="rows"),
        helper.make_node("Transpose", ["rows"], ["steps"], name="steps", perm=[1, 0, 2]),
        helper.make_node(
            "LSTM", ["steps", "lstm.x.weight", "lstm.h.weight", "lstm.bias"], ["", "last"],
            name="lstm", hidden_size=HIDDEN,
        ),
        helper.make_node("Reshape", ["last", "to_line"], ["line"], name="line"),
        helper.make_node(
            "Gemm", ["line", "head.weight", "head.bias"], ["logits"], name="head", transB=1
        ),
    ]
    return finished("lstm", nodes, tensors, SIDE, OPSET, IR_VERSION)


SCRIPT = Script(
    __doc__, FP32, INT8, TEST, CALIBRATION, epochs=250, digits=digits, export=export,
    train=lambda images, labels, epochs: train(images, labels, epochs=epochs), form=FORM,
)

if __name__ == "__main__":
    SCRIPT.run()
