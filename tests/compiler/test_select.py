# SPDX-License-Identifier: Apache-2.0
"""ScatterElements, ScatterND, TensorScatter and Where of two tensors: equal to ONNX Runtime."""

import numpy as np
import pytest

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import UnsupportedModel

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

U8, S8 = np.uint8, np.int8
RNG = np.random.RandomState(5)
MASK = RNG.rand(2, 1, 5) < 0.5

CASES = {
    "elements": ("ScatterElements", [3, 5], [3, 2], np.array([[4, 0], [1, 2], [-1, 3]]),
                 {"axis": 1}),
    "rows of elements": ("ScatterElements", [4, 5], [2, 5], RNG.permutation(4)[:2, None].repeat(
        5, 1), {"axis": 0}),
    "old": ("Scatter", [1, 6], [1, 2], np.array([[5, 2]]), {"axis": 1}),
    "rows": ("ScatterND", [4, 3, 5], [2, 3, 5], np.array([[2], [0]]), {}),
    "single": ("ScatterND", [4, 3], [3], np.array([[0, 1], [3, 2], [1, 0]]), {}),
    "cache": ("TensorScatter", [2, 1, 4, 5], [2, 1, 2, 5], np.array([1, 2]), {}),
    "ring": ("TensorScatter", [2, 1, 4, 5], [2, 1, 2, 5], np.array([3, 2]),
             {"mode": "circular"}),
    "mask": ("Where", [2, 3, 5], [2, 3, 5], MASK, {}),
    "broadcast": ("Where", [3, 1], [2, 1, 5], MASK, {}),
}
OPSETS = {"TensorScatter": 24, "Scatter": 10}


def selected(name, dtype, *, constant="", after=()):
    """Both operands have a scale of their own; one may be a constant."""
    operator, shape, other, choice, attributes = CASES[name]
    names = {"x": shape, "u": other}
    read = ["c", "xf", "uf"] if operator == "Where" else ["xf", "c", "uf"]
    read = ["xf", "uf", "c"] if operator == "TensorScatter" else read
    nodes, constants = [], {"c": choice}
    constants |= scales(x=(0.05, dtype(7)), u=(0.04, dtype(19)), y=(0.045, dtype(11)))
    for key, size in names.items():
        if key == constant:
            constants[f"{key}f"] = RNG.randn(*size).astype(np.float32)
        else:
            nodes += [q(key, f"{key}q", key), dq(f"{key}q", f"{key}f", key)]
    nodes += [node(operator, read, ["p"], name="it", **attributes), *after]
    nodes += [q("f" if after else "p", "pq", "y"), dq("pq", "y", "y")]
    inputs = {key: size for key, size in names.items() if key != constant}
    return model(nodes, constants, inputs, opset=OPSETS.get(operator, 17))


@pytest.mark.parametrize("dtype", [U8, S8])
@pytest.mark.parametrize("name", CASES)
def test_two_tensors(name, dtype):
    runs(agree(selected(name, dtype)), "tiny" if dtype is S8 else "default")


@pytest.mark.parametrize("constant", ["x", "u"])
@pytest.mark.parametrize("name", ["elements", "rows", "cache", "broadcast"])
def test_one_is_constant(name, constant):
    runs(agree(selected(name, U8, constant=constant)), "default")


def test_what_follows():
    """A clip and a part of it."""
    after = [node("Relu", ["p"], ["r"]), node("Slice", ["r", "one", "three", "axis"], ["f"])]
    built = selected("rows", U8, after=after)
    for name, value in {"one": [1], "three": [3], "axis": [1]}.items():
        tensor = built.graph.initializer.add()
        tensor.CopyFrom(model([], {name: np.array(value)}, {}).graph.initializer[0])
    runs(agree(built), "default")


def test_a_scalar_under_a_larger_condition():
    """The condition broadcasts the other operand."""
    constants = scales(x=(0.05, U8(7)), y=(0.05, U8(9))) | {"c": MASK, "two": np.float32(2)}
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"),
             node("Where", ["c", "xf", "two"], ["p"], name="it"), q("p", "pq", "y"),
             dq("pq", "y", "y")]
    runs(agree(model(nodes, constants, {"x": [3, 1]})), "default")


def test_refusals():
    built = selected("elements", U8)
    built.graph.node[4].attribute.add(name="reduction", type="STRING", s=b"add")
    built.opset_import[0].version = 18
    with pytest.raises(UnsupportedModel, match=r"reduction add\); must be none"):
        legalize(lower(built))
