# SPDX-License-Identifier: Apache-2.0
"""Graph inputs and the batch: the one dimension that a model may leave open, others named apart.

It is the open leading dimension of an input, whichever has one, and every dimension that carries
the same symbol. A dimension given as a negative number is open too, as old exporters write it.
"""

from collections.abc import Mapping

import onnx

from kiwicha.errors import InputError, ModelError

__all__ = ["batched_inputs", "bind_batch", "bind_dimensions", "graph_inputs"]


def graph_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs proper: an initializer that is listed among them is a constant."""
    initializers = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in initializers]


def batched_inputs(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the inputs whose leading dimension is the batch; where none is open, of
    those whose leading dimension is that of the first."""
    leading = {
        value.name: value.type.tensor_type.shape.dim[0]
        for value in graph_inputs(graph)
        if value.type.tensor_type.shape.dim
    }
    if found := {name for name, dim in leading.items() if _is_open(dim)}:
        return found
    lengths = [dim.dim_value for dim in leading.values()]
    return {name for name, dim in leading.items() if dim.dim_value == lengths[0]}


def bind_batch(graph: onnx.GraphProto, batch: int) -> None:
    """Give the batch its length, in place.

    Raises
    ------
    ModelError
        An input has another open dimension, an empty one, or none given at all.
    """
    inputs = graph_inputs(graph)
    leading = [value.type.tensor_type.shape.dim[:1] for value in inputs]
    symbols = {dim.dim_param for dims in leading for dim in dims if _is_open(dim)} - {""}
    for value in inputs:
        kind = value.type.tensor_type
        if value.type.HasField("tensor_type") and not kind.HasField("shape"):
            raise ModelError(f"input '{value.name}' has no shape; only the batch may be open")
        for place, dim in enumerate(kind.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value == 0:
                raise ModelError(f"input '{value.name}': dimension {place} is 0; it has no element")
            if not _is_open(dim):
                continue
            if place and dim.dim_param not in symbols:
                what = f"dimension {place} ('{dim.dim_param or '?'}')"
                name = dim.dim_param or f"{value.name}[{place}]"
                raise ModelError(
                    f"input '{value.name}': {what} is dynamic; only the batch may be; "
                    f"--dim {name}=N gives it a length"
                )
            dim.dim_value = batch
    for value in (*graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                dim.dim_value = batch
            elif dim.HasField("dim_value") and dim.dim_value <= 0:
                dim.Clear()


def bind_dimensions(model: onnx.ModelProto, lengths: Mapping[str, int]) -> onnx.ModelProto:
    """Return the model with open dimensions of these lengths.

    Parameters
    ----------
    lengths : by the dimension's symbol, or, where it has none, by input and place: ``x[2]``.

    Raises
    ------
    InputError
        There is no such open dimension, or a length is not positive.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    found: dict[str, list[onnx.TensorShapeProto.Dimension]] = {}
    for value in graph_inputs(graph):
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            if _is_open(dim):
                found.setdefault(dim.dim_param or f"{value.name}[{place}]", []).append(dim)
    for value in (*graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in found:
                found[dim.dim_param].append(dim)
    for name, length in lengths.items():
        if name not in found:
            there = f"there is: {', '.join(found)}" if found else "all are fixed"
            raise InputError(f"no open dimension is called '{name}'; {there}")
        if length < 1:
            raise InputError(f"dimension '{name}' is {length}; must be at least 1")
        for dim in found[name]:
            dim.dim_value = length
    return made


def _is_open(dim: onnx.TensorShapeProto.Dimension) -> bool:
    return not dim.HasField("dim_value") or dim.dim_value < 0
