# SPDX-License-Identifier: Apache-2.0
"""Reads ONNX files and the constants in them; every broken file is told what is wrong with it."""

from collections.abc import Iterator, MutableMapping
from math import prod
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from kiwicha.errors import ModelError, first_line

__all__ = ["Constants", "check_model", "load_model"]

_LARGE = 1 << 16  # bytes of an initializer that is not copied for the checker

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
        checked = _without_weights(model)
        # Before version 4 constants had to be inputs; quantizers do not keep to it, nobody minds.
        checked.ir_version = max(checked.ir_version, 4)
        for value in checked.graph.output:  # the checker wants a shape, ONNX Runtime infers it
            value.type.tensor_type.shape.SetInParent()
        onnx.checker.check_model(checked)
    except Exception as error:  # the checker has no exception type of its own; text may be no text
        raise ModelError(f"{name}: not a valid ONNX model: {first_line(error)}") from None


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose large initializers are inputs: the checker copies models twice more.

    Those that have not as many bytes as their shape and type say stay, for it to find.
    """
    made = onnx.ModelProto()
    if not any(map(_is_whole_and_large, model.graph.initializer)):
        made.CopyFrom(model)
        return made
    for field, value in model.ListFields():
        if field.name != "graph":
            _copy(made, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            _copy(made.graph, field.name, value)
    known = {value.name for value in made.graph.input}
    for tensor in model.graph.initializer:
        if not _is_whole_and_large(tensor):
            made.graph.initializer.add().CopyFrom(tensor)
        elif tensor.name not in known:
            made.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return made


def _copy(message: Any, name: str, value: Any) -> None:
    """Set a field of a message to a value of another one."""
    if hasattr(value, "CopyFrom"):
        getattr(message, name).CopyFrom(value)
    elif hasattr(value, "extend"):
        getattr(message, name).extend(value)
    else:
        setattr(message, name, value)


def _is_whole_and_large(tensor: onnx.TensorProto) -> bool:
    size = len(tensor.raw_data)
    if size < _LARGE or tensor.data_type not in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8,
                                                 onnx.TensorProto.FLOAT):
        return False
    wide = 4 if tensor.data_type == onnx.TensorProto.FLOAT else 1
    return min(tensor.dims, default=0) > 0 and prod(tensor.dims) * wide == size


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
    for: most of a model's bytes are weights, and most readers want scales and zero points.

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
                self._made[name] = numpy_helper.to_array(self._tensors[name])
            except Exception as error:  # ValueError, KeyError, TypeError: by what is wrong
                if name not in self._tensors:
                    raise KeyError(name) from None
                message = f"initializer '{name}' is broken: {first_line(error)}"
                raise ModelError(message) from None
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
