# SPDX-License-Identifier: Apache-2.0
"""Rounding of integers to a multiple of a power of two, in five named ways.

``pseudo`` is the rounding of NITI (arXiv 2009.13108): the upper half of what is dropped is
compared with its lower half, so no random numbers are needed. ``lfsr`` compares it with a random
word that depends only on seed, step and the element's place: never on the order of work.
"""

import numpy as np
import numpy.typing as npt

from kiwicha.machine.modes import BlockRounding

__all__ = ["ROUNDINGS", "random_word", "round_shift"]

Int64Array = npt.NDArray[np.int64]

ROUNDINGS = tuple(rounding.value for rounding in BlockRounding)

_TAPS = 0xEDB88320
_MASK = 0xFFFFFFFF


def round_shift(
    value: npt.ArrayLike, shift: npt.ArrayLike, rounding: str, word: npt.ArrayLike = 0
) -> Int64Array:
    """Return ``value / 2**shift`` as an integer, rounded as ``rounding`` says.

    Arguments broadcast. With d for what an exact quotient's magnitude has behind the point:

    - ``half_even``, ``half_up``, ``half_away``: to nearest; exactly half goes to the even number,
      towards plus infinity, away from zero.
    - ``pseudo``: d has ``shift`` bits; its upper half (the longer one if ``shift`` is odd) is
      compared with its lower half (then with a 0 appended); away from zero where it is greater.
    - ``lfsr``: away from zero where ``word / 2**32 < d``, ``word`` being cut to ``shift`` bits
      (zeros appended beyond 32).

    Parameters
    ----------
    value : at most 2**61 in magnitude.
    shift : 0 to 48.
    word : 32 random bits for each element; used by ``lfsr`` only.

    Raises
    ------
    ValueError
        For another rounding or a shift out of range.
    """
    x, s = np.asarray(value, np.int64), np.asarray(shift, np.int64)
    if rounding not in ROUNDINGS:
        raise ValueError(f"rounding is {rounding!r}; legal: {', '.join(ROUNDINGS)}")
    if s.size and not (s.min() >= 0 and s.max() <= 48):
        raise ValueError(f"shift is {s.min()} to {s.max()}; legal: 0 to 48")
    one = np.int64(1)
    half = (one << s) >> 1
    if rounding == "half_up":
        return np.asarray((x + half) >> s)
    if rounding == "half_even":
        # Half less than one step, and a whole half where the quotient's last bit is odd.
        return np.asarray((x + np.where(s > 0, half - 1 + ((x >> s) & 1), 0)) >> s)
    magnitude = np.abs(x)
    if rounding == "half_away":
        return np.asarray(np.sign(x) * ((magnitude + half) >> s))
    dropped = magnitude & ((one << s) - 1)
    if rounding == "pseudo":
        low_bits = s >> 1
        low = dropped & ((one << low_bits) - 1)
        up = (dropped >> low_bits) > (low << (s & 1))
    else:
        random = np.asarray(word, np.int64)
        up = ((random << 16) >> np.maximum(48 - s, 0)) < dropped
    return np.asarray(np.sign(x) * ((magnitude >> s) + up))


def random_word(seed: int, step: int, index: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """Return 32 random bits for the element at flat ``index``, in training step ``step``.

    With A for 32 steps of the Galois LFSR of the CRC-32 polynomial (0xEDB88320), all sums modulo
    2^32, and the key ``k = A(A(seed) + step)``: ``A(A(index + k) + rotate(k, 16))``. For a given
    seed and step that is a permutation of the 32-bit numbers.
    """
    key = _advance(np.uint64((int(_advance(np.uint64(seed & _MASK))) + step) & _MASK))
    turned = ((key << np.uint64(16)) | (key >> np.uint64(16))) & np.uint64(_MASK)
    place = np.asarray(index).astype(np.uint64)
    word = _advance((_advance((place + key) & np.uint64(_MASK)) + turned) & np.uint64(_MASK))
    return np.asarray(word, np.uint32)


def _advance(state: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    word = np.asarray(state, np.uint64)
    for _ in range(32):
        word = (word >> np.uint64(1)) ^ ((word & np.uint64(1)) * np.uint64(_TAPS))
    return word
