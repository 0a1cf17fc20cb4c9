# SPDX-License-Identifier: Apache-2.0
"""Gather, Tile, Expand and the like: which element of the input each one of the result is, ONNX
Runtime itself says, so that no attribute is read in two ways."""

from collections.abc import Iterator, Mapping
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from kiwicha.compiler.frontend.onnx_node import Refusal
from kiwicha.compiler.frontend.session import open_session, runtime_message
from kiwicha.compiler.graph.graph import Box, Picked, Shape
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.operator import Form, Operator, first_is_float
from kiwicha.compiler.ops.part import float_parts, parts
from kiwicha.errors import ModelError

__all__ = ["OPERATORS", "elements", "places_in"]

_DIGIT = 4096  # float32 holds such numbers, and the runtime moves float32 with every operator

_GATHERS = (
    "Gather", "GatherElements", "GatherND", "Tile", "Expand", "ReverseSequence", "Compress",
)


def elements(
    context: Context, node: onnx.NodeProto, shape: Shape
) -> Iterator[tuple[str, Box | Picked]]:
    """Yield the one output, and which elements of the input it is."""
    places = places_in(context, node, {node.input[0]: shape})
    index = np.unravel_index(places, shape)
    yield node.output[0], _box(index, shape) or Picked(tuple(map(np.asarray, index)))


def places_in(
    context: Context, node: onnx.NodeProto, shapes: Mapping[str, Shape]
) -> NDArray[np.int64]:
    """Return the place of each element of the result in some inputs, in ONNX order and these one
    after the other; the others are constants."""
    constants = {
        name: context.constant(node, place, "input")
        for place, name in enumerate(node.input) if name and name not in shapes
    }
    kind, first, numbers = onnx.TensorProto.FLOAT, 0, {}
    for name, shape in shapes.items():
        numbers[name] = np.divmod(first + np.arange(prod(shape)).reshape(shape), _DIGIT)
        first += prod(shape)
    graph = helper.make_graph(
        [node], "places",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()],
        [helper.make_empty_tensor_value_info(node.output[0])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = context.model
    try:
        session = open_session(
            helper.make_model(
                graph, ir_version=model.ir_version, opset_imports=model.opset_import
            ),
            context.settings,
        )
        high, low = (
            np.asarray(session.run(
                None, {n: np.asarray(digits[place], np.float32) for n, digits in numbers.items()}
            )[0]).astype(np.int64)
            for place in (0, 1)
        )
    except ModelError as error:
        raise Refusal(str(error)) from None
    except Exception as error:  # the runtime's exception classes share no public base
        raise Refusal(f"ONNX Runtime cannot run it: {runtime_message(error)}") from None
    return high * _DIGIT + low


def _box(index: tuple[NDArray[np.int64], ...], shape: Shape) -> Box | None:
    """Return elements that each axis chooses by itself; None where they are others."""
    result = index[0].shape if index else ()
    if len(result) != len(shape) or 0 in result:
        return None
    axes = []
    for axis, places in enumerate(index):
        line = np.moveaxis(places, axis, 0).reshape(len(places) and result[axis], -1)[:, 0]
        if (places != line.reshape([-1 if a == axis else 1 for a in range(len(result))])).any():
            return None
        axes.append(_stepped(line))
    return Box(tuple(axes))


def _stepped(line: NDArray[np.int64]) -> range | tuple[int, ...]:
    first, step = int(line[0]), int(line[1] - line[0]) if line.size > 1 else 1
    if step and (np.diff(line) == step).all():
        return range(first, first + step * line.size, step)
    return tuple(line.tolist())


OPERATORS = (
    Operator(
        ", ".join(_GATHERS),
        (
            Form("QDQ", _GATHERS, "runtime", float_parts(elements), first_is_float),
            Form("QOperator", _GATHERS, "runtime", parts(elements)),
        ),
        "",
        (),
        "constant indices, shapes, repeats, lengths and conditions, along any axes",
        ("tests/compiler/test_pick.py",),
    ),
)
