# SPDX-License-Identifier: Apache-2.0
"""Strides of tensors that only transpositions have moved, against counting places."""

import numpy as np

from kiwicha.compiler.graph.layout import Layout
from kiwicha.compiler.graph.tensor import Tensor


def test_strides_of_transposed_axes():
    rng = np.random.default_rng(94)
    for _ in range(200):
        rank = int(rng.integers(1, 6))
        shape = tuple(rng.integers(1, 4, rank).tolist())
        steps = tuple(
            ("transpose", tuple(rng.permutation(rank).tolist()))
            for _ in range(int(rng.integers(0, 3)))
        )
        plain, counted = (
            Tensor("x", shape, np.dtype(np.uint8), np.float32(1), 0, Layout(layout))
            for layout in (steps, (("reshape", shape), *steps))
        )
        assert counted.layout.order(rank) is None
        assert plain.strides == counted.strides


def test_a_reshape_leaves_no_order_of_axes():
    assert Layout((("reshape", (2, 3)), ("transpose", (1, 0)))).order(1) is None
