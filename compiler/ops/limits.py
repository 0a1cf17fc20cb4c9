# SPDX-License-Identifier: Apache-2.0
"""Limits that all operators have, and those that several share."""

import numpy as np

from kiwicha.compiler.frontend.limit import FLOAT32, SCALE, Limit

__all__ = [
    "ACTIVATION", "CODES", "CONSTANT", "ELEMENTS", "FIRST", "FLOAT", "GENERAL", "LAST", "ONE_SCALE",
    "QUANTIZED", "ZERO_TYPE",
]

CONSTANT = Limit("{what} '{name}' is not a constant", lambda what, name, known: name in known)
ONE_SCALE = Limit(
    "{what} has {scales} scales; must have one",
    lambda what, scales, zeros: scales == zeros == 1,
)
ZERO_TYPE = Limit(
    "input '{name}' is {dtype}, its zero point {zero}", lambda name, dtype, zero: dtype == zero
)
FLOAT = Limit("input '{name}' is float; quantize it", lambda name, floats: name not in floats)
ACTIVATION = Limit(
    "input '{name}' is a constant; only weights may be",
    lambda name, constants: name not in constants,
)
ELEMENTS = Limit(
    "{what}: dimension {axis} is 0; it has no element", lambda what, axis: axis is None
)
CODES = Limit(
    "{what} is {dtype}; must be int8 or uint8", lambda what, dtype: dtype in (np.int8, np.uint8)
)
GENERAL = (SCALE, FLOAT32, ONE_SCALE, CODES, CONSTANT, ELEMENTS)
"""Limits of all operators that a model which ONNX Runtime takes may break."""
QUANTIZED = Limit(
    "its input is float from the graph input on; quantize it", lambda quantized: quantized
)
FIRST = Limit("its input is the float result of {done}; quantize it", lambda done: not done)
LAST = Limit(
    "the result of {done} must be quantized before anything else", lambda done, rest: not rest
)
"""These three are of operators that stand alone between DequantizeLinear and QuantizeLinear."""
