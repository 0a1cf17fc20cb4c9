# SPDX-License-Identifier: Apache-2.0
"""Programs of steps with branches, groups and filters, run by the golden machine."""

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.graph.trainable import (
    AveragePool,
    Bias,
    Clip,
    Convolution,
    Linear,
    MaxPool,
    Network,
    Residual,
)
from kiwicha.compiler.graph.training import training_graph
from kiwicha.compiler.schedule.kept import kept_entries
from kiwicha.machine.encoding import walk_program
from kiwicha.machine.isa import Opcode
from kiwicha.machine.presets import preset

from .test_training import DOWN, NARROW, SAME, UNEQUAL, check_step

FILTERS = UNEQUAL.replace(name="filters", columns=8, depthwise=True)
KEEPS = FILTERS.replace(name="keeps", rows=16, accumulator_depth=2048)
CONFIGS = {each.name: each for each in (NARROW, UNEQUAL, FILTERS, KEEPS, preset("training"))}

NETWORKS = {
    "clip": Network("clip", (5, 6, 2), (
        Convolution("a", 2, 6, (3, 3), -8, True, pads=SAME), Clip("b", -20, 50),
        Residual("r", (Convolution("c", 6, 6, (1, 1), -8), Clip("d", -30, 90))),
        Clip("e", 3, 80), Linear("f", 180, 7, -9), Clip("g", 0, 96), Linear("h", 7, 5, -9),
    )),
    "bias": Network("bias", (5, 6, 2), (
        Bias("i", 2, -9),
        Convolution("a", 2, 9, (3, 3), -8, pads=SAME), Bias("b", 9, -6, True),
        Residual("r", (Convolution("c", 9, 9, (1, 1), -8), Bias("d", 9, -11)), (Bias("e", 9, 3),)),
        Linear("f", 270, 5, -9), Bias("g", 5, -9), Linear("h", 5, 5, -9),
    )),
    "depthwise": Network("depthwise", (7, 6, 2), (
        Convolution("a", 2, 10, (1, 1), -8, True),
        Convolution("b", 10, 10, (3, 3), -8, True, pads=SAME, groups=10),
        Convolution("c", 10, 10, (2, 3), -8, True, DOWN, (0, 1, 1, 1), 10),
        AveragePool("p", (4, 3)), Linear("d", 10, 3, -9),
    )),
    "one filter": Network("one filter", (5, 9, 4), (
        Convolution("a", 4, 4, (4, 5), -8, True, pads=(2, 0, 1, 2), groups=4),
        Linear("d", 140, 3, -9),
    )),
    "groups": Network("groups", (6, 6, 6), (
        Convolution("a", 6, 9, (3, 2), -8, True, (1, 2), (1, 0, 1, 0), 3),
        Convolution("b", 9, 9, (1, 1), -8, groups=9),
        Convolution("c", 9, 18, (2, 2), -8, True, groups=9), Linear("d", 180, 3, -9),
    )),
    "sums": Network("sums", (6, 6, 3), (
        Convolution("a", 3, 5, (3, 3), -8, True, pads=SAME),
        Residual("r", (
            Convolution("b", 5, 5, (3, 3), -9, True, pads=SAME),
            Convolution("c", 5, 5, (3, 3), -12, pads=SAME),
        ), relu=True),
        Residual("s", (
            Convolution("d", 5, 7, (3, 3), -3, True, DOWN, SAME),
            Convolution("e", 7, 7, (3, 3), -8, pads=SAME),
        ), (Convolution("f", 5, 7, (1, 1), -8, False, DOWN),), True),
        AveragePool("p", (3, 3)), Linear("g", 7, 4, -9),
    )),
    "sums of images": Network("sums of images", (4, 4, 6), (
        Residual("r", (Convolution("a", 6, 6, (3, 3), -8, pads=SAME),)),
        Residual("s", (
            Residual("t", (Convolution("b", 6, 6, (1, 1), -8),)),
            Convolution("c", 6, 6, (1, 1), -7, True),
        ), (), True),
        Residual("v", (MaxPool("m", (2, 2)),), (Convolution("w", 6, 6, (2, 2), -9, False, DOWN),)),
        Linear("d", 24, 12, -9),
        Residual("u", (Linear("e", 12, 12, -9, True), Linear("f", 12, 12, -8))),
        Linear("g", 12, 3, -9),
    )),
}


@pytest.mark.parametrize("machine", CONFIGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_step(machine: str, name: str) -> None:
    check_step(NETWORKS[name], CONFIGS[machine], 1 + len(name) % 3)


def test_kept_entries() -> None:
    """No two tiles share one, and neighbours are in different halves where these have room."""
    assert kept_entries([3, 3, 2], 16) == [0, 8, 3]
    assert kept_entries([3, 8, 3, 2], 16) == [0, 8, 3, 6]
    assert kept_entries([5, 5, 5], 16) is None
    rng = np.random.default_rng(0)
    for _ in range(200):
        sizes = rng.integers(1, 12, rng.integers(1, 9)).tolist()
        entries = kept_entries(sizes, 64)
        if entries is None:
            assert sum(sizes) > 64 - 2 * max(sizes)
            continue
        taken = [n for e, size in zip(entries, sizes, strict=True) for n in range(e, e + size)]
        assert len(set(taken)) == len(taken)
        assert max(taken) < 64
        assert all(e // 32 == (e + size - 1) // 32 for e, size in zip(entries, sizes, strict=True))


def test_what_is_kept_is_computed_once() -> None:
    network = NETWORKS["sums"]
    computed = []
    for depth in (64, 2048):
        config = KEEPS.replace(accumulator_depth=depth)
        words = compile_graph(training_graph(network, 3, 5), config).words
        computed.append(sum(opcode == Opcode.COMPUTE for _, opcode, _ in walk_program(words)))
    assert computed[1] < 0.7 * computed[0]
