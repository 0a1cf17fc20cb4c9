# SPDX-License-Identifier: Apache-2.0
"""Graphs quantized dynamically, as onnxruntime.quantization.quantize_dynamic writes linear layers;
`compiler.ops.dynamic_layers` reads them."""

import numpy as np

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.ops.operator import Form, Operator
from kiwicha.compiler.ops.unsupported import DYNAMIC
from kiwicha.compiler.ops.window import LIMITS

__all__ = [
    "ALONE", "BETWEEN", "BOUND", "COLUMNS", "CONSTANT", "FINITE", "INPUT", "MOVED", "OPERATORS",
    "ORDERS", "OWN_SCALE", "OWN_ZERO", "PAIR", "POOLED", "REST", "RIGHT", "SCALE", "SHAPES",
    "SLICED", "SUMMANDS", "SUMS", "TENSOR", "VALUE",
]

TENSOR = Limit("is a scale or a zero point; only tensors are written", lambda scale: not scale)
VALUE = Limit("is the integer sum of a layer; must be its float value", lambda scaled: scaled)
REST = Limit(
    "{following} of a dynamically quantized layer's result; must be Add or Mul of a constant, "
    "LeakyRelu or PRelu with a constant slope, BatchNormalization, HardSigmoid, HardSwish, a sum, "
    "a product, Relu, Clip, MaxPool, an average without padding or a reshape, once each and in "
    "this order; Concat, Split, Slice, Pad, Resize, Tile, Expand or Gather; {way}",
    lambda following, way, known: known,
)
SUMS = Limit("quantizes integer sums", lambda scaled: scaled)
CONSTANT = Limit("input '{name}' is a constant", lambda name, constants: name not in constants)
INPUT = Limit(
    "{done} of a graph input in float; quantize the input itself", lambda done: not done
)
BETWEEN = Limit(
    "the result of {done} must be quantized before it is quantized dynamically",
    lambda done, same: same,
)
SCALE = Limit(
    "weight scale '{name}' is not a constant", lambda name, constants: name in constants
)
FINITE = Limit(
    "{what} '{name}' is infinite or NaN", lambda what, name, value: bool(np.isfinite(value).all())
)
BOUND = Limit(
    "bound '{name}' is not a constant",
    lambda name, constants: not name or name in constants,
)
RIGHT = Limit(
    "the first operand is a constant; transpose the product", lambda constant: not constant
)
OWN_ZERO = Limit(
    "zero point '{zero}' is not that of input '{name}'", lambda zero, name, owner: owner == name
)
SHAPES = Limit(
    "input '{name}' is {x}, the weight {weights}",
    lambda name, x, weights: len(weights) == 2 and x[-1:] == weights[:1],
)
PAIR = Limit(
    "operands are {x} and {z}; must be matrices or stacks of them",
    lambda x, z: min(len(x), len(z)) > 1 and x[-1] == z[-2],
)
OWN_SCALE = Limit(
    "scale '{name}' is that of '{owner}', not of '{source}'",
    lambda name, owner, source: owner == source,
)
POOLED = Limit(
    "{op} of a dynamically quantized layer's result with dilations, windows of 16 and more, or "
    "negative scales or slopes, and without Relu or with gaps between its windows: the range of "
    "what it leaves is not known before; use quantize_static",
    lambda op, relu, whole: relu and whole,
)
SLICED = Limit(
    "{op} of a dynamically quantized layer's result along another axis than its columns, with a "
    "step, or of a convolution with groups; use quantize_static or --host-fallback",
    lambda op, fits: fits,
)
ALONE = Limit(
    "{op} of '{name}', which is {what}; {legal}", lambda op, name, what, legal: not what
)
MOVED = Limit(
    "{op} of value '{name}', which is {what}; must be whole pixels or rows of one value, or 0 "
    "around them; use quantize_static or --host-fallback",
    lambda op, name, what: not what,
)
SUMMANDS = Limit(
    "neither '{first}' nor '{second}' is the result of one product or convolution, which the other "
    "could be added to; use quantize_static or --host-fallback",
    lambda first, second, layer: layer,
)
ORDERS = Limit(
    "'{first}' is {x} and '{second}' {y}, or their elements lie in different orders; must be the "
    "same",
    lambda first, second, x, y, same: same,
)
COLUMNS = Limit(
    "{what} is {shape}; must be one for all or one for each column",
    lambda what, shape, fits: fits,
)

OPERATORS = (
    Operator(
        "DynamicQuantizeLinear, MatMulInteger, ConvInteger and what follows",
        (
            Form("dynamic", ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger",
                             "DynamicQuantizeMatMul"), "runtime"),
        ),
        "dynamic.dynamic_quantize",
        (TENSOR, VALUE, REST, SUMS, INPUT, BETWEEN, SCALE, FINITE, BOUND, RIGHT, OWN_ZERO, SHAPES,
         PAIR, OWN_SCALE, POOLED, COLUMNS, SLICED, ALONE, MOVED, SUMMANDS, ORDERS, *LIMITS),
        "as `quantize_dynamic` writes them, or as ONNX Runtime fuses them: products with "
        "constants and of two such tensors, batched and broadcast, 1-D and 2-D convolutions with "
        "groups, MaxPool, views, beside static layers; LeakyRelu and PRelu with constant slopes, "
        "sums of two layers, or of one and a graph input, Concat, Split and Slice of columns, and "
        "Pad, Resize to the nearest, Tile, Expand and Gather of whole pixels, whose values are in "
        "memory in binary32 (`real.bytes`); Clip with constant bounds, HardSigmoid, HardSwish, "
        "BatchNormalization, products of two layers, factors and offsets for each column "
        "(`real.functions`); over all of binary32 with its denormal numbers; a tensor without a "
        "finite range is refused by name; any number of quantizations alive; float inputs and "
        "outputs converted by the host, with a function or softmax in front of an output, or int32 "
        "sums as outputs, of integer inputs too",
        ("tests/compiler/test_dynamic.py", "tests/compiler/test_dynamic_conv.py",
         "tests/compiler/test_mixed.py", "tests/compiler/test_integer_sums.py",
         "tests/compiler/test_dynamic_product.py", "tests/compiler/test_dynamic_real.py",
         "tests/compiler/test_dynamic_windows.py", "tests/compiler/test_dynamic_functions.py",
         "tests/compiler/test_dynamic_moves.py", "tests/compiler/test_unfused.py"),
        otherwise=lambda _context, _node: DYNAMIC,
    ),
)
