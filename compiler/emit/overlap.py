# SPDX-License-Identifier: Apache-2.0
"""Which bytes of a STORE a LOAD would bring on chip, and how STORE writes them there at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.emit.instruction import Transfer

__all__ = ["Places", "places", "shared"]


@dataclass(frozen=True)
class Places:
    """Bytes of transfers in ascending order of their addresses in memory, and where each is on
    chip; int64."""

    addresses: NDArray[np.int64]
    locals: NDArray[np.int64]

    @property
    def unique(self) -> bool:
        """Whether no byte of memory is there twice."""
        return bool((np.diff(self.addresses) > 0).all())


def places(transfers: Sequence[Transfer]) -> Places:
    """Return the bytes of several transfers."""
    addresses, local = [], []
    for each in transfers:
        run = np.arange(each.segments, dtype=np.int64)[:, None]
        byte = np.arange(each.length, dtype=np.int64)
        addresses.append((each.address + run * each.pitch + byte).reshape(-1))
        local.append((each.local + run * each.local_pitch + byte).reshape(-1))
    joined = np.concatenate(addresses)
    order = np.argsort(joined, kind="stable")
    return Places(joined[order], np.concatenate(local)[order])


def shared(store: Places, load: Places, beat: int) -> list[Transfer] | None:
    """Return what brings the bytes of both from the places of ``store`` to those of ``load``, which
    are the transfers' addresses: whole beats, of which none has other bytes of ``load`` in it.

    None where that cannot be. Both must be `Places.unique`.
    """
    _, mine, others = np.intersect1d(
        store.addresses, load.addresses, assume_unique=True, return_indices=True
    )
    source, target = store.locals[mine], load.locals[others]
    if ((source - target) % beat).any():
        return None
    order = np.argsort(target)
    source, target = source[order], target[order]
    # Runs whose bytes lie side by side at both places.
    breaks = np.flatnonzero((np.diff(source) != 1) | (np.diff(target) != 1)) + 1
    first = np.concatenate([[0], breaks])
    length = np.diff(np.concatenate([first, [target.size]]))
    start, stop = target[first], target[first] + length
    wanted, count = np.unique(load.locals // beat, return_counts=True)
    touched = (stop - 1) // beat - start // beat + 1
    within = np.searchsorted(wanted, (stop - 1) // beat) - np.searchsorted(wanted, start // beat)
    totals = np.concatenate([[0], np.cumsum(count)])
    held = totals[np.searchsorted(wanted, (stop - 1) // beat) + 1]
    held -= totals[np.searchsorted(wanted, start // beat)]
    if (within + 1 != touched).any() or (held != length).any():
        return None
    return _transfers(source[first], start, length)


def _transfers(
    source: NDArray[np.int64], target: NDArray[np.int64], length: NDArray[np.int64]
) -> list[Transfer]:
    """Return runs in as few transfers as they make."""
    found: list[Transfer] = []
    place, many = 0, len(length)
    while place < many:
        stop = place + 1
        pitch = local_pitch = 0
        if stop < many and length[stop] == length[place]:
            pitch, local_pitch = target[stop] - target[place], source[stop] - source[place]
            while (
                stop < many and length[stop] == length[place]
                and target[stop] - target[stop - 1] == pitch
                and source[stop] - source[stop - 1] == local_pitch
            ):
                stop += 1
        found.append(Transfer(
            int(target[place]), int(source[place]), int(length[place]), stop - place, int(pitch),
            int(local_pitch),
        ))
        place = stop
    return found
