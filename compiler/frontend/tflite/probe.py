# SPDX-License-Identifier: Apache-2.0
"""How the interpreter that is installed rounds, kernel by kernel: asked, not believed.

TFLite can be built with one rounding or with two (``TFLITE_SINGLE_ROUNDING``), and not all kernels
go through what that decides. A layer of two channels, whose sums are 255 and -256 times 2^-9, tells
them apart: 0.498 becomes 1 where it is rounded to 1/256 first, and the half goes up or away from
zero.
"""

from functools import cache
from typing import Literal

import numpy as np

from kiwicha.compiler.frontend.tflite.runtime import interpreter
from kiwicha.compiler.frontend.tflite.writer import TfliteWriter

__all__ = ["FOUND", "SUMS", "Rounding", "rounding"]

Rounding = Literal["twice", "once", "away", "unknown"]
"""gemmlowp's two roundings; one, halves up; one, halves away from zero; none of these."""

FOUND: dict[tuple[int, ...], Rounding] = {(1, -1): "twice", (0, 0): "once", (0, -1): "away"}
SUMS = (255, -256)


@cache
def rounding(operator: Literal["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]) -> Rounding:
    """Return how an operator's reference kernel rounds int8 results."""
    net, litert = TfliteWriter(), interpreter()
    image = operator != "FULLY_CONNECTED"
    shape = {
        "CONV_2D": (2, 1, 1, 2), "DEPTHWISE_CONV_2D": (1, 1, 1, 2), "FULLY_CONNECTED": (2, 2),
    }[operator]
    x = net.tensor("x", (1, 1, 1, 2) if image else (1, 2), "int8", 1.0)
    w = net.tensor("w", shape, "int8", 2.0**-9, values=np.ones(shape, np.int8))
    b = net.tensor("b", (2,), "int32", 2.0**-9, values=np.array(SUMS, np.int32))
    y = net.tensor("y", (1, 1, 1, 2) if image else (1, 2), "int8", 1.0)
    window = {"padding": "VALID", "strideH": 1, "strideW": 1}
    window |= {"dilationHFactor": 1, "dilationWFactor": 1}
    if operator == "FULLY_CONNECTED":
        net.operator(operator, [x, w, b], [y], "FullyConnected", 4)
    elif operator == "CONV_2D":
        net.operator(operator, [x, w, b], [y], "Conv2D", 3, **window)
    else:
        net.operator(operator, [x, w, b], [y], "DepthwiseConv2D", 3, depthMultiplier=1, **window)
    runner = litert.Interpreter(
        model_content=net.write([x], [y]),
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
    )
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], np.zeros(
        (1, 1, 1, 2) if image else (1, 2), np.int8
    ))
    runner.invoke()
    found = runner.get_tensor(runner.get_output_details()[0]["index"]).reshape(-1)
    return FOUND.get(tuple(int(code) for code in found), "unknown")
