# SPDX-License-Identifier: Apache-2.0
"""The models that come with Kiwicha, and finding a model by name or path."""

from dataclasses import dataclass
from pathlib import Path

from kiwicha import models
from kiwicha.errors import ModelError

__all__ = ["SHIPPED", "ModelFiles", "find_model"]

_FOLDER = Path(next(iter(models.__path__))).resolve()


@dataclass(frozen=True)
class ModelFiles:
    """A quantized model, and what is known to go with it.

    Members
    -------
    inputs : npz file that is used where the user gives none; random numbers without.
    float32 : the model before it was quantized, for comparing accuracies.
    """

    name: str
    path: Path
    inputs: Path | None = None
    float32: Path | None = None


SHIPPED = {
    files.name: files
    for files in (
        ModelFiles(
            "lenet5",
            _FOLDER / "lenet5/lenet5_int8.onnx",
            _FOLDER / "lenet5/digits_test.npz",
            _FOLDER / "lenet5/lenet5_fp32.onnx",
        ),
        ModelFiles(
            "lstm",
            _FOLDER / "lstm/lstm_int8.onnx",
            _FOLDER / "vit/digits8_test.npz",
            _FOLDER / "lstm/lstm_fp32.onnx",
        ),
        ModelFiles(
            "resnet8",
            _FOLDER / "resnet8/resnet8_int8.onnx",
            _FOLDER / "lenet5/digits_test.npz",
            _FOLDER / "resnet8/resnet8_fp32.onnx",
        ),
        ModelFiles(
            "vit",
            _FOLDER / "vit/vit_int8.onnx",
            _FOLDER / "vit/digits8_test.npz",
            _FOLDER / "vit/vit_fp32.onnx",
        ),
    )
}


def find_model(name: str) -> ModelFiles:
    """Return the files of a shipped model's name, or of a path.

    Raises
    ------
    ModelError
        When it is neither.
    """
    if name in SHIPPED:
        return SHIPPED[name]
    path = Path(name)
    if not path.exists():
        raise ModelError(f"{name}: no such file; models that come along: {', '.join(SHIPPED)}")
    return ModelFiles(path.stem, path)
