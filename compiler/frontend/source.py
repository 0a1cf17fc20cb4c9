# SPDX-License-Identifier: Apache-2.0
"""A model in whichever language it is written: read, and made ready for the operators."""

from pathlib import Path

import onnx

from kiwicha.compiler.frontend.load import load_model
from kiwicha.compiler.frontend.lower import LoweredModel, lower
from kiwicha.compiler.frontend.tflite.load import SUFFIX, load_tflite
from kiwicha.compiler.frontend.tflite.lower import lower_tflite
from kiwicha.compiler.frontend.tflite.model import TfliteFile

__all__ = ["Source", "load_source", "lower_source"]

Source = onnx.ModelProto | TfliteFile
"""A model that was read; both have inputs and outputs in ``graph``."""


def load_source(path: Path) -> Source:
    """Read a file, TFLite by its suffix, else ONNX.

    Raises
    ------
    ModelError
        Where it is not what its suffix says.
    """
    return load_tflite(path) if path.suffix.lower() == SUFFIX else load_model(path)


def lower_source(model: Source, batch: int | None = None) -> LoweredModel:
    """Bind the batch and, of ONNX, let ONNX Runtime lower the model; as of `lower`."""
    return lower_tflite(model, batch) if isinstance(model, TfliteFile) else lower(model, batch)
