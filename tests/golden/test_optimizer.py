# SPDX-License-Identifier: Apache-2.0
"""Optimizers in fixed point against plain integers, and against the textbook in binary64."""

import numpy as np
import pytest

from kiwicha.golden.optimizer import accumulate, inverse_root, optimize
from kiwicha.machine.optimizer import (
    OPTIMIZERS,
    ROOT_TABLE,
    Exponents,
    join_state,
    optimizer_fields,
    split_state,
    state_bytes,
)

from ..update.cases import random_fields, random_values

LOW, HIGH = -(1 << 31), (1 << 31) - 1


def nearest(numerator, places):
    """numerator / 2^places to nearest, halves up, in Python's integers."""
    return (2 * numerator + (1 << places)) // (2 << places) if places > 0 else numerator << -places


def within(value, low, high, flags):
    flags.append(not low <= value <= high)
    return min(max(value, low), high)


def root_of(v):
    """The recipe for one integer: (y, k) of y 2^k / 2^30."""
    v, k = max(v, 1), 16
    while v >= 4 << 2 * (16 - k):
        k -= 1
    n = v << (2 * (k - 1))
    assert 1 << 30 <= n < 1 << 32
    y = ROOT_TABLE[n >> 24] * 2**20
    for _ in range(2):
        y = y * (3 * 2**30 - n * (y * y // 2**30) // 2**30) // 2**31
    return y, k


def one(fields, w, m, v, gradient):
    """A step for one weight, written from the table of formats."""
    flags = []
    edge = 1 << 23
    g = within(nearest(gradient, fields["gradient_shift"]), -edge, edge - 1, flags)
    g = within(g + nearest(fields["c6"] * w, 16 + fields["decay_shift"]), -edge, edge - 1, flags)
    t = g
    if fields["momentum"]:
        t = m = within(nearest(fields["c1"] * m + fields["c2"] * g, 16), -edge, edge - 1, flags)
    if fields["root"]:
        v = nearest(fields["c3"] * v, 16) + nearest(
            fields["c4"] * g * g, 16 + fields["second_shift"]
        )
        v = within(v, 0, 2**32 - 1, flags)
        y, k = root_of(min(v + fields["epsilon"], 2**32 - 1))
        t = within(nearest(t * y, 30 - k), LOW, HIGH, flags)
    w = within(w - nearest(fields["c5"] * t, 4 + fields["rate_shift"]), LOW, HIGH, flags)
    code = min(max(nearest(w, fields["code_shift"]), -127), 127)
    return w, m, v, code, any(flags)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_is_the_integer_recipe(optimizer):
    rng = np.random.default_rng(171)
    momentum, root = OPTIMIZERS[optimizer]
    saturated = 0
    for _ in range(60):
        fields = random_fields(rng) | {"momentum": int(momentum), "root": int(root)}
        values = random_values(rng, 40)
        got = optimize(fields, *values)
        for place in range(values[0].size):
            expected = one(fields, *(int(value[place]) for value in values))
            assert tuple(column[place] for column in got) == expected, (fields, place)
        saturated += int(got[4].sum())
    assert 0 < saturated < 60 * 40


def test_accumulates():
    rng = np.random.default_rng(172)
    for _ in range(200):
        fields = random_fields(rng) | {"begin": int(rng.integers(2))}
        total, _, _, gradient = random_values(rng, 20)
        sums, over = accumulate(fields, total, gradient)
        for place in range(20):
            flags = []
            a = within(nearest(int(gradient[place]), fields["gradient_shift"]), LOW, HIGH, flags)
            before = 0 if fields["begin"] else int(total[place])
            assert sums[place] == within(before + a, LOW, HIGH, flags)
            assert over[place] == any(flags)


def test_root_is_exact_to_28_bits():
    rng = np.random.default_rng(173)
    edges = [(1 << k) + d for k in range(33) for d in (-2, -1, 0, 1, 2)]
    steps = [(i << 24) + d for i in range(64, 257) for d in (-1, 0, 1)]
    values = np.array([*range(1, 70_000), *edges, *steps], np.int64)
    values = np.concatenate([values, rng.integers(1, 1 << 32, 300_000)])
    values = values[(values > 0) & (values < 1 << 32)]
    y, k = inverse_root(values)
    exact = 2.0**16 / np.sqrt(values.astype(np.float64))
    error = y * 2.0**k / 2.0**30 / exact - 1
    assert np.abs(error).max() < 2.0**-28.5
    assert y.max() == (1 << 30) - 1
    assert y.min() >= 1 << 29
    assert k.min() == 1
    assert k.max() == 16
    assert inverse_root(np.array([0])) == inverse_root(np.array([1])) == ((1 << 30) - 1, 16)
    for value in [*edges[:-2], *steps[:300]]:
        if 0 < value < 1 << 32:
            assert inverse_root(np.array([value])) == root_of(value), value


def textbook(name, w, m, v, g, rate, beta, beta2, epsilon, decay, step):
    """One step in binary64, as textbooks have it, epsilon inside the root."""
    g = g + decay * w
    if name == "momentum":
        m = beta * m + g
        return w - rate * m, m, v
    if name == "adam":
        m = beta * m + (1 - beta) * g
        v = beta2 * v + (1 - beta2) * g * g
        corrected = m / (1 - beta**step), v / (1 - beta2**step)
        # As published, but for an epsilon that is corrected as v is.
        epsilon = epsilon / (1 - beta2**step)
        return w - rate * corrected[0] / np.sqrt(corrected[1] + epsilon), m, v
    if name == "adagrad":
        v = v + g * g
    if name == "rmsprop":
        v = beta2 * v + (1 - beta2) * g * g
    return w - rate * (g if name == "sgd" else g / np.sqrt(v + epsilon)), m, v


@pytest.mark.parametrize("exponents", [
    Exponents(), Exponents(weight=1, gradient=-3, second=-5), Exponents(gradient=2, second=7),
], ids=["ones", "small", "large"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_is_the_textbook_within_what_formats_allow(optimizer, exponents):
    rng = np.random.default_rng(174)
    count, steps = 200, 25
    # Constants that the formats hold, so that what differs is rounding alone.
    beta, beta2 = 58982 / 65536, 64881 / 65536
    hyper = {"beta": beta, "beta2": beta2, "decay": 2.0**-10, "epsilon": 2.0**-16}
    lsb = 2.0 ** (exponents.weight - 31)
    g_lsb, v_lsb = 2.0 ** (exponents.gradient - 23), 2.0 ** (exponents.second - 32)
    w = rng.integers(-(1 << 29), 1 << 29, count)
    m = v = np.zeros(count, np.int64)
    real = w * lsb, np.zeros(count), np.zeros(count)
    w_error, m_error, v_error = (np.zeros(count) for _ in range(3))
    begin, rate = real[0], 2.0**-8
    for step in range(1, steps + 1):
        fields = optimizer_fields(
            optimizer, rate=rate, step=step, exponents=exponents, **hyper
        ) | {"gradient_shift": 0, "code_shift": 24}
        g = rng.integers(-(1 << 19), 1 << 19, count)
        w, m, v, _, over = optimize(fields, w, m, v, g)
        assert not over.any()
        before = real[2]
        real = textbook(optimizer, *real, g * g_lsb, rate, step=step, **hyper)
        # What each rounding adds: half a unit, and what was wrong before.
        ones = optimizer == "adagrad"
        decay_error = hyper["decay"] * w_error + g_lsb / 2
        g_size = np.abs(g * g_lsb) + np.abs(hyper["decay"] * real[0]) + decay_error
        taken = 1 if optimizer == "momentum" else 1 - beta
        m_error = beta * m_error + taken * decay_error + g_lsb / 2
        v_error = (1 if ones else beta2) * v_error + v_lsb
        v_error += (1 if ones else 1 - beta2) * 2 * g_size * decay_error
        momentum, root = OPTIMIZERS[optimizer]
        t_error = m_error if momentum else decay_error
        size = (np.abs(real[1]) if momentum else g_size) + t_error
        correction = 1.0
        if optimizer == "adam":
            correction = (1 - beta2**step) ** 0.5 / (1 - beta**step)
        if root:
            least = np.maximum(real[2] - v_error, 0) + hyper["epsilon"]
            relative = v_error / (2 * least) + 2.0**-28.5
            t_error = (t_error + size * relative) / np.sqrt(least)
            t_error += g_lsb * 2.0 ** (-exponents.second / 2)
            size = size / np.sqrt(least)
        # The rate has 16 bits at least.
        w_error = w_error + rate * correction * (t_error + size * 2.0**-16) + lsb / 2
        assert before.shape == real[2].shape
        assert (np.abs(w * lsb - real[0]) <= w_error).all(), step
        if momentum:
            assert (np.abs(m * g_lsb - real[1]) <= m_error).all()
        if root:
            assert (np.abs(v * v_lsb - real[2]) <= v_error).all()
    # The bound says something: it is far less than what the steps did.
    moved = np.abs(real[0] - begin)
    assert w_error.max() < 0.01 * moved.max()


def test_refuses_what_formats_do_not_hold():
    for text, wanted in [
        ("rate is 400.0; legal: 0, 3.583e-13 to 50.42", {"rate": 400.0}),
        ("rate is 1e-30", {"rate": 1e-30}), ("rate is nan", {"rate": float("nan")}),
        ("rate is -1", {"rate": -1.0}),
        ("decay is 1000", {"decay": 1000.0}), ("beta is 1.5", {"beta": 1.5}),
        ("beta2 is -1", {"beta2": -1}), ("step is 0", {"step": 0}),
        ("epsilon is 2", {"epsilon": 2.0}), ("exponent of v is 40; legal: -14 to 17",
                                             {"exponents": Exponents(second=40)}),
    ]:
        with pytest.raises(ValueError, match=text):
            optimizer_fields("adam", **{"rate": 0.1, **wanted})
    with pytest.raises(ValueError, match="optimizer is 'lion'; legal: sgd"):
        optimizer_fields("lion", rate=0.1)


@pytest.mark.parametrize("beat", [8, 16, 32])
@pytest.mark.parametrize(("momentum", "root"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_state_lies_in_groups(beat, momentum, root):
    rng = np.random.default_rng(175)
    for count in (1, beat // 4, 37):
        w, m, v, _ = random_values(rng, count)
        values = [w, *([m] if momentum else []), *([v] if root else [])]
        octets = join_state(values, beat)
        assert octets.size == state_bytes(count, momentum, root, beat)
        back = split_state(octets, count, momentum, root, beat)
        assert all((a == b).all() for a, b in zip(back, values, strict=True))
        last = octets.reshape(-1, beat)[-1].view("<u4")[(count - 1) % (beat // 4)]
        assert last == values[-1][-1] & 0xFFFF_FFFF
