# SPDX-License-Identifier: Apache-2.0
"""Cuts out of an ONNX model the part that computes one value from others."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

__all__ = ["ancestors", "subgraph"]


def ancestors(graph: onnx.GraphProto, sources: set[str], target: str) -> list[onnx.NodeProto]:
    """Return the nodes between ``sources`` and ``target``, in the order of the model."""
    producers = {name: node for node in graph.node for name in node.output if name}
    wanted, found = [target], set[str]()
    while wanted:
        name = wanted.pop()
        node = producers.get(name)
        if name in sources or node is None or node.output[0] in found:
            continue
        found.add(node.output[0])
        wanted.extend(node.input)
    return [node for node in graph.node if node.output[0] in found]


def subgraph(
    model: onnx.ModelProto,
    sources: Mapping[str, tuple[np.dtype[Any], int]],
    target: str,
    *,
    values: Mapping[str, NDArray[Any]] | None = None,
) -> onnx.ModelProto:
    """Return a model that computes ``target`` from ``sources``.

    Parameters
    ----------
    sources : type and number of dimensions of each.
    values : constants to replace by others.

    Raises
    ------
    KeyError
        Naming a value that does not follow from the sources and constants.
    """
    nodes = ancestors(model.graph, {*sources, *(values or {})}, target)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    made = {name for node in nodes for name in node.output} | {*sources, *(values or {})}
    read = {name for node in nodes for name in node.input if name} | {target}
    missing = sorted(read - made - set(initializers))
    if missing:
        raise KeyError(missing[0])
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), [None] * rank)
        for name, (dtype, rank) in sources.items()
    ]
    for name, value in (values or {}).items():
        initializers[name] = numpy_helper.from_array(value, name)
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes, "part", inputs, [helper.make_empty_tensor_value_info(target)],
        [tensor for name, tensor in initializers.items() if name in used - set(sources)],
    )
    return helper.make_model(
        graph, ir_version=model.ir_version, opset_imports=model.opset_import,
        functions=model.functions,
    )
