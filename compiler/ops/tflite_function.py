# SPDX-License-Identifier: Apache-2.0
"""Functions of single codes of TFLite: tables of what LiteRT's reference kernels make of them."""

import numpy as np
import onnx

from kiwicha.compiler.frontend.onnx_node import Refusal, attributes, node_name
from kiwicha.compiler.graph.graph import TableNode, Tensor
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.tflite import in_its_form, target
from kiwicha.machine.fixed_functions import FUNCTIONS, Codes

__all__ = ["OPERATORS"]

_NAMES = tuple(name for name in FUNCTIONS if name != "QUANTIZE")


def tflite_function(context: Context, node: onnx.NodeProto) -> None:
    """Input x; of LEAKY_RELU the option alpha."""
    x, image = in_its_form(context, node)
    y = target(context, node, image=image)
    given = {"alpha": attributes(node)["alpha"]} if node.op_type == "LEAKY_RELU" else {}
    try:
        table = FUNCTIONS[node.op_type](_codes(x), _codes(y), **given)
    except ValueError as error:
        raise Refusal(str(error)) from None
    context.emit(TableNode(node_name(node), node.op_type, x, y, np.asarray(table, np.uint8)))


def _codes(tensor: Tensor) -> Codes:
    return Codes(float(tensor.scale), tensor.zero_point, tensor.dtype)


OPERATORS = (
    Operator(
        ", ".join(_NAMES),
        (Form("TFLite", _NAMES, "runtime", tflite_function),),
        "",
        (),
        "int8 and uint8, all codes, every pair of scales that LiteRT takes",
        ("tests/machine/test_fixed_functions.py", "tests/compiler/test_tflite.py"),
        elementwise=True,
    ),
)
