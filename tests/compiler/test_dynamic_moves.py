# SPDX-License-Identifier: Apache-2.0
"""Pixels and rows of binary32 values that are moved between dynamically quantized layers: golden
machine, golden network and ONNX Runtime agree."""

import numpy as np
import pytest
from onnx import helper

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import UnsupportedModel

from .test_dynamic import quantized
from .test_dynamic_conv import conv
from .test_dynamic_functions import checked, clip, configs
from .test_dynamic_real import linear, of

F32 = np.float32
node = helper.make_node

PADS = {
    "both": ([0, 0, 1, 2, 0, 0, 2, 1], "constant"), "one": ([0, 0, 0, 3, 0, 0, 0, 0], "constant"),
    "less": ([0, 0, -1, 2, 0, 0, 0, -1], "constant"), "edge": ([0, 0, 1, 2, 0, 0, 2, 1], "edge"),
    "reflect": ([0, 0, 1, 2, 0, 0, 2, 1], "reflect"),
    "images": ([1, 0, 0, 0, 0, 0, 0, 0], "constant"),
}


@configs
@pytest.mark.parametrize("pads", PADS)
@pytest.mark.parametrize("before", ["Relu", "Clip", "sum"])
def test_pad(tmp_path, config, pads, before):
    rng, constants = np.random.default_rng(1), {"pads": np.array(PADS[pads][0])}
    nodes = [conv("a", "x", (4, 3, 3, 3), rng, constants, pads=[1] * 4)]
    if before == "Relu":
        nodes.append(of("Relu", ["a"], "b"))
    elif before == "Clip":
        nodes.append(clip("a", "b", constants, -1, 1))
    else:
        nodes += [conv("s", "x", (4, 3, 1, 1), rng, constants), of("Add", ["a", "s"], "r"),
                  of("Relu", ["r"], "b")]
    nodes += [of("Pad", ["b", "pads"], "p", mode=PADS[pads][1]),
              conv("y", "p", (2, 4, 2, 2), rng, constants)]
    checked(tmp_path, config, nodes, constants, [1, 3, 5, 6])


@configs
def test_causal_sequences(tmp_path, config):
    """As a temporal network has them: padded in front, a short cut around."""
    rng, constants = np.random.default_rng(2), {"front": np.array([0, 0, 2, 0, 0, 0])}
    nodes = [
        conv("a", "x", (4, 3, 1), rng, constants), of("Relu", ["a"], "r"),
        of("Pad", ["r", "front"], "p"), conv("b", "p", (4, 4, 3), rng, constants),
        of("Add", ["b", "r"], "s"), of("Relu", ["s"], "t"), of("Pad", ["t", "front"], "q"),
        conv("y", "q", (2, 4, 3), rng, constants),
    ]
    checked(tmp_path, config, nodes, constants, [2, 3, 9])


@configs
@pytest.mark.parametrize("factors", [(1, 1, 2, 2), (1, 1, 3, 1), (1, 1, 1.5, 2)])
def test_resize_to_the_nearest(tmp_path, config, factors):
    """In front of a concatenation, as YOLO has it, and alone, as graph output."""
    rng, constants = np.random.default_rng(3), {"factors": np.array(factors, F32)}
    nodes = [
        conv("a", "x", (4, 3, 1, 1), rng, constants), of("LeakyRelu", ["a"], "b", alpha=0.1),
        of("Resize", ["b", "", "factors"], "r", mode="nearest"),
        conv("c", "r", (3, 4, 1, 1), rng, constants), of("Concat", ["r", "c"], "t", axis=1),
        conv("y", "t", (2, 7, 2, 2), rng, constants),
    ]
    checked(tmp_path, config, nodes, constants, [1, 3, 4, 4], ("y", "r"))


@configs
@pytest.mark.parametrize("op", ["Tile", "Expand", "Gather"])
def test_rows(tmp_path, config, op):
    rng, constants = np.random.default_rng(4), {}
    nodes = linear("a", "x", 6, 5, rng, constants)
    if op == "Tile":
        constants["n"] = np.array([1, 2, 1])
    elif op == "Expand":
        constants["n"] = np.array([2, 3, 5])
    else:
        constants["n"] = np.array([2, 0, 2])
    more = {"axis": 1} if op == "Gather" else {}
    shape = [2, 1, 6] if op == "Expand" else [2, 3, 6]
    nodes += [of("Relu", ["a"], "b"), of(op, ["b", "n"], "c", **more),
              *linear("y", "c", 5, 3, rng, constants)]
    checked(tmp_path, config, nodes, constants, shape)


@pytest.mark.parametrize(("nodes", "message"), [
    ([of("Pad", ["a", "pads", "five"], "b")], "which is padded with 5 there; must be"),
    ([of("Pad", ["a", "wide"], "b")], "which is cut into channels; must be"),
    ([clip("a", "c", {}, None, None), of("Resize", ["c", "", "factors"], "b", mode="linear")],
     "which is made by linear interpolation; must be"),
    ([of("Transpose", ["a"], "c", perm=[0, 1, 3, 2]), of("Pad", ["c", "pads"], "b")],
     "which is moved or pooled before; must be"),
])
def test_what_is_refused(tmp_path, nodes, message):
    rng, constants = np.random.default_rng(5), {}
    constants |= {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "five": np.array(5, F32)}
    constants["wide"] = np.array([0, 1, 0, 0, 0, 1, 0, 0])
    constants["factors"] = np.array([1, 1, 2, 2], F32)
    channels = 6 if any("wide" in n.input for n in nodes) else 4
    nodes = [conv("a", "x", (4, 3, 1, 1), rng, constants), *nodes,
             conv("y", "b", (2, channels, 1, 1), rng, constants)]
    with pytest.raises(UnsupportedModel, match=f"'b' .*{message}"):
        legalize(lower(quantized(tmp_path, nodes, constants, [1, 3, 4, 4])))
