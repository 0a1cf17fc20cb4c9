# SPDX-License-Identifier: Apache-2.0
"""Models without their large initializers, which are most of their bytes, for whoever copies them.

The checker and shape inference copy a model four times, ONNX Runtime parses what it is given once
more and keeps both.
"""

from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

__all__ = ["weights_apart", "without_weights"]

_LARGE = 1 << 16  #: bytes
_ALIGN = 4096  #: of a weight in a file, which ONNX Runtime maps
_WIDTHS: dict[int, int] = {TensorProto.INT8: 1, TensorProto.UINT8: 1, TensorProto.FLOAT: 4}


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose large initializers are inputs.

    Those that have not as many bytes as their shape and type say stay, for the checker to find.
    """
    if not any(map(_is_whole_and_large, model.graph.initializer)):
        made = onnx.ModelProto()
        made.CopyFrom(model)
        return made
    made = _shell(model)
    known = {value.name for value in made.graph.input}
    for tensor in model.graph.initializer:
        if not _is_whole_and_large(tensor):
            made.graph.initializer.add().CopyFrom(tensor)
        elif tensor.name not in known:
            made.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return made


def weights_apart(model: onnx.ModelProto, path: Path) -> bytes:
    """Return a serialized model whose large initializers are in a file, which is written if there
    are any."""
    if not any(map(_is_whole_and_large, model.graph.initializer)):
        return model.SerializeToString()
    made = _shell(model)
    with path.open("wb") as file:
        for tensor in model.graph.initializer:
            given = made.graph.initializer.add()
            if not _is_whole_and_large(tensor):
                given.CopyFrom(tensor)
                continue
            given.name, given.data_type = tensor.name, tensor.data_type
            given.dims.extend(tensor.dims)
            given.data_location = TensorProto.EXTERNAL
            file.write(bytes(-file.tell() % _ALIGN))
            place = {"location": path.name, "offset": file.tell()}
            for key, value in (place | {"length": file.write(tensor.raw_data)}).items():
                given.external_data.add(key=key, value=str(value))
    return made.SerializeToString()


def _shell(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy without initializers."""
    made = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            _copy(made, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            _copy(made.graph, field.name, value)
    return made


def _copy(message: Any, name: str, value: Any) -> None:
    """Set a field of a message to a value of another one."""
    if hasattr(value, "CopyFrom"):
        getattr(message, name).CopyFrom(value)
    elif hasattr(value, "extend"):
        getattr(message, name).extend(value)
    else:
        setattr(message, name, value)


def _is_whole_and_large(tensor: TensorProto) -> bool:
    size, width = len(tensor.raw_data), _WIDTHS.get(tensor.data_type)
    if size < _LARGE or width is None:
        return False
    return min(tensor.dims, default=0) > 0 and prod(tensor.dims) * width == size
