# SPDX-License-Identifier: Apache-2.0
"""Every layer takes every order of bytes: where no layout absorbs a transposition, a copy does."""

import numpy as np
import pytest

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

U8, S8 = np.uint8, np.int8
X, A, W = (["x_s", "x_z"], ["a_s", "a_z"], ["w_s", "w_z"])


def matmul(source, weights, target):
    return node("QLinearMatMul", [source, *A, weights, *W, *A], [target], name=f"make_{target}")


READERS = {
    "matmul over a row of pixels": [matmul("c", "N8", "yq")],
    "matmul over channels first": [
        node("Transpose", ["c"], ["t"], perm=[0, 3, 2, 1]), matmul("t", "N6", "yq")],
    "product of images": [
        node("QLinearMatMul", ["c", *A, "t", *A, *A], ["yq"], name="product")],
    "softmax over a row": [
        node("QLinearSoftmax", ["c", *A, *A], ["yq"], name="softmax", axis=-1, opset=13,
             domain="com.microsoft")],
    "parts of a flat image": [
        node("Reshape", ["c", "flat"], ["r"]), node("Slice", ["r", "two", "nine", "one"], ["s"]),
        node("Concat", ["s", "s"], ["yq"], axis=1, name="concat")],
    "a convolution of what was flat": [
        node("Reshape", ["c", "flat"], ["r"]), node("Reshape", ["r", "image"], ["i"]),
        node("QLinearConv", ["i", *A, "K", *W, *A], ["yq"], name="conv")],
    "a pooling of heads": [
        node("Reshape", ["c", "heads"], ["h"]), node("Transpose", ["h"], ["t"], perm=[0, 2, 3, 1]),
        node("MaxPool", ["t"], ["yq"], kernel_shape=[2, 2], name="pool")],
    "a sum with another order": [
        node("Reshape", ["c", "flat"], ["i"]), node("Transpose", ["d"], ["t"], perm=[0, 1, 3, 2]),
        node("Reshape", ["t", "flat"], ["u"]),
        node("QLinearAdd", ["i", *A, "u", *A, *A], ["yq"], name="sum", domain="com.microsoft")],
}
CONSTANTS = scales(x=(0.05, U8(120)), a=(0.1, U8(130)), w=(0.02, S8(0))) | {
    "flat": np.array([2, -1]), "image": np.array([2, 8, 6, 4]), "heads": np.array([2, 4, 6, 8]),
    "two": np.array([2]), "nine": np.array([99]), "one": np.array([1]),
}


@pytest.mark.parametrize("name", READERS)
def test_behind_a_convolution(name):
    rng = np.random.RandomState(2)
    shapes = {"U": (6, 3, 1, 1), "N8": (8, 5), "N6": (6, 5), "K": (4, 8, 3, 3)}
    constants = CONSTANTS | {
        name: rng.randint(-9, 9, shape).astype(S8) for name, shape in shapes.items()}
    nodes = [
        q("x", "xq", "x"), node("QLinearConv", ["xq", *X, "U", *W, *A], ["c"], name="first"),
        node("QLinearConv", ["xq", *X, "U", *W, *A], ["d"], name="other"),
        node("Transpose", ["d"], ["t"], perm=[0, 1, 3, 2]) if "product" in name else None,
        *READERS[name], dq("yq", "y", "a")]
    graph = agree(model([made for made in nodes if made], constants, {"x": [2, 3, 4, 8]}))
    assert any(n.kind == "move" for n in graph.nodes), [n.kind for n in graph.nodes]
    runs(graph, "default")


def test_readers_share_a_copy():
    rng = np.random.RandomState(2)
    constants = CONSTANTS | {"U": rng.randint(-9, 9, (6, 3, 1, 1)).astype(S8),
                             "N8": rng.randint(-9, 9, (8, 5)).astype(S8)}
    nodes = [
        q("x", "xq", "x"), node("QLinearConv", ["xq", *X, "U", *W, *A], ["c"], name="first"),
        matmul("c", "N8", "m"), matmul("c", "N8", "n"), dq("m", "y", "a"), dq("n", "z", "a")]
    graph = agree(model(nodes, constants, {"x": [2, 3, 4, 8]}, ("y", "z")))
    assert [n.kind for n in graph.nodes].count("move") == 1
    (note,) = [note for note in graph.notes if "another order" in note.text]
    assert note.text.startswith("'c' is copied")
    runs(graph, "default")
