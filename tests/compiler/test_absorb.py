# SPDX-License-Identifier: Apache-2.0
"""Copies that are not made: parts read in place, and operands of a concatenation written in place;
the same bits, in fewer cycles, and a line in the report."""

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.machine.presets import preset

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

U8, S8 = np.uint8, np.int8
X, A, W = (["x_s", "x_z"], ["a_s", "a_z"], ["w_s", "w_z"])
CONFIGS = ("tiny", "default")


def constants(**shapes):
    rng = np.random.RandomState(3)
    made = scales(x=(0.05, U8(120)), a=(0.1, U8(130)), w=(0.02, S8(0)))
    return made | {name: rng.randint(-9, 9, shape).astype(S8) for name, shape in shapes.items()}


def conv(source, weights, target, name, scale=A, **given):
    inputs = [source, *scale, weights, *W, *A]
    return node("QLinearConv", inputs, [target], name=name, **given)


def notes(graph, config="default"):
    """Return what is said of copies, and of how many layers the program is."""
    compiled = compile_graph(graph, preset(config))
    return [note.text for note in compiled.notes], len(compiled.layers)


def split(axis, shape, readers, weights, outputs=("y", "z"), parts=None):
    given = constants(U=(64, 2, 1, 1), **weights)
    names = ["c"]
    if parts is not None:
        given["parts"] = np.array(parts)
        names.append("parts")
    nodes = [q("x", "xq", "x"), conv("xq", "U", "c", "first", X),
             node("Split", names, ["p", "o"], axis=axis, name="split"), *readers]
    nodes += [dq(f"{name}q", name, "a") for name in outputs]
    return model(nodes, given, {"x": shape}, outputs, opset=13)


def part_model(kernel=3, stride=2):
    """Return a network that convolves two halves of an image's channels."""
    given = {"pads": [kernel // 2] * 4, "strides": [stride] * 2}
    readers = [conv("p", "V", "yq", "left", **given), conv("o", "V", "zq", "right", **given)]
    return split(1, [2, 2, 7, 6], readers, {"V": (9, 32, kernel, kernel)})


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_channels_read_by_convolutions(kernel, stride):
    graph = agree(part_model(kernel, stride))
    told, layers = notes(graph)
    assert told == [f"nothing is copied: '{name}' is read where it lies in 'c'" for name in "po"]
    assert layers == 3
    for config in CONFIGS:
        runs(graph, config)


def test_channels_read_by_a_pooling_and_a_product():
    readers = [node("MaxPool", ["p"], ["yq"], kernel_shape=[2, 2], pads=[0, 1, 0, 1], name="pool"),
               node("Transpose", ["o"], ["t"], perm=[0, 2, 3, 1]),
               node("QLinearMatMul", ["t", *A, "M", *W, *A], ["zq"], name="matmul")]
    graph = agree(split(1, [1, 2, 5, 6], readers, {"M": (24, 7)}, parts=[40, 24]))
    told, layers = notes(graph)
    assert len(told) == 1 + (layers == 3)
    for config in CONFIGS:
        runs(graph, config)


def test_rows_read_by_anything():
    """A part that is one run of bytes."""
    readers = [conv("p", "V", "yq", "left"), node("QLinearLeakyRelu", ["o", *A, *A], ["zq"],
                                                  name="leaky", domain="com.microsoft")]
    graph = agree(split(2, [1, 2, 6, 5], readers, {"V": (9, 64, 3, 3)}))
    assert notes(graph) == ([
        f"nothing is copied: '{name}' is read where it lies in 'c'" for name in "po"], 3)
    runs(graph, "default")


def test_few_channels_are_copied_where_that_is_faster():
    readers = [conv("p", "V", "yq", "left"), conv("o", "U2", "zq", "right")]
    built = split(1, [1, 2, 6, 5], readers, {"V": (9, 4, 3, 3), "U2": (9, 60, 1, 1)}, parts=[4, 60])
    told, layers = notes(agree(built))
    assert told == ["nothing is copied: 'o' is read where it lies in 'c'"]
    assert layers == 4


def test_an_output_and_an_addition_have_copies():
    readers = [node("QLinearAdd", ["p", *A, "o", *A, *A], ["yq"], name="sum",
                    domain="com.microsoft"), node("Identity", ["o"], ["zq"])]
    told, layers = notes(agree(split(1, [1, 2, 4, 4], readers, {})))
    assert told == []
    assert layers == 4


def test_heads_of_one_product():
    """Queries, keys and values side by side, as one matrix product makes them."""
    given = constants(Q=(24, 192)) | {"heads": np.array([2, 8, 2, 32])}
    nodes = [q("x", "xq", "x"), node("QLinearMatMul", ["xq", *X, "Q", *W, *A], ["qkv"], name="qkv"),
             node("Split", ["qkv"], ["a", "b", "v"], axis=-1, name="split")]
    for name, perm in (("a", [0, 2, 1, 3]), ("b", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [node("Reshape", [name, "heads"], [f"{name}r"]),
                  node("Transpose", [f"{name}r"], [f"{name}t"], perm=perm)]
    nodes += [node("QLinearMatMul", ["at", *A, "bt", *A, *A], ["s"], name="score"),
              node("QLinearMatMul", ["s", *A, "vt", *A, *A], ["yq"], name="mix"),
              dq("yq", "y", "a")]
    graph = agree(model(nodes, given, {"x": [2, 8, 24]}, opset=13))
    told, _ = notes(graph)
    assert told == [f"nothing is copied: '{name}' is read where it lies in 'qkv'" for name in "abv"]
    runs(graph, "default")


def test_heads_of_one_product_by_index():
    """As PyTorch's attention exports them: three slices of one reshaped and transposed product."""
    given = constants(Q=(24, 192)) | {"heads": np.array([2, 8, 3, 2, 32])} | {
        f"i{place}": np.array(place) for place in range(3)}
    nodes = [q("x", "xq", "x"), node("QLinearMatMul", ["xq", *X, "Q", *W, *A], ["m"], name="qkv"),
             node("Reshape", ["m", "heads"], ["r"]),
             node("Transpose", ["r"], ["t"], perm=[2, 0, 3, 1, 4])]
    nodes += [node("Gather", ["t", f"i{place}"], [name], axis=0, name=f"take_{name}")
              for place, name in enumerate("abv")]
    nodes += [node("Transpose", ["b"], ["bt"], perm=[0, 1, 3, 2]),
              node("QLinearMatMul", ["a", *A, "bt", *A, *A], ["s"], name="score"),
              node("QLinearMatMul", ["s", *A, "v", *A, *A], ["yq"], name="mix"),
              dq("yq", "y", "a")]
    graph = agree(model(nodes, given, {"x": [2, 8, 24]}, opset=13))
    told, _ = notes(graph)
    # ONNX Runtime may have made a Split of them, whose results have names of its own.
    assert [text.startswith("nothing is copied") for text in told] == [True] * 3
    runs(graph, "default")


def joined(operands, axis):
    nodes = [q("x", "xq", "x")]
    for place, (maker, *rest) in enumerate(operands):
        nodes.append(maker(f"o{place}", *rest))
    names = [f"o{place}" for place in range(len(operands))]
    nodes += [node("Concat", names, ["c"], axis=axis, name="join"),
              conv("c", "L", "yq", "last"), dq("yq", "y", "a")]
    return nodes


def from_conv(target, weights, **given):
    return conv("xq", weights, target, f"make_{target}", X, **given)


def from_pool(target, **given):
    return node("MaxPool", ["xq"], [target], kernel_shape=[1, 1], name=f"make_{target}", **given)


def from_table(target):
    return node("QLinearLeakyRelu", ["xq", *X, *A], [target], name=f"make_{target}",
                domain="com.microsoft")


def concatenated():
    """Return an Inception block: two convolutions and a pooling side by side."""
    given = constants(U=(5, 3, 1, 1), V=(12, 3, 3, 3), L=(4, 20, 1, 1))
    padded = (lambda y: from_conv(y, "V", pads=[1] * 4),)
    nodes = joined([(from_conv, "U"), padded, (from_pool,)], 1)
    return model(nodes, given, {"x": [2, 3, 6, 5]}, opset=13)


def test_branches_written_side_by_side():
    graph = agree(concatenated())
    assert notes(graph) == ([
        "nothing is copied: 'o0', 'o1', 'o2' written where it is in 'c'"], 4)
    for config in (*CONFIGS, "wide"):
        runs(graph, config)


def test_what_cannot_write_apart_is_copied():
    """A table of channels; the other operand is written in place."""
    given = constants(U=(5, 3, 1, 1), L=(4, 8, 1, 1))
    graph = agree(model(joined([(from_conv, "U"), (from_table,)], 1), given,
                        {"x": [2, 3, 6, 5]}, opset=13))
    assert notes(graph) == (["not all is copied: 'o0' written where it is in 'c'"], 4)
    runs(graph, "default")


def test_a_table_writes_rows():
    given = constants(L=(4, 3, 1, 1))
    graph = agree(model(joined([(from_table,), (from_table,)], 2), given,
                        {"x": [1, 3, 6, 5]}, opset=13))
    assert notes(graph) == (["nothing is copied: 'o0', 'o1' written where it is in 'c'"], 3)
    runs(graph, "default")


@pytest.mark.parametrize("case", ["read twice", "an output", "twice the same"])
def test_operands_that_others_read_are_copied(case):
    given = constants(U=(5, 3, 1, 1), V=(5, 3, 1, 1), L=(4, 10, 1, 1), E=(4, 5, 1, 1))
    nodes = joined([(from_conv, "U"), (from_conv, "V")], 1)
    outputs = ["y"]
    if case == "read twice":
        nodes += [conv("o0", "E", "zq", "other"), dq("zq", "z", "a")]
        outputs.append("z")
    elif case == "an output":
        nodes.append(dq("o0", "z", "a"))
        outputs.append("z")
    else:
        nodes = [made for made in nodes if made.name != "make_o1"]
        next(made for made in nodes if made.name == "join").input[:] = ["o0", "o0"]
    graph = agree(model(nodes, given, {"x": [1, 3, 6, 5]}, outputs, opset=13))
    told, _ = notes(graph)
    assert told == {"twice the same": []}.get(case, [
        "not all is copied: 'o1' written where it is in 'c'"])
    runs(graph, "default")


def test_statistics_are_counted_of_copies():
    given = constants(U=(5, 3, 1, 1), V=(5, 3, 1, 1), L=(4, 10, 1, 1))
    nodes = joined([(from_conv, "U"), (from_conv, "V")], 1)
    graph = agree(model(nodes, given, {"x": [1, 3, 6, 5]}, opset=13))
    config = preset("tiny").replace(statistics={"elements": 1024})
    assert not compile_graph(graph, config, statistics=["join"]).notes


def test_parts_of_parts():
    """A part of a part is a copy of where that lies; of a graph input, too."""
    given = {name: np.array(value) for name, value in {
        "one": [1], "two": [2], "three": [3], "axis": [0]}.items()}
    nodes = [node("Slice", ["x", "one", "three", "axis"], ["p"], name="first"),
             node("Slice", ["p", "one", "two", "axis"], ["o"], name="second"),
             node("MaxPool", ["o"], ["y"], name="pool", kernel_shape=[2, 2])]
    graph = legalize(lower(model(nodes, given, {"x": [4, 3, 5, 4]},
                                 types=dict.fromkeys("xy", TensorProto.INT8))))
    told, layers = notes(graph)
    assert told == ["nothing is copied: 'p' is read where it lies in 'x'"]
    assert layers == 2
    runs(graph, "tiny")
