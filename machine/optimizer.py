# SPDX-License-Identifier: Apache-2.0
"""Optimizers in fixed point: formats, the instruction's fields, and memory as UPDATE lays it out.

One step of every optimizer, after Cambricon-Q's NDPO (ISCA 2021), with five constants and two
selects::

    m <- c1 m + c2 g              t1 = m if momentum else g
    v <- c3 v + c4 g g            t2 = 1 / sqrt(v + epsilon) if root else 1
    w <- w - c5 t1 t2             g is the gradient, and c6 w for a decay of the weights

=====  ==========  ==============================================================================
Value  Format      Is worth
=====  ==========  ==============================================================================
w      Q1.31       w 2^(exponents.weight - 31): int32
g, m   Q1.23       g 2^(exponents.gradient - 23): int24, in memory as int32
v      UQ0.32      v 2^(exponents.second - 32): uint32
c1-c6  UQ1.16      c / 2^16: 0 to 65536, c5 and c6 with a shift of their own
t2     UQ17.30     1 / sqrt(v / 2^32), that of v = 1 where v is 0: below 2^16
t1 t2  Q9.23       as g
=====  ==========  ==============================================================================

Results are rounded to nearest, halves up, and saturate; inside the root bits are cut off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from amaranth.hdl import ShapeLike, signed, unsigned

__all__ = [
    "CODE", "CONSTANT_ONE", "GRADIENT_SHIFTS", "MOMENT_BITS", "OPTIMIZERS", "RATE_BASE",
    "RATE_BITS", "ROOT_TABLE", "SCALE_BASE", "UPDATE_FIELDS", "Exponents", "exact_shift",
    "join_state", "optimizer_fields", "rate_word", "split_state", "state_beats", "state_bytes",
]

MOMENT_BITS: Final = 24
"""Of a gradient and its moment."""
CONSTANT_ONE: Final = 1 << 16
"""A constant of 1, and the greatest."""
GRADIENT_SHIFTS: Final = (-16, 31)
"""Legal shifts of a gradient, positive to the right."""
RATE_BASE: Final = 4
"""c5 t1 t2 is shifted right by ``rate_shift`` and this."""
SCALE_BASE: Final = 16
"""c1 m + c2 g and c3 v are shifted right by this, c4 g g and c6 w by a field more."""
CODE: Final = 127
"""Greatest magnitude of the int8 weights."""
ROOT_TABLE: Final = tuple(
    min(1023, (isqrt((1 << 29) // (2 * index + 1)) + 1) >> 1) for index in range(256)
)
"""1024 / sqrt(n) in 10 bits for the 8 high bits of n in [1, 4), the middle of each interval:
``n = (index + 1/2) / 64``; entries below 64 are not used."""

UPDATE_FIELDS: Final[dict[str, ShapeLike]] = {
    "momentum": unsigned(1),  # there is m, and the step follows it: t1
    "root": unsigned(1),  # there is v, and the step is divided by its root: t2
    "wide": unsigned(1),  # gradients are int32, else int8
    "accumulate": unsigned(1),  # w <- w + gradient, an int32 that is none of the formats above:
    "begin": unsigned(1),  # w <- gradient; no moments, no constants, no int8 weights
    "gradient_shift": signed(6),  # right, rounded; g then saturates to 24 bits, -16 to 31
    "slots": unsigned(4),  # a bit for each slot whose exponent is taken off gradient_shift
    "scheduled": unsigned(1),  # c5 is the register's, whose shift is added to rate_shift
    "code_shift": unsigned(5),  # right, of w, for its int8
    "second_shift": unsigned(5),  # c4 g g is shifted right by 16 more
    "rate_shift": unsigned(5),  # c5 t1 t2 by 4 more
    "decay_shift": unsigned(5),  # c6 w by 16 more
    **{f"c{number}": unsigned(17) for number in range(1, 7)},  # UQ1.16, at most 1
    "reserved0": unsigned(38),
    "epsilon": unsigned(32),  # added to v before its root is taken, not to what is kept
    "count": unsigned(32),  # weights, at least 1
    "state": unsigned(64),  # byte addresses, multiples of a beat: w, m, v as `join_state` has them,
    "gradients": unsigned(64),  # gradients, dense,
    "codes": unsigned(64),  # int8 weights, dense; `accumulate` writes none
}
"""What follows the header of UPDATE."""

RATE_BITS: Final = 22
"""Of the register ``update_rate``: c5 in 17, and above them what is added to ``rate_shift``, which
is 31 at most then."""

OPTIMIZERS: Final = {
    "sgd": (False, False), "momentum": (True, False), "adagrad": (False, True),
    "rmsprop": (False, True), "adam": (True, True),
}
"""``momentum`` and ``root`` of each."""


@dataclass(frozen=True, kw_only=True)
class Exponents:
    """What the formats' ones are worth: powers of two."""

    weight: int = 0
    gradient: int = 0
    second: int = 0


def _scaled(name: str, value: float, factor: float, base: int) -> tuple[int, int]:
    """Return constant and shift with ``value * factor = constant / 2^(16 + shift - base)``."""
    for shift in range(31, -1, -1) if 0 <= value * factor < np.inf else ():
        constant = round(value * factor * 2.0 ** (16 + shift - base))
        if constant <= CONSTANT_ONE and (constant or not value):
            return constant, shift
    low, high = 2.0 ** (base - 47) / factor, 2.0**base / factor
    raise ValueError(f"{name} is {value}; legal: 0, {low:.4g} to {high:.4g}")


def _unit(name: str, value: float) -> int:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; legal: 0 to 1")
    return round(value * CONSTANT_ONE)


def optimizer_fields(
    optimizer: str,
    *,
    rate: float,
    exponents: Exponents = Exponents(),
    beta: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 0.0,
    decay: float = 0.0,
    step: int = 1,
) -> dict[str, int]:
    """Return the fields of UPDATE that make it one step of a textbook optimizer.

    Parameters
    ----------
    optimizer : sgd, momentum (m <- beta m + g), adagrad, rmsprop (v <- beta2 v + (1 - beta2) g g)
        or adam.
    rate : learning rate, of real weights and gradients.
    epsilon : inside the root, of real v.
    decay : weight decay, added to the gradient.
    step : number of this step, from 1 on; adam's correction of its first steps.

    Raises
    ------
    ValueError
        For an unknown optimizer, and a number that its format cannot hold.
    """
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer is {optimizer!r}; legal: {', '.join(OPTIMIZERS)}")
    momentum, root = OPTIMIZERS[optimizer]
    b1, b2 = _unit("beta", beta), _unit("beta2", beta2)
    fields = {"momentum": int(momentum), "root": int(root)}
    scale = 2.0 ** (exponents.gradient - exponents.weight)
    if momentum:
        fields |= {"c1": b1, "c2": CONSTANT_ONE - b1 if root else CONSTANT_ONE}
    if root:
        ones = optimizer == "adagrad"
        fields |= {"c3": CONSTANT_ONE if ones else b2, "c4": CONSTANT_ONE - (0 if ones else b2)}
        shift = 14 + exponents.second - 2 * exponents.gradient
        if not 0 <= shift <= 31:
            low, high = 2 * exponents.gradient - 14, 2 * exponents.gradient + 17
            raise ValueError(f"exponent of v is {exponents.second}; legal: {low} to {high}")
        fields["second_shift"] = shift
        added = round(epsilon * 2.0 ** (32 - exponents.second))
        if not 0 <= added < 1 << 32:
            raise ValueError(f"epsilon is {epsilon}; legal: 0 to {2.0**exponents.second}")
        fields["epsilon"] = added
        scale *= 2.0 ** (-exponents.second / 2)
    if optimizer == "adam":
        if step < 1:
            raise ValueError(f"step is {step}; legal: 1 and more")
        kept, kept2 = b1 / CONSTANT_ONE, b2 / CONSTANT_ONE
        scale *= (1 - kept2**step) ** 0.5 / (1 - kept**step)
    # Q9.23 to Q1.31, and back.
    fields["c5"], fields["rate_shift"] = _scaled("rate", rate, scale, 4)
    ratio = 2.0 ** (exponents.weight - exponents.gradient - 8)
    fields["c6"], fields["decay_shift"] = _scaled("decay", decay, ratio, 0)
    return fields


def exact_shift(fields: Mapping[str, int], exponents: Sequence[int]) -> tuple[int, bool]:
    """Return the shift of an UPDATE's gradients, and whether it is further left than legal ones.

    ``exponents`` of the slots are those of the gradients' unit; their sum is taken off the field's
    shift. Beyond `GRADIENT_SHIFTS` the nearest legal one is taken; where that is to the right
    int8 gradients are 0 either way, to the left all that are not 0 count as saturated.
    """
    shift = fields["gradient_shift"]
    if not fields["slots"]:
        return shift, False
    shift -= sum(e for slot, e in enumerate(exponents) if fields["slots"] >> slot & 1)
    low, high = GRADIENT_SHIFTS
    return min(max(shift, low), high), shift < low


def rate_word(rate: float) -> int:
    """Return ``update_rate`` for a factor of 0, or 2^-48 to 1: ``c / 2^(16 + shift)``.

    Raises
    ------
    ValueError
        For a number that the register cannot hold.
    """
    constant, shift = _scaled("rate", rate, 1.0, 0)
    return constant | shift << 17


def state_beats(momentum: int, root: int) -> int:
    """Return the beats of a group: of weights, m and v."""
    return 1 + momentum + root


def state_bytes(count: int, momentum: int, root: int, beat_bytes: int) -> int:
    """Return the bytes of the state of so many weights, whole groups."""
    return -(-4 * count // beat_bytes) * beat_bytes * state_beats(momentum, root)


def join_state(values: Sequence[npt.NDArray[np.int64]], beat_bytes: int) -> npt.NDArray[np.uint8]:
    """Return weights, then m and v if there are any, as they lie in memory.

    A beat of weights is followed by the beat of their m and that of their v, so that all of a
    tensor is one run. What the last group has no weights for is 0.
    """
    lanes = beat_bytes // 4
    rows = []
    for value in values:
        padded = np.zeros(-(-value.size // lanes) * lanes, np.int64)
        padded[: value.size] = value
        rows.append((padded & 0xFFFF_FFFF).astype("<u4").reshape(-1, lanes))
    return np.stack(rows, axis=1).reshape(-1).view(np.uint8)


def split_state(
    octets: npt.NDArray[np.uint8], count: int, momentum: int, root: int, beat_bytes: int
) -> list[npt.NDArray[np.int64]]:
    """Return what `join_state` was given: w int32, m (its low 24 bits), v uint32, as int64."""
    words = octets.view("<u4").reshape(-1, state_beats(momentum, root), beat_bytes // 4)
    found = [words[:, place].reshape(-1)[:count] for place in range(words.shape[1])]
    values = [found[0].view("<i4").astype(np.int64)]
    if momentum:
        values.append(((found[1].astype(np.int64) << 40) & -1) >> 40)
    if root:
        values.append(found[-1].astype(np.int64))
    return values
