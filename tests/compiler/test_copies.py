# SPDX-License-Identifier: Apache-2.0
"""Copies between any two orders of bytes: what the machine makes of them, beside guard bytes and in
any order that the tokens allow; and in how much work."""

from collections import Counter

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.graph.graph import Box, Graph, MoveNode, Picked, Piece, Tensor, Value
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout, channels_last
from kiwicha.compiler.schedule.moves import move_works
from kiwicha.compiler.schedule.nest import nest_of
from kiwicha.golden.network import evaluate
from kiwicha.machine.presets import preset

from .random_nodes import CONFIGS, run_node

S8, U8 = np.dtype(np.int8), np.dtype(np.uint8)
NHWC = channels_last(4)


def copy(shape, x_layout, y_layout, source=None, dtype=S8, scale=1.0, zero=3):
    source = source or Box.whole(shape)
    x = Tensor("x", shape, dtype, np.float32(scale), zero, x_layout)
    y = Tensor("y", source.shape, dtype, np.float32(1), 3, y_layout)
    info = np.iinfo(dtype)
    piece = Piece(
        x, source, Box.whole(y.shape), np.float32(scale), np.float64(scale), info.min, info.max
    )
    return MoveNode("it", "Copy", (piece,), y)


def kinds(node, config):
    """Count transpositions, images through the identity and images through a selection."""
    moves = move_works(node, {"x": 0, "y": 1 << 22}, config)
    return Counter(
        "transposed" if move.cut else "picked" if move.work.weights is not None else "run"
        for move in moves
    )


def permuted(rng, rank):
    return Layout((("transpose", tuple(int(axis) for axis in rng.permutation(rank))),))


def along(rng, length):
    """Return which elements to take of an axis."""
    ways = [
        lambda: range(length), lambda: range(length - 1, -1, -1), lambda: (0,) * 3,
        lambda: range(int(rng.integers(length)), length),
        lambda: tuple(rng.integers(0, length, int(rng.integers(1, 6))).tolist()),
        lambda: tuple(np.repeat(np.arange(length), 2).tolist()),
    ]
    return ways[rng.choice(6, p=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])]()


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", range(16))
def test_random_copies(seed, config):
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(2, 5))
    shape = tuple(int(n) for n in rng.integers(1, [0, 0, 40, 16, 8][rank], rank))
    source = Box(tuple(along(rng, length) for length in shape))
    x = permuted(rng, rank)
    if seed % 4 == 0:  # no order of axes is left
        x = Layout((("reshape", shape[::-1]), *permuted(rng, rank).steps))
    node = copy(
        shape, x, permuted(rng, rank), source, (S8, U8)[seed % 2], [1.0, 0.5][seed % 3 == 0],
        int(rng.integers(0, 100)),
    )
    run_node(node, CONFIGS[config], rng)


def test_all_kinds_of_work_occur():
    seen = Counter()
    for seed, config in ((0, "micro"), (1, "default")):
        rng = np.random.default_rng(seed)
        for node in (
            copy((9, 31), ROW_MAJOR, Layout((("transpose", (1, 0)),))),
            copy((9, 31), ROW_MAJOR, ROW_MAJOR, Box((range(9), range(30, -1, -1)))),
            copy((9, 31), ROW_MAJOR, ROW_MAJOR, Box((range(9), range(3, 20)))),
        ):
            seen.update(kinds(node, CONFIGS[config]))
            run_node(node, CONFIGS[config], rng)
    assert set(seen) == {"transposed", "picked", "run"}


def test_elements_at_places_of_their_own():
    rng = np.random.default_rng(5)
    index = np.unravel_index(rng.integers(0, 60, (4, 5, 2)), (3, 4, 5))
    node = copy((3, 4, 5), permuted(rng, 3), ROW_MAJOR, Picked(index))
    run_node(node, CONFIGS["default"], rng)


@pytest.mark.parametrize(("shape", "x", "y", "source", "most"), [
    ((1, 128, 56, 56), NHWC, ROW_MAJOR, {}, 1),
    ((1, 128, 56, 56), ROW_MAJOR, NHWC, {}, 1),
    ((1, 128, 56, 56), NHWC, NHWC, {1: 128}, 1),
    ((1, 128, 56, 56), NHWC, NHWC, {2: 56}, 56),
    ((1, 128, 56, 56), NHWC, NHWC, {3: 56}, 56),
    ((1, 128, 56, 56), NHWC, NHWC, {1: range(32, 96)}, 1),
    ((1, 128, 56, 56), NHWC, NHWC, {2: range(1, 55, 2), 3: range(0, 56, 2)}, 1),
    ((1, 64, 56, 56), NHWC, NHWC, {2: np.arange(112) // 2, 3: np.arange(112) // 2}, 4),
    ((8, 197, 12, 64), ROW_MAJOR, Layout((("transpose", (0, 2, 1, 3)),)), {}, 8),
])
def test_large_copies_are_little_work(shape, x, y, source, most):
    """Not one for each row, and at half of what VECTOR requantizes at the least."""
    box, rng = Box.whole(shape), np.random.default_rng(1)
    for axis, taken in source.items():
        if isinstance(taken, int):
            taken = rng.permutation(taken)
        box = box.along(axis, taken if isinstance(taken, range) else tuple(taken.tolist()))
    node, config = copy(shape, x, y, box), preset("default")
    assert kinds(node, config).total() <= most
    value = Value("x", shape, S8)
    cycles = compile_graph(Graph((value,), (), (), (node,), ()), config).timeline.total
    share = 8 if 1 in source and isinstance(source[1], int) else 2  # all channels of each
    assert cycles * config.requantize_lanes < node.y.size * share


@pytest.mark.parametrize("config", ["micro", "tiny"])
@pytest.mark.parametrize("length", [257, 1031])
def test_a_run_that_no_memory_holds(length, config):
    """Its length is prime, so that it has no parts of one size."""
    rng = np.random.default_rng(1)
    rows = Box((range(3), range(9, length + 9)))
    run_node(copy((3, length + 12), ROW_MAJOR, ROW_MAJOR, rows), CONFIGS[config], rng)


def test_loops_are_as_few_as_can_be():
    """Axes that lie alike are one loop, whatever their number; repetitions are loops."""
    axes = [
        [axis.length for axis in nest_of(node.pieces[0], node.y).axes] for node in (
            copy((2, 3, 4, 5), ROW_MAJOR, ROW_MAJOR),
            copy((2, 3, 4, 5), NHWC, ROW_MAJOR),
            copy((2, 6), ROW_MAJOR, ROW_MAJOR, Box((range(2), (0, 0, 1, 1, 2, 2, 3, 3)))),
            copy((7, 6), ROW_MAJOR, ROW_MAJOR, Box(((3, 1, 4, 1, 5), range(6)))),
            copy((6, 20), Layout((("reshape", (6, 4, 5)), ("transpose", (0, 2, 1)))), ROW_MAJOR),
        )
    ]
    assert axes == [[120], [20, 3, 2], [2, 4, 2], [6, 5], [5, 4, 6]]


def test_the_golden_operator_moves_elements():
    node = copy((2, 3), ROW_MAJOR, ROW_MAJOR, Box(((1, 0, 1), range(2, -1, -1))))
    x = np.arange(6, dtype=np.int8).reshape(2, 3)
    graph = Graph((Value("x", (2, 3), S8),), (), (), (node,), ())
    y = evaluate(graph, {"x": x})["y"]
    np.testing.assert_array_equal(y, [[5, 4, 3], [2, 1, 0], [5, 4, 3]])
