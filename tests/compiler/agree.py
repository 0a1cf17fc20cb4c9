# SPDX-License-Identifier: Apache-2.0
"""Lower, legalize, run on the golden operators, and compare every bit with ONNX Runtime."""

import numpy as np
import onnx

from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import Graph
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.network import evaluate, outputs
from kiwicha.machine.presets import PRESETS
from kiwicha.sim.judge import judge
from kiwicha.sim.reference import reference, runtime_tensors

__all__ = ["agree"]

DEFAULT = PRESETS["default"]


def agree(model: onnx.ModelProto, inputs=None, batch=None, exact=True) -> Graph:
    """Return the graph once every node keeps its promise and every tensor and output is equal.

    Parameters
    ----------
    exact : the outputs are those of the model as given, bit for bit; False for models with nodes
        that the runtime computes in float, which are one code apart at most.
    """
    lowered = lower(model, batch)
    inputs = random_inputs(lowered.inputs, 7) if inputs is None else inputs
    graph = legalize(lowered)
    expected = reference(lowered, inputs)
    tensors = evaluate(graph, inputs)
    if exact:
        assert {node.promise for node in graph.nodes} <= {"runtime"}
        runtime = runtime_tensors(lowered, inputs)
        shared = tensors.keys() & runtime.keys()
        assert shared
        for name in shared:
            assert tensors[name].dtype == runtime[name].dtype, name
            assert np.array_equal(tensors[name], runtime[name]), name
    for node in graph.nodes:
        assert judge(lowered, graph, (node,), DEFAULT, tensors).differ == 0, node.name
    if not exact:
        assert judge(lowered, graph, graph.nodes, DEFAULT, tensors).compared
    results = outputs(graph, tensors)
    assert results.keys() == expected.outputs.keys()
    for value in graph.outputs:
        assert results[value.name].shape == value.shape
        assert results[value.name].dtype == value.dtype
        if exact:
            assert np.array_equal(results[value.name], expected.outputs[value.name]), value.name
    for tensor in graph.tensors.values():
        array = tensors[tensor.name]
        assert (array.shape, array.dtype) == (tensor.shape, tensor.dtype), tensor.name
        assert np.array_equal(tensor.from_memory(tensor.to_memory(array)), array), tensor.name
    return graph
