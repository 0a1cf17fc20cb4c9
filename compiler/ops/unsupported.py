# SPDX-License-Identifier: Apache-2.0
"""What is said of operators that have no rule, the same whether ONNX Runtime left a node in float,
fused it or made an integer operator of it."""

import onnx

from kiwicha.compiler.frontend.onnx_node import Unknown
from kiwicha.compiler.ops.context import Context

__all__ = ["DYNAMIC", "NO_SUCH", "REASONS", "in_float"]

NO_SUCH = "the machine has no such operation"
DYNAMIC = (
    "is quantized dynamically, which only products and convolutions may be; use quantize_static"
)
ATTENTION = (
    "is float inside; write it out as MatMul, Add and Softmax before quantize_static, that of ONNX "
    "with kiwicha.models.expand"
)
REASONS = {
    "RotaryEmbedding": "is float inside; write it out with kiwicha.models.expand before "
    "quantize_static",
    **dict.fromkeys(("Attention", "GroupQueryAttention", "MultiHeadAttention"), ATTENTION),
}
"""By op type."""


def in_float(context: Context, node: onnx.NodeProto) -> str:
    """Return why ONNX Runtime made no integer operator of a node, and what would change that.

    Raises
    ------
    Unknown
        Where nothing but a refused node's result is in its way.
    """
    dequantized = {
        name
        for other in context.model.graph.node
        if other.op_type == "DequantizeLinear"
        for name in other.output
    }
    causes = []
    for name in filter(None, node.input[:2]):
        if name not in dequantized and name not in context.unknown:
            what = "weight" if name in context.constants else "input"
            causes.append(f"{what} '{name}' is float")
    result = node.output[0]
    quantizing = [n for n in context.readers[result] if n.op_type == "QuantizeLinear"]
    if not quantizing:
        causes.append(f"output '{result}' is not quantized")
    elif len(quantizing) < context.uses[result]:
        causes.append(f"output '{result}' is also read in float")
    if causes:
        return (
            f"stays in float, since its {' and its '.join(causes)}; put QuantizeLinear and "
            "DequantizeLinear there"
        )
    if context.unknown.intersection(node.input):
        raise Unknown
    return "stays in float: ONNX Runtime has no integer form of it for these types and attributes"
