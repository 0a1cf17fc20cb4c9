# SPDX-License-Identifier: Apache-2.0
"""Ranges become shifts and exponents as NITI has them."""

import math

import numpy as np
import pytest

from kiwicha.machine.shifts import ALL_GONE, exponent_of, range_exponent, settled


@pytest.mark.parametrize("magnitude", [*range(1, 300), 2**30, 2**30 + 1, 2**31 - 1, 2**31])
def test_range_is_the_ceiling_of_the_logarithm(magnitude):
    assert range_exponent(magnitude) == math.ceil(math.log2(magnitude))


def test_nothing_has_range_zero():
    assert range_exponent(0) == 0


@pytest.mark.parametrize("bits", range(1, 8))
def test_what_remains_has_so_many_bits(bits):
    for magnitude in (1, 2, 3, 127, 128, 129, 4096, 4097, 2**31):
        shift, exponent = settled(magnitude, bits, -3)
        assert magnitude / 2**shift <= 2**bits
        assert shift == 0 or magnitude / 2**shift > 2 ** (bits - 1)
        assert exponent == shift - 3


def test_small_gradients_are_gone():
    assert settled(1, 5, 0, gradient=True)[0] == ALL_GONE == settled(0, 5, 0, gradient=True)[0]
    assert settled(2, 5, 0, gradient=True)[0] == 0 == settled(1, 5, 0)[0]


def test_exponents_stay_those_of_normal_numbers():
    assert settled(2**31, 1, 120)[1] == 127
    assert settled(0, 7, -300)[1] == -126


def test_exponent_of_a_scale():
    for exponent in (-126, -7, 0, 127):
        assert exponent_of(np.ldexp(np.float32(1), exponent)) == exponent
    assert exponent_of(np.float32(0.75)) == -1
