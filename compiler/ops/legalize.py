# SPDX-License-Identifier: Apache-2.0
"""From the model that ONNX Runtime lowered to the compiler's graph, or one list of refusals."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import onnx

from kiwicha.compiler.frontend.load import Constants
from kiwicha.compiler.frontend.lower import LoweredModel
from kiwicha.compiler.frontend.names import Names
from kiwicha.compiler.frontend.onnx_node import Refusal, Unknown
from kiwicha.compiler.frontend.tflite.model import TfliteModel
from kiwicha.compiler.graph.graph import (
    Graph,
    OperatorNode,
    PairNode,
    PoolNode,
    TableNode,
    Tensor,
    Value,
    ViewNode,
)
from kiwicha.compiler.ops.context import Context, FloatValue
from kiwicha.compiler.ops.dynamic_layers import DynamicLayers
from kiwicha.compiler.ops.edge import finish_output
from kiwicha.compiler.ops.host import (
    finish_constant,
    finish_hosted,
    host_rule,
    leave_last,
)
from kiwicha.compiler.ops.host_first import host_first
from kiwicha.compiler.ops.provenance import user_names
from kiwicha.compiler.ops.refused import Refused
from kiwicha.compiler.ops.registry import rule_of
from kiwicha.compiler.ops.slots import with_slots
from kiwicha.compiler.ops.tflite import in_file_order, input_tensor
from kiwicha.errors import UnsupportedModel
from kiwicha.machine.modes import RequantizeMode

__all__ = ["legalize"]

def legalize(lowered: LoweredModel) -> Graph:
    """Map every node onto the machine.

    Raises
    ------
    UnsupportedModel
        With a line for every node that cannot be mapped, those behind another one included.
    """
    model = lowered.model.graph
    constants = Constants(model)
    uses = Counter(name for node in model.node for name in node.input)
    uses.update(value.name for value in model.output)
    readers = defaultdict[str, list[onnx.NodeProto]](list)
    for node in model.node:
        for name in set(node.input):
            readers[name].append(node)
    names = Names(model, lowered.source.graph)
    context = Context(lowered.model, lowered.settings, names, constants, uses, readers)
    if isinstance(lowered, TfliteModel):
        context.described, context.dense = lowered.tensors, lowered.dense
    for value in lowered.inputs:
        if value.dtype == np.float32:
            context.floats[value.name] = FloatValue(value)
        else:
            _integer_input(context, value)
    layers = DynamicLayers(context)
    refused = Refused(lowered, context, layers)
    suffering: list[onnx.NodeProto] = []
    for node in model.node:
        try:
            if refused.covers(node):
                raise Unknown
            if not (lowered.dynamic and layers.take(node)):
                if refused.leaves_open(node):
                    raise Unknown
                rule = host_rule(context, node) or host_first(context, node)
                (rule or rule_of(context, node))(context, node)
            refused.pass_on(node)
        except Unknown:
            suffering.append(node)
            refused.assume(node)
        except Refusal as refusal:
            refused.add(node, str(refusal), refusal.node)
    for output in lowered.outputs:
        try:
            if output.name in context.unknown or layers.finish(output):
                continue
            if any(edge.target == output.name for edge in context.dequantize):
                continue
            if output.name in context.images:
                in_file_order(context, output.name)
            elif output.name in context.floats and not leave_last(context, output):
                finish_output(context, output)
            elif output.name in context.hosted:
                finish_hosted(context, output)
            elif output.name in constants:
                finish_constant(context, output)
            elif output.name not in context.tensors:
                raise Refusal(f"is {output.dtype}; must be float32, int8 or uint8")
        except Refusal as refusal:
            if refusal.node is not None:
                refused.add(refusal.node, str(refusal))
            else:
                refused.listed.append((output.name, "graph output", str(refusal)))
    if suffering and not refused.listed:
        refused.add(suffering[0], "computes with a scale, a zero point or a sum")
    if refused.listed:
        raise UnsupportedModel(refused.listed)
    return with_slots(_finish(context, lowered), names)


def _integer_input(context: Context, value: Value) -> None:
    """An int8 or uint8 graph input is a tensor already; its readers know its scale, but for those
    of a TFLite file, which says it itself."""
    if context.described:
        context.tensors[value.name] = input_tensor(context, value.name)
        return
    context.tensors[value.name] = Tensor(value.name, value.shape, value.dtype, np.float32(1), 0)
    context.free.add(value.name)


def _finish(context: Context, lowered: LoweredModel) -> Graph:
    """Drop what nobody reads and make node names unique."""
    inputs = {value.name for value in lowered.inputs}
    passed = [value.name for value in lowered.outputs if value.name in inputs]
    wanted = {value.name for value in lowered.outputs} | {
        tensor.name for edge in context.dequantize for tensor in edge.tensors
    }
    kept: list[OperatorNode] = []
    for node in reversed(context.nodes):
        if wanted & {tensor.name for tensor in node.results}:
            wanted.update(tensor.name for tensor in node.inputs)
            kept.append(node)
    seen: set[str] = set()
    nodes: list[OperatorNode] = []
    inexact = {note.node for note in lowered.notes}
    titles = user_names(lowered.source.graph, lowered.model.graph)
    inner = set(context.wholes)  # of scales that the runtime does not know, and views of them
    for node in reversed(kept):
        if node.x.name in inner and isinstance(node, ViewNode):
            inner.add(node.y.name)
        elif node.x.name in inner and isinstance(node, PoolNode | TableNode):
            node = replace(node, promise="golden")
        if node.name in inexact and isinstance(node, PairNode | TableNode):
            node = replace(node, promise="near")
        name = titles.get(node.name, node.name)
        if name in seen:
            name = context.names.fresh(name)
        nodes.append(replace(node, name=name))
        seen.add(name)
    shapes = {name: tensor.shape for name, tensor in context.tensors.items()}
    shapes |= {edge.target: edge.shape for edge in context.dequantize}
    return Graph(
        inputs=lowered.inputs,
        outputs=tuple(replace(value, shape=shapes[value.name]) for value in lowered.outputs),
        quantize=tuple(q for q in context.quantize if q.tensor.name in wanted),
        nodes=tuple(nodes),
        dequantize=tuple(context.dequantize),
        notes=(
            *lowered.notes,
            *(replace(note, node=titles.get(note.node, note.node)) for note in context.notes),
        ),
        dynamic=tuple(
            replace(q, tensor=context.tensors[q.tensor.name])
            for q in context.dynamic if q.tensor.name in wanted
        ),
        wholes={
            name: replace(whole, name=titles.get(whole.name, whole.name))
            for name, whole in context.wholes.items()
        },
        passed=tuple(context.settled(context.tensors[name]) for name in passed),
        images={image: name for name, image in context.images.items()},
        requantize=(
            lowered.requantize if isinstance(lowered, TfliteModel) else RequantizeMode.ONNX
        ),
    )
