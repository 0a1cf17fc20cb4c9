# SPDX-License-Identifier: Apache-2.0
"""DynamicQuantizeMatMul and MatMulIntegerToFloat (com.microsoft) as the operators that ONNX Runtime
makes them of.

Models that it has optimized and saved have them; they round as these operators do.
"""

from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper

from kiwicha.compiler.frontend.load import Constants
from kiwicha.compiler.frontend.names import Names
from kiwicha.compiler.frontend.onnx_node import node_name

__all__ = ["unfused"]


def unfused(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without them, but for MatMulIntegerToFloat with scales that are
    constants."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    names, constants = Names(graph), Constants(graph)
    quantized: dict[str, list[str]] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        given = [*node.input, *[""] * (7 - len(node.input))]
        if node.domain == "com.microsoft" and node.op_type == "DynamicQuantizeMatMul":
            source, weights, scale, zero, bias = given[:5]
            if source not in quantized:
                quantized[source] = [names.fresh(source, part) for part in ("codes", "s", "z")]
                nodes.append(helper.make_node(
                    "DynamicQuantizeLinear", [source], quantized[source],
                    names.fresh(node_name(node), "quantize"),
                ))
            codes, x_scale, x_zero = quantized[source]
            operands = codes, weights, x_scale, scale, x_zero, zero, bias
        elif (
            node.domain == "com.microsoft" and node.op_type == "MatMulIntegerToFloat"
            and given[2] not in constants
        ):
            operands = tuple(given[:7])
        else:
            nodes.append(node)
            continue
        nodes += _written_out(node, operands, names)
    if len(nodes) != len(graph.node):
        del graph.node[:]
        graph.node.extend(nodes)
    return made


def _written_out(
    node: onnx.NodeProto, operands: tuple[str, ...], names: Names
) -> Iterator[onnx.NodeProto]:
    """Yield the operators of a product; operands are those of MatMulIntegerToFloat."""
    codes, weights, x_scale, scale, x_zero, zero, bias = operands
    (result,) = node.output
    total, real, both = (names.fresh(result, part) for part in ("sums", "float", "scale"))
    product = [codes, weights, x_zero, *([zero] if zero else [])]
    yield helper.make_node("MatMulInteger", product, [total], node_name(node))
    yield helper.make_node("Cast", [total], [real], f"{total} cast", to=TensorProto.FLOAT)
    yield helper.make_node("Mul", [x_scale, scale], [both], f"{both} product")
    scaled = names.fresh(result, "scaled") if bias else result
    yield helper.make_node("Mul", [real, both], [scaled], f"{scaled} scale")
    if bias:
        yield helper.make_node("Add", [scaled, bias], [result], f"{scaled} bias")
