# SPDX-License-Identifier: Apache-2.0
"""Rings remember what they hold, and loops become jumps that walk the same addresses."""

from itertools import product

import numpy as np
import pytest

from kiwicha.compiler.schedule.loops import Loop, jumps
from kiwicha.compiler.schedule.onchip import Ring, align_up
from kiwicha.golden.address_generator import compute_steps
from kiwicha.machine.isa import LEVELS


def test_align_up() -> None:
    assert [align_up(v, 8) for v in (0, 1, 8, 9)] == [0, 8, 8, 16]


def test_ring_forgets_what_it_overwrites() -> None:
    ring = Ring(64, 8)
    assert (ring.place("a", 20), ring.place("b", 30)) == (0, 24)
    assert ring.find("a") == 0
    assert ring.place("c", 16) == 0  # 56 to 64 is too little: round again
    assert ring.find("a") is None
    assert ring.find("b") == 24
    assert ring.place("d", 16) == 16
    assert ring.find("b") is None


def test_ring_steps_around_what_is_kept() -> None:
    ring = Ring(64, 8)
    assert (ring.place("a", 16), ring.place("kept", 16)) == (0, 16)
    places = [ring.place(number, 16, "kept") for number in range(4)]
    assert places == [32, 48, 0, 32]  # behind it, behind it, before it, behind it again
    assert ring.find("kept") == 16
    assert ring.place("large", 40, "kept") == 0  # there is no such room beside it
    assert ring.find("kept") is None


def test_ring_refuses_what_never_fits() -> None:
    with pytest.raises(ValueError, match="^a block of 72 does not fit a memory of 64$"):
        Ring(64, 8).place("a", 65)


def test_ring_says_what_the_next_block_leaves() -> None:
    ring = Ring(64, 8)
    ring.place("a", 24)
    assert ring.leaves(0, 24, 40)
    assert not ring.leaves(0, 24, 41)  # from the beginning again
    assert not ring.leaves(24, 32, 1)
    assert ring.leaves(32, 64, 8)
    assert ring.find("a") == 0


@pytest.mark.parametrize("seed", range(10))
def test_jumps_walk_the_strides(seed: int) -> None:
    rng = np.random.default_rng(seed)
    loops = [
        Loop(int(rng.integers(1, 4)), *(int(v) for v in rng.integers(-50, 50, 3)))
        for _ in range(LEVELS)
    ]
    steps = compute_steps(
        {"levels": jumps(loops), "y": 3, "x": -7, "address": 11, "weight": 0, "weight_stride": 0,
         "accumulator": 0, "accumulate": 0, "tail": 0, "line_tail": 0}
    )
    outer = loops[::-1]
    want = [
        tuple(
            start + sum(i * getattr(loop, name) for i, loop in zip(index, outer, strict=True))
            for name, start in (("y", 3), ("x", -7), ("address", 11))
        )
        for index in product(*(range(loop.count) for loop in outer))
    ]
    assert [tuple(map(int, t)) for t in zip(steps.y, steps.x, steps.address, strict=True)] == want


def test_jumps_want_every_loop() -> None:
    with pytest.raises(ValueError, match="^1 loops; the address generator has 7$"):
        jumps([Loop()])
