# SPDX-License-Identifier: Apache-2.0
"""What the rules of TFLite's operators share: tensors as the file has them, or as images.

A rule for an operator of TFLite stands in the file of the operator that it is; its `Form` has kind
"TFLite" and TFLite's name. It takes the context and the operator (`compiler.frontend.tflite.model`
says how it is carried), and four functions give it all that it emits nodes with:

- `operand` : an input, in the file's order of axes;
- `image` : an input of rank 4 as N C H W, its bytes where they are;
- `target` : the result, in the file's order, or with ``image=True`` as N C H W;
- `options` : the operator as a rule of ONNX would get it, with attributes of its choice, for the
  functions that emit nodes of either language (`compiler.ops.conv.emit_conv`).

`given_options` has the operator's own options, `activation` the bounds that a fused one sets,
`codes_of` constants. Each limit is a `Limit`, with a file that breaks it in
tests/compiler/limit_tflite.py; types, scales and zero points are checked before the rule is called.

Tensors lie in memory as in the file, always, so that neither form costs a copy: one is a view of
the other, emitted when somebody asks for it.
"""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from kiwicha.compiler.frontend.limit import Limit, check_scale
from kiwicha.compiler.frontend.onnx_node import Unknown, attributes, node_name
from kiwicha.compiler.frontend.tflite.model import DOMAIN, TfliteTensor
from kiwicha.compiler.graph.graph import Shape, Tensor, ViewNode
from kiwicha.compiler.graph.layout import ROW_MAJOR, channels_last
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.limits import ACTIVATION, ONE_SCALE

__all__ = [
    "GENERAL", "SAME_SCALE", "activation", "assumed", "check_tensors", "codes_of", "given_options",
    "image", "in_file_order", "in_its_form", "input_tensor", "label", "operand", "options",
    "padding", "target",
]

_BOUNDS = {
    "NONE": (-np.inf, np.inf), "RELU": (0.0, np.inf), "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
_INT16 = Limit(
    "'{name}' is int16: int16x8 models are not supported; quantize activations to int8",
    lambda name, kind: kind != "int16",
)
_FLOAT = Limit(
    "'{name}' is {kind}: the model is float, or quantized dynamically; quantize its activations to "
    "int8, too",
    lambda name, kind: kind not in ("float32", "float16", "float64"),
)
_KIND = Limit(
    "'{name}' is {kind}; must be int8 or uint8", lambda name, kind: kind in ("int8", "uint8")
)
_SCALE = Limit("'{name}' has no scale; quantize it", lambda name, scales: scales > 0)
_ZERO = Limit(
    "'{name}' has zero point {zero}; {kind} takes {low} to {high}",
    lambda name, kind, zero, low, high: low <= zero <= high,
)
_OPTION = Limit("the file gives no {name}", lambda name, given: name in given)
_POSITIVE = Limit(
    "kernel, strides and dilations must be at least 1, are {values}", lambda values: min(values) > 0
)
_OPERANDS = Limit(
    "reads {read} tensors; must read {operands}", lambda read, operands: read == operands
)
_SHAPE = Limit(
    "its result is {made} by its operands, '{name}' {told} by the file",
    lambda name, made, told: made == told,
)
_IMAGE = Limit("'{name}' has {rank} dimensions; must have 4", lambda name, rank: rank == 4)
_ACTIVATION = Limit(
    "fused activation {word}; must be RELU, RELU6, RELU_N1_TO_1 or NONE",
    lambda word: word in _BOUNDS,
)
SAME_SCALE = Limit(
    "its operand has scale {x.scale}, zero point {x.zero_point}, its result {y.scale} and "
    "{y.zero_point}; must be the same",
    lambda x, y: abs(x.scale - y.scale) <= 1e-6 and x.zero_point == y.zero_point
    and x.dtype == y.dtype,
)
GENERAL = (
    _OPERANDS, _INT16, _FLOAT, _KIND, _SCALE, _ZERO, _OPTION, _POSITIVE, _SHAPE, _IMAGE,
    _ACTIVATION,
)
"""Limits that all of TFLite's operators have."""

_INDICES = ("int32", "int64", "bool")
"""Types of shapes, axes and biases, which are constants."""
_TO_IMAGE, _TO_FILE = (0, 3, 1, 2), (0, 2, 3, 1)


# Tensors -------------------------------------------------------------------------------------


def check_tensors(
    context: Context, node: onnx.NodeProto, edge: Literal["", "input", "output"], operands: int
) -> None:
    """Refuse an operator whose operands or results the machine has no tensors of.

    Parameters
    ----------
    edge : what may be float32: the inputs, the outputs, or nothing ("").
    operands : how many tensors it reads at least.
    """
    read = sum(map(bool, node.input[:operands]))
    _OPERANDS.check(read=read, operands=operands)
    for name in filter(None, (*node.input, *node.output)):
        described = context.described[name]
        kind = described.kind
        if kind in _INDICES and described.constant:
            continue
        if kind == "float32" and edge == ("input" if name in node.input else "output"):
            continue
        _INT16.check(name=name, kind=kind)
        _FLOAT.check(name=name, kind=kind)
        _KIND.check(name=name, kind=kind)
        _SCALE.check(name=name, scales=described.scale.size)
        info = np.iinfo(kind)
        for zero in described.zero:
            _ZERO.check(name=name, kind=kind, zero=int(zero), low=info.min, high=info.max)
        check_scale(described.scale, f"scale of '{name}'")
        if not described.constant:
            ONE_SCALE.check(what=f"'{name}'", scales=described.scale.size, zeros=1)


def input_tensor(context: Context, name: str) -> Tensor:
    """Return a graph input of codes, or a constant; who reads it checks its scale."""
    described = context.described[name]
    codes = Tensor(name, described.shape, np.dtype(described.kind), np.float32(1), 0)
    return assumed(described, codes)


def assumed(described: TfliteTensor, unknown: Tensor) -> Tensor:
    """Return what a refused operator would have made, ``unknown`` with its scale and zero point."""
    if described.scale.size != 1 or described.zero.size != 1:
        return unknown
    return replace(unknown, scale=described.scale[0], zero_point=int(described.zero[0]))


def _described(described: TfliteTensor) -> Tensor:
    ONE_SCALE.check(
        what=f"'{described.name}'", scales=described.scale.size, zeros=described.zero.size
    )
    return Tensor(
        described.name, described.shape, np.dtype(described.kind),
        np.float32(described.scale[0]), int(described.zero[0]),
    )


def operand(context: Context, node: onnx.NodeProto, index: int = 0) -> Tensor:
    """Return an input in the file's order of axes."""
    return in_file_order(context, _activation_name(context, node, index))


def image(context: Context, node: onnx.NodeProto, index: int = 0) -> Tensor:
    """Return an input of rank 4 as N C H W, channels last in memory."""
    name = _activation_name(context, node, index)
    if name in context.images:
        return context.tensors[context.images[name]]
    x = context.tensors[name]
    _IMAGE.check(name=name, rank=len(x.shape))
    made = context.names.fresh(name, "image")
    shape = tuple(x.shape[axis] for axis in _TO_IMAGE)
    y = replace(x, name=made, shape=shape, layout=channels_last(4))
    context.emit(ViewNode(made, "Transpose", x, y, _TO_IMAGE))
    context.images[name] = made
    return y


def in_its_form(context: Context, node: onnx.NodeProto, index: int = 0) -> tuple[Tensor, bool]:
    """Return an input in the form that it has already, and whether that is an image: for what
    looks at each code by itself."""
    name = _activation_name(context, node, index)
    as_image = name not in context.tensors
    return (image if as_image else operand)(context, node, index), as_image


def in_file_order(context: Context, name: str) -> Tensor:
    """Return a tensor of the file in the file's order of axes."""
    if name not in context.tensors:
        x = context.tensors[context.images[name]]
        shape = tuple(x.shape[axis] for axis in _TO_FILE)
        y = replace(x, name=name, shape=shape, layout=ROW_MAJOR)
        context.emit(ViewNode(context.names.fresh(name, "order"), "Transpose", x, y, _TO_FILE))
    return context.tensors[name]


def _activation_name(context: Context, node: onnx.NodeProto, index: int) -> str:
    name = node.input[index] if index < len(node.input) else ""
    if name in context.unknown:
        raise Unknown
    ACTIVATION.check(name=name, constants=context.constants)
    if name not in context.tensors and name not in context.images:
        raise Unknown
    return name


def target(
    context: Context, node: onnx.NodeProto, shape: Shape | None = None, *, image: bool = False
) -> Tensor:
    """Return the tensor that is the operator's result.

    Parameters
    ----------
    shape : as the operands make it, in the file's order, where the operator follows from them.
    image : as N C H W, channels last in memory; of rank 4.
    """
    y = _described(context.described[node.output[0]])
    if shape is not None:
        _SHAPE.check(name=y.name, made=shape, told=y.shape)
    if not image:
        return y
    _IMAGE.check(name=y.name, rank=len(y.shape))
    name = context.images[y.name] = context.names.fresh(y.name, "image")
    shape = tuple(y.shape[axis] for axis in _TO_IMAGE)
    return replace(y, name=name, shape=shape, layout=channels_last(4))


def codes_of(
    context: Context, node: onnx.NodeProto, index: int, what: str
) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[Any], int]:
    """Return a constant input of codes: values in the file's order, scales, zero points of its own
    type, and the axis along which there are several."""
    name = node.input[index] if index < len(node.input) else ""
    values = context.constant(node, index, what)
    described = context.described[name]
    return values, described.scale, described.zero.astype(values.dtype), described.axis


# Options -------------------------------------------------------------------------------------


def activation(node: onnx.NodeProto, y: Tensor) -> tuple[int, int]:
    """Return the bounds, inclusive, of the codes of ``y`` under the fused activation, as TFLite has
    them (``CalculateActivationRangeQuantized``)."""
    word = attributes(node).get("fusedActivationFunction", "NONE")
    _ACTIVATION.check(word=word)
    info = np.iinfo(y.dtype)
    bounds = []
    for real, edge in zip(_BOUNDS[word], (info.min, info.max), strict=True):
        if not np.isfinite(real):
            bounds.append(int(edge))
            continue
        ratio = np.float32(real) / y.scale
        code = int(np.sign(ratio) * np.floor(np.abs(ratio) + np.float32(0.5))) + y.zero_point
        bounds.append(min(max(code, int(info.min)), int(info.max)))
    return bounds[0], bounds[1]


class _Given(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        _OPTION.check(name=name, given=self)


def given_options(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the operator's options by name; asking for one that the file leaves out refuses it."""
    return _Given(attributes(node))


def label(node: onnx.NodeProto) -> str:
    """Return the operator and what is fused into it, for the report."""
    word = attributes(node).get("fusedActivationFunction", "NONE")
    return node.op_type if word == "NONE" else f"{node.op_type} + {word}"


def options(node: onnx.NodeProto, **given: Any) -> onnx.NodeProto:
    """Return the operator with attributes as ONNX calls them in place of its own."""
    made = helper.make_node(
        node.op_type, node.input, node.output, name=node_name(node), domain=DOMAIN, **given
    )
    return made


def padding(word: str, size: Shape, kernel: Shape, strides: Shape, dilations: Shape) -> list[int]:
    """Return the pads top, left, bottom, right of TFLite's padding SAME or VALID: with SAME, of
    kernels as dilations spread them, the odd one behind the image."""
    _POSITIVE.check(values=[*kernel, *strides, *dilations])
    if word == "VALID":
        return [0, 0, 0, 0]
    before, after = [], []
    for length, taps, stride, dilation in zip(size, kernel, strides, dilations, strict=True):
        count = -(-length // stride)
        needed = max(0, (count - 1) * stride + (taps - 1) * dilation + 1 - length)
        before.append(needed // 2)
        after.append(needed - needed // 2)
    return [*before, *after]
