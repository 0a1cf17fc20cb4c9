# SPDX-License-Identifier: Apache-2.0
"""Reads ONNX files and the constants in them; every broken file is told what is wrong with it."""

from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from kiwicha.compiler.frontend.weights import without_weights
from kiwicha.errors import ModelError, first_line

__all__ = ["Constants", "check_model", "load_model"]

_KEPT = 1 << 20  # bytes up to which an array is kept for whoever asks next

MINIMUM_OPSET = 10
"""The first with QLinearConv, QLinearMatMul and QuantizeLinear."""


def load_model(path: str | Path) -> onnx.ModelProto:
    """Read a model with its external data.

    Raises
    ------
    ModelError
        Not found, truncated, not ONNX, invalid, an operator set before 10, data missing.
    """
    path = Path(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from None
    except Exception:  # protobuf's DecodeError, which has no typed home, and what follows from it
        raise ModelError(f"{path}: not an ONNX model, or truncated") from None
    _check_versions(model, str(path))
    _load_external(model, path)
    check_model(model, str(path))
    return model


def _check_versions(model: onnx.ModelProto, name: str) -> None:
    if not model.graph.node or not model.ir_version or not model.opset_import:
        raise ModelError(f"{name}: not an ONNX model, or truncated (no graph or no operator set)")
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is not None and opset < MINIMUM_OPSET:
        raise ModelError(
            f"{name}: operator set {opset}; the first with quantized operators is {MINIMUM_OPSET}"
        )


def check_model(model: onnx.ModelProto, name: str) -> None:
    """Check a model whose data is there; raises ModelError, which begins with ``name``."""
    _check_versions(model, name)
    try:
        checked = without_weights(model)
        # Before version 4 constants had to be inputs; quantizers do not keep to it, nobody minds.
        checked.ir_version = max(checked.ir_version, 4)
        for value in checked.graph.output:  # the checker wants a shape, ONNX Runtime infers it
            value.type.tensor_type.shape.SetInParent()
        onnx.checker.check_model(checked)
    except Exception as error:  # the checker has no exception type of its own; text may be no text
        raise ModelError(f"{name}: not a valid ONNX model: {first_line(error)}") from None


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # ValueError, OSError or the checker's, by release
        missing = [
            entry.value
            for tensor in model.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location" and not (path.parent / entry.value).is_file()
        ]
        what = f"'{missing[0]}' is missing" if missing else first_line(error)
        raise ModelError(f"{path}: external data: {what}") from None


class Constants(MutableMapping[str, NDArray[Any]]):
    """Initializers and the outputs of Constant nodes by name, each made an array when it is asked
    for: most of a model's bytes are weights, and most readers want scales and zero points. Large
    ones are made each time, since whoever reads them makes others of them.

    Reading a name raises ModelError, which names it, if its data does not fit its shape or type.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                self._tensors[node.output[0]] = node.attribute[0].t
        self._made: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._made:
            try:
                value = numpy_helper.to_array(self._tensors[name])
            except Exception as error:  # ValueError, KeyError, TypeError: by what is wrong
                if name not in self._tensors:
                    raise KeyError(name) from None
                message = f"initializer '{name}' is broken: {first_line(error)}"
                raise ModelError(message) from None
            if value.nbytes > _KEPT:
                return value
            self._made[name] = value
        return self._made[name]

    def __setitem__(self, name: str, value: NDArray[Any]) -> None:
        self._made[name] = value

    def __delitem__(self, name: str) -> None:
        self._made.pop(name, None)
        self._tensors.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._made or name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter({**self._tensors, **self._made})

    def __len__(self) -> int:
        return len({**self._tensors, **self._made})
