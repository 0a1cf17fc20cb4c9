# SPDX-License-Identifier: Apache-2.0
"""QUANTIZE and DEQUANTIZE of TFLite: a graph's float edges, and a change of scale in between."""

from dataclasses import replace

import numpy as np
import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import Unknown, node_name
from kiwicha.compiler.graph.graph import HostDequantize, HostQuantize, PoolNode, Value
from kiwicha.compiler.graph.layout import Layout
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.pool import ratio64
from kiwicha.compiler.ops.tflite import operand, target

__all__ = ["OPERATORS"]

_RAW = Limit(
    "'{name}' is float, and no graph input; only graph inputs may be quantized",
    lambda name, raw: raw,
)
_LAST = Limit(
    "'{name}' is read in float; only a graph output may be float", lambda name, readers: not readers
)


def quantize(context: Context, node: onnx.NodeProto) -> None:
    """Of a float graph input the host's; of codes, other ones of another scale."""
    name = node.input[0]
    if context.described[name].kind == "float32":
        if name in context.unknown:
            raise Unknown
        value = context.floats.get(name)
        _RAW.check(name=name, raw=value is not None and isinstance(value.origin, Value))
        y = target(context, node, context.described[name].shape)
        context.quantize.append(HostQuantize(node_name(node), name, Layout(), y, away=True))
        context.tensors[y.name] = y
        return
    x = operand(context, node)
    y, info = target(context, node, x.shape), np.iinfo(context.described[node.output[0]].kind)
    y = replace(y, layout=x.layout)
    scale = np.float32(x.scale / y.scale)
    context.emit(PoolNode(
        node_name(node), node.op_type, x, y, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), scale,
        ratio64(x, y), int(info.min), int(info.max),
    ))


def dequantize(context: Context, node: onnx.NodeProto) -> None:
    """A float graph output, made by the host."""
    x, name = operand(context, node), node.output[0]
    _LAST.check(name=name, readers=context.readers[name])
    made = context.names.fresh(name, node.op_type)
    context.dequantize.append(HostDequantize(made, x, name))


OPERATORS = (
    Operator(
        "QUANTIZE, DEQUANTIZE",
        (
            Form("TFLite", ("QUANTIZE",), "runtime", quantize, edge="input"),
            Form("TFLite", ("DEQUANTIZE",), "runtime", dequantize, edge="output"),
        ),
        "requantize.requantize",
        (_RAW, _LAST),
        "graph inputs and outputs by the host; a change of scale in between",
        ("tests/compiler/test_tflite.py",),
    ),
)
