# SPDX-License-Identifier: Apache-2.0
"""Models: files, objects of onnx, and those that come along."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.batch import bind_dimensions
from kiwicha.compiler.frontend.inputs import load_inputs
from kiwicha.compiler.frontend.load import check_model
from kiwicha.compiler.frontend.source import Source, load_source
from kiwicha.compiler.frontend.tflite.model import TfliteFile
from kiwicha.errors import InputError, ModelError
from kiwicha.sim.shipped import ModelFiles, find_model

__all__ = ["Model", "ModelLike", "load_model"]


@dataclass(frozen=True, eq=False)
class Model:
    """A quantized model that was read and found to be valid ONNX, or TFLite.

    Members
    -------
    name : of the file without its suffix, or of the model that comes along.
    proto : the model itself, as it was given; its inputs and outputs are in ``proto.graph``.
    files : where it and what belongs to it lie; None if it was given as an object.
    """

    name: str
    proto: Source
    files: ModelFiles | None = None

    def only_onnx(self, option: str) -> onnx.ModelProto:
        """Return the model for what takes ONNX alone; raises InputError that names ``option``."""
        if isinstance(self.proto, TfliteFile):
            raise InputError(f"{option}: only for ONNX models; {self.name} is TFLite")
        return self.proto

    def test_inputs(self) -> dict[str, NDArray[Any]]:
        """Return the inputs that come along with a model, by name, the batch in front, and beside
        them the right classes as ``labels``; nothing for any other model."""
        if self.files is None or self.files.inputs is None:
            return {}
        return load_inputs(self.files.inputs)


ModelLike = str | Path | onnx.ModelProto | Model
"""A model as a user has it: the path of an ONNX or TFLite file, the name of one that comes along
(``lenet5``, ``vit``), or an object."""


def load_model(model: ModelLike, dims: Mapping[str, int] | None = None) -> Model:
    """Read and check a model; whether the machine can run it, `compile_model` says.

    Parameters
    ----------
    dims : lengths of open dimensions by symbol, or as ``input[place]``; the batch may stay open.

    Raises
    ------
    ModelError
        When there is no such file, it is not valid ONNX, or its operator set is before 10.
    InputError
        For a dimension that is not open.
    """
    read = _read(model)
    if not dims:
        return read
    return replace(read, proto=bind_dimensions(read.only_onnx("named dimensions"), dims))


def _read(model: ModelLike) -> Model:
    if isinstance(model, Model):
        return model
    if isinstance(model, onnx.ModelProto):
        check_model(model, "the model")
        return Model("model", model)
    if not isinstance(model, str | Path):
        raise ModelError(
            f"a {type(model).__name__} is no model; must be the path of an ONNX or TFLite "
            "file, an onnx.ModelProto or what load_model returns"
        )
    files = find_model(str(model))
    return Model(files.name, load_source(files.path), files)
