# SPDX-License-Identifier: Apache-2.0
"""A nest of loops as images for the array: which loops are the bytes of a pixel, which a row's
pixels, which an image's rows; what is left are images of their own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod

import numpy as np

from kiwicha.compiler.schedule.estimate import run_cycles
from kiwicha.compiler.schedule.footprint import minimum_pass
from kiwicha.compiler.schedule.nest import Axis, Nest
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["ONCE", "TURN", "Pixels", "images_of", "store_cycles"]

ONCE = Axis(np.zeros(1, np.int64), np.zeros(1, np.int64))
"""A loop of one turn."""
TURN = 40
"""Cycles that one more image costs at the least, roughly."""
_WIDEST, _LARGEST = 4096, 1 << 20  # bytes that a pixel is picked from, and weights that do it
_STRETCH = 3  # turns of one step that are worth a loop of their own
_NONE = -1
_SMALL_RUN = 2  # cycles of a STORE's run that is shorter than a beat


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images whose pixels are neighbouring bytes of the result.

    Members
    -------
    x, y : first byte of the first image in what is read and written.
    inner : the bytes of a pixel.
    width, height : loops of one step, that of what is read not negative.
    turns : loops with an image in each turn.
    """

    x: int
    y: int
    inner: Axis
    width: Axis
    height: Axis
    turns: tuple[Axis, ...]

    @cached_property
    def first(self) -> int:
        """The lowest byte that a pixel reads."""
        return int(self.inner.x.min())

    @cached_property
    def span(self) -> int:
        """Bytes from there to the last one that it reads."""
        return int(self.inner.x.max()) - self.first + 1

    @cached_property
    def is_run(self) -> bool:
        """Whether the bytes of a pixel lie alike where they are read."""
        return self.inner.length == 1 or self.inner.x_step == 1

    @property
    def read(self) -> int:
        """Bytes of a pixel and of what is read with it, as they are those to the next one."""
        return self.width.x_step or self.span

    def starts(self) -> Iterator[tuple[int, int]]:
        """Yield the first byte of each image in what is read and written."""
        for turn in product(*(range(axis.length) for axis in self.turns)):
            pairs = list(zip(self.turns, turn, strict=True))
            yield (
                self.x + sum(int(axis.x[place]) for axis, place in pairs),
                self.y + sum(int(axis.y[place]) for axis, place in pairs),
            )

    def cycles(self, config: AcceleratorConfig) -> float:
        """Return roughly what all images cost: of each, what its busiest engine does."""
        size, read, rows = self.inner.length, self.read, self.height.length
        pixels = self.width.length * rows
        lanes = min(config.rows, config.columns)
        passes = -(-size // lanes)
        if not self.is_run:
            passes = -(-size // config.columns) * -(-read // config.rows)
        compute = passes * max(pixels, minimum_pass(config, lanes))
        line = self.width.length * read if self.width.x_step else read
        load = rows * line / config.beat_bytes
        if rows > 1 and self.height.x_step != line:
            load = rows * run_cycles(config, line) if self.height.x_step else line
        vector = pixels * -(-size // config.requantize_lanes)
        run, runs = size, pixels
        for axis in (self.width, self.height):
            if axis.length == 1 or axis.y_step != run:
                break
            run, runs = run * axis.length, runs // axis.length
        busiest = max(compute, load, vector, store_cycles(config, run, runs))
        return (busiest + TURN) * prod(axis.length for axis in self.turns)


def store_cycles(config: AcceleratorConfig, run: int, runs: int) -> float:
    """Return the cycles of a STORE of some runs of bytes."""
    return max(run * runs / config.beat_bytes + runs / 2 * (runs > 1), _SMALL_RUN * runs)


def images_of(nest: Nest, config: AcceleratorConfig) -> tuple[float, list[Pixels]]:
    """Return what is a nest in all, in the fewest cycles, and how many these are."""
    best: tuple[float, list[Pixels]] | None = None
    for inner, outer in _inner(nest.axes, config):
        cost, made = 0.0, []
        chosen: dict[object, tuple[int, int]] = {}
        for x, y, axes in _stretches(outer):
            images = _assigned(replace(nest, x=nest.x + x, y=nest.y + y, axes=axes), inner, config,
                               chosen)
            cost += images.cycles(config)
            made.append(images)
            if best is not None and cost >= best[0]:
                break
        else:
            best = cost, made
    assert best is not None
    return best


def _inner(
    axes: Sequence[Axis], config: AcceleratorConfig
) -> Iterator[tuple[Axis, list[Axis]]]:
    """Yield loops over bytes that are neighbours in the result, as one, and those around them."""
    inner = ONCE
    yield inner, list(axes)
    for place, axis in enumerate(axes):
        if axis.y_step != inner.length:
            return
        parts = range(2, axis.length) if axis.is_regular else ()
        for turns in (n for n in parts if axis.length % n == 0):
            made = inner.inside(axis.part(0, turns))
            if not _is_small(made, config):
                break
            yield made, [Axis(axis.x[::turns], axis.y[::turns]), *axes[place + 1 :]]
        inner = inner.inside(axis)
        if not _is_small(inner, config):
            return
        yield inner, list(axes[place + 1 :])


def _is_small(inner: Axis, config: AcceleratorConfig) -> bool:
    """Whether a pixel fits half of every memory, and so does what picks its bytes."""
    span = int(np.ptp(inner.x)) + 1
    if span > _room(config) or inner.length > config.output_bytes // 2 - 3 * config.beat_bytes:
        return False
    return inner.x_step == 1 or (span <= _WIDEST and span * inner.length <= _LARGEST)


def _room(config: AcceleratorConfig) -> int:
    """Bytes of a pixel that half of the activation scratchpad holds."""
    return config.activation_bytes // 2 - 6 * config.beat_bytes


def _stretches(axes: Sequence[Axis]) -> Iterator[tuple[int, int, tuple[Axis, ...]]]:
    """Yield loops of one step each that together are all turns of ``axes``, with the byte at which
    they begin in what is read and written."""
    for parts in product(*(list(_cut(axis)) for axis in axes)):
        begins = [axis.part(0, first + 1) for axis, (first, _) in zip(axes, parts, strict=True)]
        x, y = sum(int(a.x[-1]) for a in begins), sum(int(a.y[-1]) for a in begins)
        yield x, y, tuple(part for _, part in parts if part.length > 1)


def _cut(axis: Axis) -> Iterator[tuple[int, Axis]]:
    """Yield the stretches of one step of a loop, each with its first turn."""
    if axis.is_regular:
        yield 0, axis
        return
    breaks = np.flatnonzero(np.diff(axis.x, 2) | np.diff(axis.y, 2)) + 2
    first = 0
    for last in (*breaks.tolist(), axis.length):
        if last - first >= _STRETCH and axis.part(first, last).is_regular:
            yield first, axis.part(first, last)
        elif last > first:
            yield from ((turn, axis.part(turn, turn + 1)) for turn in range(first, last))
        first = max(first, last)


def _assigned(
    nest: Nest, inner: Axis, config: AcceleratorConfig, chosen: dict[object, tuple[int, int]]
) -> Pixels:
    """Return images of a nest's loops: those as width and height with which it takes the fewest
    cycles; the same for nests that differ in nothing but where they begin."""

    def images(roles: tuple[int, int]) -> Pixels:
        height, width = (nest.axes[role] if role >= 0 else ONCE for role in roles)
        turns = tuple(axis for place, axis in enumerate(nest.axes) if place not in roles)
        return Pixels(nest.x, nest.y, inner, width, height, turns)

    key = tuple((axis.length, axis.x_step, axis.y_step) for axis in nest.axes)
    if key not in chosen:
        usable = [k for k, axis in enumerate(nest.axes) if (axis.x_step or 0) >= 0]
        ways = [(h, w) for h in (_NONE, *usable) for w in (_NONE, *usable) if h != w or h == _NONE]
        made = {roles: images(roles) for roles in ways}
        chosen[key] = min(
            (roles for roles in ways if _fits(made[roles], config)),
            key=lambda roles: made[roles].cycles(config),
        )
    return images(chosen[key])


def _fits(images: Pixels, config: AcceleratorConfig) -> bool:
    """Whether a row's pixels are apart by what is read of each, and rows by a whole one."""
    width, height = images.width, images.height
    if images.read > _room(config):
        return False
    assert width.x_step is not None
    assert height.x_step is not None
    apart = width.length == 1 or width.x_step == 0 or width.x_step >= images.span
    line = images.span + (width.length - 1) * width.x_step
    return apart and (height.length == 1 or height.x_step == 0 or height.x_step >= line)
