# SPDX-License-Identifier: Apache-2.0
"""Binds the batch of a TFLite model; nothing else is to be lowered, its operators have integers."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from kiwicha.compiler.frontend.batch import graph_inputs
from kiwicha.compiler.frontend.tflite.model import TfliteFile, TfliteModel, TfliteTensor
from kiwicha.compiler.frontend.tflite.probe import rounding
from kiwicha.compiler.graph.graph import Value
from kiwicha.errors import InputError, ModelError

__all__ = ["lower_tflite"]

_EDGES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name) for name in ("float32", "int8", "uint8")
}


def lower_tflite(file: TfliteFile, batch: int | None = None) -> TfliteModel:
    """Return the model with a batch.

    Parameters
    ----------
    batch : what an open leading dimension becomes, 1 if not given; a fixed one stays as it is.

    Raises
    ------
    ModelError
        An input or output is neither codes nor float32, or has no element.
    InputError
        The batch is not positive.
    """
    if batch is not None and batch < 1:
        raise InputError(f"the batch is {batch}; must be at least 1")
    proto = onnx.ModelProto()
    proto.CopyFrom(file.proto)
    names = [value.name for value in graph_inputs(proto.graph)]
    open_batch = any(file.tensors[name].batched for name in names)
    length = (batch or 1) if open_batch else None
    tensors = {name: _bound(tensor, length) for name, tensor in file.tensors.items()}
    for info in (*proto.graph.input, *proto.graph.output):
        for dim, size in zip(
            info.type.tensor_type.shape.dim, tensors[info.name].shape, strict=True
        ):
            dim.dim_value = size
    inputs = tuple(_value(tensors[name], "input") for name in names)
    outputs = tuple(_value(tensors[value.name], "output") for value in proto.graph.output)
    return TfliteModel(
        proto, proto, proto, (), inputs, outputs, content=file.content, batch=length,
        tensors=tensors, conv=rounding("CONV_2D"), dense=rounding("FULLY_CONNECTED"),
    )


def _bound(tensor: TfliteTensor, batch: int | None) -> TfliteTensor:
    if batch is None or not tensor.batched:
        return tensor
    return replace(tensor, shape=(batch, *tensor.shape[1:]))


def _value(tensor: TfliteTensor, what: str) -> Value:
    name, dtype = tensor.name, _EDGES.get(tensor.kind)
    if dtype is None:
        raise ModelError(f"{what} '{name}' is {tensor.kind}; must be int8, uint8 or float32")
    if 0 in tensor.shape:
        raise ModelError(
            f"{what} '{name}': dimension {tensor.shape.index(0)} is 0; it has no element"
        )
    return Value(name, tensor.shape, dtype, tensor.batched and what == "input")
