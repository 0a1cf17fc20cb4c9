# SPDX-License-Identifier: Apache-2.0
"""Graph inputs that the host quantizes by their own range."""

from typing import cast

import numpy as np
import onnx

from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.graph.dynamic_edges import RECORD_BYTES, HostDynamicQuantize
from kiwicha.compiler.graph.graph import Tensor, Value
from kiwicha.compiler.graph.layout import Layout
from kiwicha.compiler.ops.context import Context, FloatValue
from kiwicha.compiler.ops.dynamic import INPUT
from kiwicha.compiler.ops.host_first import split

__all__ = ["dynamic_input", "slot_record"]

_BEFORE = ("host", "pad", "part", "clip")
"""Kinds of operations that the host does, as no scale is known in which the machine could."""
_UINT8 = np.dtype(np.uint8)


def slot_record(name: str) -> Tensor:
    """Return the record of a scale and a zero point."""
    return Tensor(name, (RECORD_BYTES,), _UINT8, np.float32(1), 0)


def dynamic_input(
    context: Context, node: onnx.NodeProto, value: FloatValue, name: str
) -> HostDynamicQuantize:
    """Return the edge that quantizes ``value``, a graph input or views of one, as tensor ``name``.

    Raises
    ------
    Refusal
        Where more than views is done to it that the host does not compute.
    """
    before, _, rest = split(context, node, value, _BEFORE)
    INPUT.check(done=next((op.node.op_type for op in rest if op.kind != "view"), ""))
    tensor = Tensor(name, value.shape, _UINT8, np.float32(1), 0)
    if context.dynamic:  # all share one record
        record = context.dynamic[0].record
    else:
        record = slot_record(context.names.fresh("dynamic inputs", "slots"))
    steps = Layout(tuple(op.view for op in rest))
    source = cast(Value, value.origin).name
    edge = HostDynamicQuantize(node_name(node), source, steps, tensor, record, before=before)
    context.dynamic.append(edge)
    context.tensors[name] = tensor
    return edge
