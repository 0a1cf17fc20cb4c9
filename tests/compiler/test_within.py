# SPDX-License-Identifier: Apache-2.0
"""Tensors inside others: every image and matrix is found again byte by byte, or none is given."""

from dataclasses import replace

import numpy as np
import pytest

from kiwicha.compiler.schedule.contraction import Matrix, Place
from kiwicha.compiler.schedule.within import Within, within
from kiwicha.machine.isa import WeightFormat


def octets(place: Place) -> np.ndarray:
    """Return the address of each byte of an image, rows by pixels by channels."""
    rows = np.arange(place.images * place.height) * place.row_bytes
    pixels = np.arange(place.width) * place.pixel_bytes
    return place.address + rows[:, None, None] + pixels[:, None] + np.arange(place.channels)


SHAPES = [Within("y", 7, 4, 4), Within("y", 7, 4, 10), Within("y", 5, 6, 8, 5, 100),
          Within("y", 0, 3, 3, 4, 50), Within("y", 0, 1, 2, 3, 6)]


@pytest.mark.parametrize("found", SHAPES)
def test_found_by_its_places(found):
    size = found.run * found.row * 3
    again = within("y", found.first + found.places(np.arange(size)))
    assert again is not None
    np.testing.assert_array_equal(again.places(np.arange(size)), found.places(np.arange(size)))
    assert again.first == found.first


def test_what_is_no_image():
    assert within("y", np.array([0, 1, 5, 6, 9, 10])) is None  # no step
    assert within("y", np.array([4, 3, 2, 1])) is None  # backwards
    assert within("y", np.array([0, 1, 4, 5, 8])) is None  # half a run


@pytest.mark.parametrize("seed", range(60))
def test_images_and_matrices(seed):
    """Whatever image of the tensor is asked for: the same bytes where they really are, or None."""
    rng = np.random.default_rng(seed)
    found = SHAPES[seed % len(SHAPES)]
    base, given = 1000, 0
    for _ in range(30):
        height, images = int(rng.integers(1, 4)), int(rng.integers(1, 3))
        width = int(rng.choice([1, 2, found.row]))
        channels = int(rng.integers(1, found.run + 2))
        pixel = int(rng.choice([found.run, 2 * found.run, channels]))
        place = Place(
            base + int(rng.integers(0, 3 * found.run)), images, height, width, channels,
            int(rng.choice([width * pixel, found.row * found.run, 2 * found.run])),
            0 if pixel == channels else pixel,
        )
        if place.step and place.step < channels:
            continue
        moved = found.place(place, base)
        expected = base + found.places(octets(place) - base)
        if moved is None:
            continue
        given += 1
        np.testing.assert_array_equal(octets(moved), expected)
    assert given
    matrix = Matrix(base + found.run, WeightFormat.ROWS, found.run, True)
    moved = found.matrix(matrix, base, 2, found.run)
    if moved is not None:
        lines = matrix.address + np.arange(2)[:, None] * matrix.pitch + np.arange(found.run)
        again = moved.address + np.arange(2)[:, None] * moved.pitch + np.arange(found.run)
        np.testing.assert_array_equal(again, base + found.places(lines - base))


def test_an_image_of_one_row_has_its_pitch():
    moved = Within("y", 0, 4, 10).place(Place(0, 1, 1, 3, 4), 0)
    assert moved == replace(Place(0, 1, 1, 3, 4), step=10, pitch=30)
    assert not moved.is_dense
