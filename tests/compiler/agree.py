# SPDX-License-Identifier: Apache-2.0
"""Lower, legalize, run on the golden operators, and compare every bit with ONNX Runtime."""

import tempfile
from pathlib import Path

import numpy as np
import onnx

from compiler.graph import Graph
from compiler.inputs import random_inputs
from compiler.legalize import legalize
from compiler.lower import lower
from compiler.reference import reference
from compiler.session import open_session
from golden.network import evaluate, outputs
from tests.support.host import products_saturate

__all__ = ["agree"]


def _has_unsigned_weights(lowered: onnx.ModelProto) -> bool:
    return any("/unsigned" in tensor.name for tensor in lowered.graph.initializer)


def agree(model: onnx.ModelProto, inputs=None, batch=None, same_as_source=True) -> Graph:
    """Return the graph once every tensor and output was found equal.

    Parameters
    ----------
    same_as_source : the optimized original has to give these outputs too; False for models that
        one of our own rules moved from float to integers. Where ONNX Runtime's products of uint8
        and int8 saturate, one whose weights a rule of ours made uint8 cannot.
    """
    lowered = lower(model, batch)
    inputs = random_inputs(lowered.inputs, 7) if inputs is None else inputs
    graph = legalize(lowered)
    expected = reference(lowered, inputs)
    tensors = evaluate(graph, inputs)
    shared = tensors.keys() & expected.tensors.keys()
    assert shared
    for name in shared:
        assert tensors[name].dtype == expected.tensors[name].dtype, name
        assert np.array_equal(tensors[name], expected.tensors[name]), name
    results = outputs(graph, tensors)
    assert results.keys() == expected.outputs.keys()
    for value in graph.outputs:
        assert results[value.name].shape == value.shape
        assert results[value.name].dtype == value.dtype
        assert np.array_equal(results[value.name], expected.outputs[value.name]), value.name
    for tensor in graph.tensors.values():
        array = tensors[tensor.name]
        assert (array.shape, array.dtype) == (tensor.shape, tensor.dtype), tensor.name
        assert np.array_equal(tensor.from_memory(tensor.to_memory(array)), array), tensor.name
    if same_as_source and not (products_saturate() and _has_unsigned_weights(lowered.model)):
        with tempfile.TemporaryDirectory() as directory:
            session = open_session(lowered.source, lowered.settings, Path(directory) / "m.onnx")
            direct = session.run(list(expected.outputs), inputs)
        for name, array in zip(expected.outputs, direct, strict=True):
            assert np.array_equal(array, expected.outputs[name]), name
    return graph
