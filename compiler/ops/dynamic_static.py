# SPDX-License-Identifier: Apache-2.0
"""Between layers that are quantized statically and those that are quantized dynamically."""

from dataclasses import replace

import numpy as np
import onnx

from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.graph.graph import DynamicScaleNode, PoolNode, Tensor
from kiwicha.compiler.ops.chain import chain_table, chain_values, dequantized, emit_chain
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.dynamic import BETWEEN
from kiwicha.compiler.ops.dynamic_input import slot_record
from kiwicha.compiler.ops.dynamic_linear import Linear

__all__ = ["fixed", "scaled"]

_UINT8 = np.dtype(np.uint8)


def scaled(context: Context, node: onnx.NodeProto) -> Tensor:
    """Emit a tensor with a scale of its own, and Relu, pools and views of it, quantized by range;
    return the record of its scale."""
    name, _, _ = node.output
    value = context.floats[node.input[0]]
    x, operations = value.origin, value.operations
    assert isinstance(x, Tensor)
    target = replace(x, name=context.names.fresh(name, "static"), shape=value.shape)
    known = {op.kind for op in operations} <= {"clip", "view", "pool"}
    done = operations[-1].node.op_type if operations else ""
    BETWEEN.check(done=done, same=known)
    codes = chain_table(x, operations, target)
    same = np.array_equal(dequantized(target, codes), chain_values(x, operations))
    BETWEEN.check(done=done, same=same)
    x = emit_chain(context, node, x, operations, target) if operations else context.settled(x)
    y = Tensor(name, x.shape, _UINT8, np.float32(1), 0, x.layout)
    record = slot_record(context.names.fresh(name, "slots"))
    context.emit(DynamicScaleNode(node_name(node), node.op_type, x, y, record))
    return record


def fixed(context: Context, record: Tensor, node: onnx.NodeProto, linear: Linear) -> None:
    """Emit a layer whose floats are quantized by a scale that is known."""
    name = node.output[0]
    scale, zero, dtype = context.quantization(node, 1, "output")
    if dtype == _UINT8:
        linear.quantized(context, record, name, None, scale, zero)
        return
    codes = context.names.fresh(name, "unsigned")  # VECTOR quantizes floats to these alone
    linear.quantized(context, record, codes, None, scale, zero + 128)
    x = context.tensors[codes]
    y = replace(x, name=name, dtype=dtype, zero_point=zero)
    context.emit(PoolNode(
        node_name(node), "QuantizeLinear", x, y, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1),
        np.float32(1), np.float64(1), -128, 127,
    ))
