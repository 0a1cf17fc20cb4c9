# SPDX-License-Identifier: Apache-2.0
"""Trains a vision transformer on handwritten digits, exports it to ONNX and quantizes it.

Run as ``python -m kiwicha.models.vit`` with the ``train`` extra installed (25 seconds on one core);
it rewrites the files in ``models/vit/``, or writes them elsewhere (``--out``).

The split into training and held-out digits is that of LeNet-5; the images are the original 8x8.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# One thread: the order of BLAS's sums, and so the trained bits, must not depend on the core count.
if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import onnx
from onnx import NodeProto, helper

from kiwicha.models.digits import Digits, enlarge, load_digits
from kiwicha.models.script import Script, finished
from kiwicha.models.train import Parameters
from kiwicha.models.train_vit import (
    BLOCKS,
    EMBEDDING,
    EPSILON,
    HEADS,
    PATCH,
    SIDE,
    TOKENS,
    train,
)

__all__ = ["CALIBRATION", "FP32", "INT8", "SCRIPT", "TEST", "digits", "export", "shrink"]

FOLDER = Path(__file__).resolve().parent / "vit"
FP32 = FOLDER / "vit_fp32.onnx"
INT8 = FOLDER / "vit_int8.onnx"
TEST = FOLDER / "digits8_test.npz"  #: held-out images and labels
CALIBRATION = FOLDER / "digits8_calibration.npz"  #: training images, for quantizing again
OPSET, IR_VERSION = 20, 9  #: the first opset with Gelu


def shrink(digits: Digits) -> Digits:
    """Undo `models.digits.enlarge`: N x 1 x 8 x 8 images in [0, 1], multiples of 1/16, exactly.

    Enlarging is linear but for the rounding to grey levels, which moves the least-squares answer
    by less than half of one of the 17 original levels.
    """
    stripes = np.eye(SIDE)[:, :, None] * np.full(SIDE, 16.0)
    kernel = enlarge(stripes)[:, 0, :, 0].T.astype(np.float64)
    back = np.linalg.pinv(kernel)
    levels = np.rint(back @ digits.images.astype(np.float64) @ back.T * 16)
    return Digits((levels / 16).astype(np.float32), digits.labels)


def export(parameters: Parameters) -> onnx.ModelProto:
    """The float32 graph: ``image`` (N x 1 x 8 x 8) to ``logits`` (N x 10).

    Between patch embedding and classifier all tokens are rows of one matrix, so that every fully
    connected layer is a Gemm with its bias; only attention sees images and heads apart. Every
    Reshape and Transpose is a change of strides when feature maps lie channels-last.
    """
    nodes: list[NodeProto] = []
    tensors = dict(parameters)
    tensors["patch.weight"] = parameters["patch.weight"].reshape(EMBEDDING, 1, PATCH, PATCH)
    depth = EMBEDDING // HEADS
    shapes = {
        "to_map": [-1, EMBEDDING, TOKENS], "to_rows": [-1, EMBEDDING],
        "to_heads": [-1, TOKENS, HEADS, depth], "to_image": [-1, TOKENS * EMBEDDING],
    }
    for name, value in parameters.items():
        if ".q." in name:  # The scores' division by the square root of the depth.
            tensors[name] = value * np.float32(depth**-0.5)

    def node(op: str, name: str, *inputs: str, **attributes: Any) -> str:
        learned = [f"{name}.{part}" for part in ("weight", "bias", "gamma", "beta")]
        output = "logits" if name == "head" else f"{name}_out"
        inputs = (*inputs, *(tensor for tensor in learned if tensor in tensors))
        nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def gemm(name: str, x: str) -> str:
        return node("Gemm", name, x, transB=1)

    def norm(name: str, x: str) -> str:
        return node("LayerNormalization", name, x, axis=-1, epsilon=EPSILON)

    def heads(name: str, x: str, order: list[int]) -> str:
        x = node("Reshape", f"{name}_split", gemm(name, x), "to_heads")
        return node("Transpose", f"{name}_heads", x, perm=order)

    def attention(name: str, x: str) -> str:
        q = heads(f"{name}.q", x, [0, 2, 1, 3])
        k = heads(f"{name}.k", x, [0, 2, 3, 1])
        v = heads(f"{name}.v", x, [0, 2, 1, 3])
        share = node("Softmax", f"{name}.share", node("MatMul", f"{name}.score", q, k), axis=-1)
        mixed = node("MatMul", f"{name}.mix", share, v)
        mixed = node("Transpose", f"{name}.tokens", mixed, perm=[0, 2, 1, 3])
        return gemm(f"{name}.out", node("Reshape", f"{name}.join", mixed, "to_rows"))

    def perceptron(name: str, x: str) -> str:
        return gemm(f"{name}.down", node("Gelu", f"{name}.gelu", gemm(f"{name}.up", x)))

    x = node("Conv", "patch", "image", kernel_shape=[PATCH] * 2, strides=[PATCH] * 2)
    x = node("Transpose", "tokens", node("Reshape", "map", x, "to_map"), perm=[0, 2, 1])
    x = node("Reshape", "rows", node("Add", "place", x, "position"), "to_rows")
    for name in (f"block{block}" for block in range(BLOCKS)):
        x = node("Add", f"{name}.add1", x, attention(name, norm(f"{name}.norm1", x)))
        x = node("Add", f"{name}.add2", x, perceptron(name, norm(f"{name}.norm2", x)))
    gemm("head", node("Reshape", "flatten", norm("norm", x), "to_image"))
    constants = {name: np.array(value) for name, value in shapes.items()}
    return finished("vit", nodes, tensors | constants, SIDE, OPSET, IR_VERSION)


def digits() -> tuple[Digits, Digits]:
    """Return (training, held-out): those of LeNet-5, at their original size."""
    training, held_out = load_digits()
    return shrink(training), shrink(held_out)


SCRIPT = Script(
    __doc__, FP32, INT8, TEST, CALIBRATION, epochs=100, digits=digits, export=export,
    train=lambda images, labels, epochs: train(images, labels, epochs=epochs),
)

if __name__ == "__main__":
    SCRIPT.run()
