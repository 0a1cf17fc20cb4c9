# SPDX-License-Identifier: Apache-2.0
"""What the scripts that made the shipped models have in common: train and write."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kiwicha.models.digits import Digits, save_npz
from kiwicha.models.quantize import DEFAULT, Form, quantize
from kiwicha.models.train import Parameters

__all__ = ["Script", "accuracy", "finished"]

CALIBRATION_STRIDE = 15  #: every 15th training image: 96 of 1437


def accuracy(model: onnx.ModelProto, digits: Digits) -> float:
    """Fraction of right answers under ONNX Runtime, with exact integer sums on every x86."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    logits: NDArray[np.float32] = session.run(["logits"], {"image": digits.images})[0]
    return float((logits.argmax(axis=1) == digits.labels).mean())


def finished(
    name: str, nodes: Sequence[onnx.NodeProto], tensors: Mapping[str, NDArray[Any]], side: int,
    opset: int, ir_version: int,
) -> onnx.ModelProto:
    """Return a checked graph from ``image`` (N x 1 x side x side) to ``logits`` (N x 10)."""
    graph = helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in tensors.items()],
    )
    model = helper.make_model(
        graph, producer_name="kiwicha", ir_version=ir_version,
        opset_imports=[helper.make_opsetid("", opset)],
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


@dataclass(frozen=True)
class Script:
    """How a shipped model is made.

    Members
    -------
    description : for ``--help``.
    fp32, int8 : the models, in one folder.
    test, calibration : their images, there too or with another model.
    epochs : of the shipped model.
    digits : returns training and held-out images.
    train : (images, labels, epochs) to parameters.
    export : parameters to the float32 graph.
    form : how it is quantized.
    """

    description: str
    fp32: Path
    int8: Path
    test: Path
    calibration: Path
    epochs: int
    digits: Callable[[], tuple[Digits, Digits]]
    train: Callable[[NDArray[np.float32], NDArray[np.int64], int], Parameters]
    export: Callable[[Parameters], onnx.ModelProto]
    form: Form = DEFAULT

    def run(self, argv: Sequence[str] | None = None) -> None:
        """Train, export, quantize, measure, write."""
        parser = argparse.ArgumentParser(
            description=self.description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument(
            "--epochs", type=_positive, default=self.epochs, help="default: %(default)s"
        )
        parser.add_argument("--images", type=_positive, help="train on the first so many alone")
        parser.add_argument(
            "--out", metavar="DIR", type=Path, default=self.fp32.parent, help="default: %(default)s"
        )
        arguments = parser.parse_args(argv)
        training, held_out = self.digits()
        few = slice(arguments.images)
        training = Digits(training.images[few], training.labels[few])
        some = slice(None, None, CALIBRATION_STRIDE)
        calibration = Digits(training.images[some], training.labels[some])
        fp32 = self.export(self.train(training.images, training.labels, arguments.epochs))
        int8 = quantize(fp32, self.form, calibration.images[:, None])
        folder: Path = arguments.out
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(fp32, folder / self.fp32.name)
        onnx.save(int8, folder / self.int8.name)
        for path, images in ((self.test, held_out), (self.calibration, calibration)):
            if path.parent == self.fp32.parent:
                save_npz(folder / path.name, images)
        for name, model in (("fp32", fp32), ("int8", int8)):
            right = accuracy(model, held_out)
            print(f"{name}: {right:.2%} of {len(held_out.labels)} held-out images")
