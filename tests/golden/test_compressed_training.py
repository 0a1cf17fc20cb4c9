# SPDX-License-Identifier: Apache-2.0
"""golden.compressed_training against the equations in fractions."""

from fractions import Fraction
from math import log2

import numpy as np
import pytest

from kiwicha.golden.compressed_training import (
    Store,
    fold_normalization,
    learning_rate,
    normalization_shift,
    quantize,
    requantize,
)

LOWEST, HIGHEST = -(1 << 31), (1 << 31) - 1
TWO = Fraction(2)


def ceil_log2(value):
    """The least n with value <= 2^n."""
    n = -200
    while value > TWO**n:
        n += 1
    return n


def eight_bits(exact):
    """q = sat8(RNE(x * 2^f)), f = 7 - ceil(log2 max |x|), of fractions."""
    fraction = 7 - ceil_log2(max(map(abs, exact)))
    return [max(-128, min(127, round(x * TWO**fraction))) for x in exact], fraction


def sat(value):
    return max(LOWEST, min(HIGHEST, value))


@pytest.mark.parametrize("seed", range(8))
def test_quantize(seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(40) * 2.0 ** rng.integers(-40, 40)
    if seed % 2:
        # The greatest is a power of two: it saturates on one side.
        x = np.clip(x, -(2.0**-3), 2.0**-3) if seed % 4 == 1 else np.rint(4 * x / abs(x).max()) / 2
    codes, fraction = eight_bits(list(map(Fraction, x)))
    found = quantize(x)
    assert (found.values.tolist(), found.fraction) == (codes, fraction)
    assert found.values.dtype == np.int8


@pytest.mark.parametrize("greatest", [1, 2, 3, 127, 128, 129, 255, 256, 1 << 20, (1 << 47) - 1])
def test_requantize(greatest):
    rng = np.random.default_rng(greatest % 97)
    sums = np.r_[rng.integers(-greatest, greatest + 1, 30), greatest, -greatest]
    codes, fraction = eight_bits([Fraction(int(v), 1 << 11) for v in sums])
    found = requantize(sums, 11)
    assert (found.values.tolist(), found.fraction) == (codes, fraction)


def test_zeros():
    assert quantize(np.zeros(3)).fraction == 0
    assert not quantize(np.zeros(3)).values.any()
    assert requantize(np.zeros(3, int), 5).fraction == 5


def small_store(seed, shape=(3, 4), **more):
    rng = np.random.default_rng(seed)
    return rng, Store.of(rng.standard_normal(shape), **more)


@pytest.mark.parametrize("headroom", [0, 3])
def test_store_of_floats_and_its_copy(headroom):
    rng = np.random.default_rng(1)
    x = rng.standard_normal(50)
    store = Store.of(x, headroom=headroom)
    assert store.fraction == 31 - headroom - ceil_log2(max(map(Fraction, np.abs(x))))
    exact = [round(Fraction(v) * TWO**store.fraction) for v in x]
    assert store.weights.tolist() == exact
    codes, fraction = eight_bits([w / TWO**store.fraction for w in exact])
    assert (store.copy().values.tolist(), store.copy().fraction) == (codes, fraction)
    for wanted in (store.fraction - 9, store.fraction + 2, store.fraction - 60):
        expected = [sat(round(w * TWO ** (wanted - store.fraction))) for w in exact]
        assert store.aligned(wanted).tolist() == expected
    corner = Store.of([1.0, -1.0], headroom=0)
    assert corner.weights.tolist() == [HIGHEST, LOWEST]


@pytest.mark.parametrize(("fraction", "rate", "rate_shift"), [
    (24, 40000, 20), (20, 65535, 16), (20, 1, 1), (13, 3, 0), (60, 1, 1), (69, 1, 1), (-25, 1, 0),
    (-60, 1, 0),
])
def test_accumulate_and_update(fraction, rate, rate_shift):
    """Batches of gradients, some of which saturate, then a step: 2.1's equations."""
    rng, store = small_store(fraction % 101, gradient_fraction=20)
    store.prune(5)
    gradients = [0] * 12
    weights = store.weights.ravel().tolist()
    for batch in range(3):
        dw = rng.integers(-(1 << 20), 1 << 20, (3, 4)) << batch * 4
        store.accumulate(dw, fraction)
        for k, value in enumerate(map(int, dw.ravel())):
            if store.mask.flat[k]:
                gradients[k] = sat(gradients[k] + round(value * TWO ** (20 - fraction)))
        assert store.gradient.ravel().tolist() == gradients
    store.update(rate, rate_shift)
    expected = [
        sat(w - round(Fraction(g * rate, 1 << rate_shift))) if kept else w
        for w, g, kept in zip(weights, gradients, store.mask.ravel(), strict=True)
    ]
    assert store.weights.ravel().tolist() == expected
    assert not store.gradient.any()
    assert bool(store.saturated) == (fraction < 20)


@pytest.mark.parametrize("axes", [(), (2, 3), (1, 2, 3)])
def test_prune_drops_the_least_norms(axes):
    rng, store = small_store(4, (3, 4, 2, 2))
    store.accumulate(rng.integers(1, 99, store.weights.shape), 20)
    before = store.weights.copy()
    groups = before.reshape({(): (48, 1), (2, 3): (12, 4), (1, 2, 3): (3, 16)}[axes])
    norms = [sum((abs(int(w)) // 256) ** 2 for w in group) for group in groups]
    dropped = sorted(range(len(norms)), key=lambda k: (norms[k], k))[: len(norms) // 2]
    store.prune(len(norms) // 2, axes)
    mask = store.mask.reshape(groups.shape)
    assert [k for k in range(len(norms)) if not mask[k].all()] == sorted(dropped)
    assert not mask[dropped].any()
    assert np.array_equal(store.weights, np.where(store.mask, before, 0))
    assert np.array_equal(store.gradient != 0, store.mask)
    with pytest.raises(ValueError, match=r"^the mask is frozen: pruning has been done$"):
        store.prune(1, axes)


def test_prune_takes_the_first_of_equals():
    store = Store.of([1.0, -1.0, 0.5, 1.0])
    store.prune(2)
    assert store.mask.tolist() == [False, True, False, True]
    # Bits below 2^8 do not count.
    store = Store(np.array([0x1FF, -0x100, 0xFF], np.int32), 0, 0)
    store.prune(2)
    assert store.weights.tolist() == [0, -0x100, 0]
    with pytest.raises(ValueError, match=r"^count is 5; legal: 0 to 4 groups$"):
        Store.of(np.ones(4)).prune(5)


@pytest.mark.parametrize("rate", [1e-4, 0.01, 0.1, 1.0, 0.25, 0.9999999])
def test_learning_rate(rate):
    _, store = small_store(2)
    whole, shift = learning_rate(rate, store, 32)
    wanted = Fraction(rate) / 32 * TWO ** (store.fraction - store.gradient_fraction)
    assert 1 << 15 <= whole < 1 << 16
    assert abs(Fraction(whole, 1 << shift) / wanted - 1) <= Fraction(1, 1 << 16)


def test_refusals():
    _, store = small_store(3)
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"^rate is .* for 4 examples; legal: positive$"):
            learning_rate(rate, store, 4)
    with pytest.raises(ValueError, match=r"^rate is 1e-12 .*: it needs a shift of \d+$"):
        learning_rate(1e-12, store, 4)
    with pytest.raises(ValueError, match=r"^rate is 65536 / 2\^0; legal: "):
        store.update(65536, 0)
    for function in (quantize, Store.of):
        with pytest.raises(ValueError, match=r"^x holds values that are not finite$"):
            function([1.0, float("nan")])
    for variance in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match=r"^variances are not positive and finite$"):
            normalization_shift([1.0, variance])


def test_normalization_shift():
    values = np.exp(np.random.default_rng(6).uniform(-20, 20, 500))
    assert normalization_shift(values).tolist() == [round(log2(v) / 2) for v in values]
    # sigma = 2^(k + 1/2) rounds up.
    assert normalization_shift([2.0**n for n in range(-5, 6)]).tolist() == [
        (n + 1) // 2 for n in range(-5, 6)
    ]


def test_fold_normalization():
    """The folded layer is the layer and a normalization by the power of two nearest to sigma."""
    rng = np.random.default_rng(8)
    w, x = rng.standard_normal((5, 2, 3, 3)), rng.standard_normal((20, 2, 3, 3))
    bias, mean, gain, offset = rng.standard_normal((4, 5))
    variance = rng.uniform(0.01, 50, 5)
    w2, bias2 = fold_normalization(
        w, bias, mean=mean, variance=variance, gain=gain, offset=offset
    )
    y = np.einsum("nchw,ochw->no", x, w) + bias
    sigma = 2.0 ** np.rint(np.log2(np.sqrt(variance)))
    found = np.einsum("nchw,ochw->no", x, w2) + bias2
    assert np.allclose(found, (y - mean) / sigma * gain + offset, rtol=1e-12, atol=1e-12)
    ratio = sigma / np.sqrt(variance)
    assert ((ratio > 0.7) & (ratio < 1.42)).all()
