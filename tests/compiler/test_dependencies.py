# SPDX-License-Identifier: Apache-2.0
"""Tokens order every conflicting pair of instructions, never deadlock, and stay few."""

import numpy as np
import pytest

from kiwicha.compiler.emit import dependencies
from kiwicha.compiler.emit.dependencies import Dependencies, Range, Space
from kiwicha.machine.isa import ENGINES, Engine

REACH = [4, 3, 4, 4, 4, 4]


def conflict(a: list[tuple[Range, bool]], b: list[tuple[Range, bool]]) -> bool:
    return any(
        (w or v) and r.space == s.space and r.start < s.stop and s.start < r.stop
        for r, w in a
        for s, v in b
    )


def before(deps: Dependencies, engines: list[Engine]) -> np.ndarray:
    """Which instruction is certainly done before which begins: tokens and engine order, closed."""
    count = len(engines)
    given = {(a, b): [] for a in range(ENGINES) for b in range(ENGINES)}
    order = np.zeros((count, count), bool)
    last: dict[int, int] = {}
    for index, engine in enumerate(engines):
        for other in range(ENGINES):
            if deps.wait[index] >> other & 1:
                producer = given[other, engine].pop(0)  # the k-th wait takes the k-th signal
                for done in range(producer + 1):  # an engine finishes in order
                    if engines[done] == engines[producer]:
                        order[done, index] = True
                        order[:, index] |= order[:, done]
        if engine in last:
            # An engine takes its next instruction before this one is done, but issues in order,
            # so what this one waited for is done for the next one too.
            order[:, index] |= order[:, last[engine]]
        last[engine] = index
        for other in range(ENGINES):
            if deps.signal[index] >> other & 1:
                given[engine, other].append(index)
    assert not any(given.values()), "a token that nobody takes"
    return order


@pytest.mark.parametrize("many", [1, 64])
@pytest.mark.parametrize("seed", range(20))
def test_random_sequences(seed: int, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With old accesses merged as soon as possible, and not at all."""
    monkeypatch.setattr(dependencies, "_MANY", many)
    rng = np.random.default_rng(seed)
    deps = Dependencies(REACH)
    engines, touched = [], []
    for _ in range(120):
        engine = Engine(int(rng.integers(ENGINES)))
        ranges = []
        for _ in range(int(rng.integers(1, 4))):
            start = int(rng.integers(0, 40))
            space = Space.ACTIVATION if rng.integers(2) else Space.OUTPUT
            stop = start + int(rng.integers(1, 9))
            ranges.append((Range(space, start, stop), bool(rng.integers(2))))
        deps.add(engine, [r for r, w in ranges if not w], [r for r, w in ranges if w])
        engines.append(engine)
        touched.append(ranges)
    order = before(deps, engines)
    for later in range(len(engines)):
        for earlier in range(later):
            if engines[earlier] != engines[later] and conflict(touched[earlier], touched[later]):
                assert order[earlier, later], f"{earlier} and {later} may overlap"


def test_a_long_sequence_is_not_remembered_byte_by_byte() -> None:
    deps = Dependencies(REACH)
    for index in range(2000):
        place = Range(Space.MEMORY, 8 * index, 8 * index + 8)
        deps.add(Engine.STORE, [], [place])
    assert len(deps._live[Space.MEMORY]) <= 128
    deps.add(Engine.LOAD, [Range(Space.MEMORY, 0, 8)], [])
    assert deps.wait[-1] == 1 << Engine.STORE


def test_implied_token_is_dropped() -> None:
    deps = Dependencies(REACH)
    a, b = Range(Space.ACTIVATION, 0, 8), Range(Space.ACCUMULATOR, 0, 8)
    deps.add(Engine.LOAD, [], [a])
    deps.add(Engine.COMPUTE, [a], [b])
    deps.add(Engine.VECTOR, [b, a], [])  # LOAD is done if COMPUTE is
    assert deps.wait == [0, 1 << Engine.LOAD, 1 << Engine.COMPUTE]
    assert deps.signal == [1 << Engine.COMPUTE, 1 << Engine.VECTOR, 0]


def test_no_token_where_nothing_conflicts() -> None:
    deps = Dependencies(REACH)
    deps.add(Engine.LOAD, [], [Range(Space.ACTIVATION, 0, 8)])
    deps.add(Engine.COMPUTE, [Range(Space.ACTIVATION, 8, 16)], [])
    deps.add(Engine.LOAD, [], [Range(Space.WEIGHT, 8, 16)])
    assert deps.wait == [0, 0, 0]


def test_tokens_stay_within_reach() -> None:
    """A ring of many small patches: each load overwrites what was computed long ago."""
    deps = Dependencies(REACH)
    waiting = most = 0
    for index in range(400):
        slot = Range(Space.ACTIVATION, index % 100, index % 100 + 1)
        deps.add(Engine.LOAD, [], [slot])
        deps.add(Engine.COMPUTE, [slot], [])
    for engine_wait, engine_signal in zip(deps.wait, deps.signal, strict=True):
        waiting += engine_signal >> Engine.LOAD & 1
        waiting -= engine_wait >> Engine.COMPUTE & 1
        most = max(most, waiting)
    assert 0 < most <= REACH[Engine.COMPUTE]
