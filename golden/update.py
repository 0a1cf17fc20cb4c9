# SPDX-License-Identifier: Apache-2.0
"""UPDATE on what lies in memory: state, gradients and int8 weights of a tensor."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from kiwicha.golden.optimizer import accumulate, optimize
from kiwicha.machine.optimizer import (
    CONSTANT_ONE,
    GRADIENT_SHIFTS,
    exact_shift,
    join_state,
    split_state,
)

__all__ = ["illegal_update", "update"]

Octets = npt.NDArray[np.uint8]


def illegal_update(fields: Mapping[str, int], beat_bytes: int, rate: int = 0) -> str:
    """Return what is wrong with the fields of an UPDATE; nothing if they are legal.

    ``rate`` is the register ``update_rate``.
    """
    low, high = GRADIENT_SHIFTS
    if not fields["count"]:
        return "count is 0; legal: 1 and more"
    if not (fields["slots"] or low <= fields["gradient_shift"] <= high):
        return f"gradient_shift is {fields['gradient_shift']}; legal: {low} to {high}"
    for name in ("c1", "c2", "c3", "c4", "c5", "c6"):
        if fields[name] > CONSTANT_ONE:
            return f"{name} is {fields[name]}; legal: 0 to {CONSTANT_ONE}"
    if fields["scheduled"] and rate & 0x1FFFF > CONSTANT_ONE:
        return f"update_rate has a factor of {rate & 0x1FFFF}; legal: 0 to {CONSTANT_ONE}"
    for name in ("state", "gradients", "codes"):
        if fields[name] % beat_bytes:
            return f"{name} is {fields[name]:#x}; legal: a multiple of {beat_bytes}"
    if fields["accumulate"] and (fields["momentum"] or fields["root"]):
        return "accumulate with moments"
    if fields["begin"] and not fields["accumulate"]:
        return "begin without accumulate"
    if fields["reserved0"]:
        return f"reserved0 is {fields['reserved0']}; legal: 0"
    return ""


def update(
    fields: Mapping[str, int], state: Octets, gradients: Octets, beat_bytes: int,
    exponents: Sequence[int] = (), rate: int = 0,
) -> tuple[Octets, Octets, int]:
    """Return the new state, the int8 weights and how many weights saturated.

    Parameters
    ----------
    fields : of UPDATE, legal ones.
    state : as `machine.optimizer.join_state` makes it, whole groups.
    gradients : ``count`` of int8, or int32 if ``wide``, and anything behind them.
    exponents : of the slots; rate : the register ``update_rate``.
    """
    shift, beyond = exact_shift(fields, exponents)
    fields = {**fields, "gradient_shift": shift}
    if fields["scheduled"]:
        fields["c5"] = rate & 0x1FFFF
        fields["rate_shift"] = min(31, fields["rate_shift"] + (rate >> 17))
    count, momentum, root = fields["count"], fields["momentum"], fields["root"]
    w, *moments = split_state(state, count, momentum, root, beat_bytes)
    zero = np.zeros_like(w)
    m = moments[0] if momentum else zero
    v = moments[-1] if root else zero
    given = gradients.view("<i4" if fields["wide"] else "i1")[:count].astype(np.int64)
    if fields["accumulate"]:
        w, over = accumulate(fields, w, given)
        made, codes = [w], np.zeros(0, np.int8)
    else:
        w, m, v, codes, over = optimize(fields, w, m, v, given)
        made = [w, *([m] if momentum else []), *([v] if root else [])]
    if beyond:
        over = over | (given != 0)
    # What the last group has beyond the last weight stays as it was.
    after = join_state(made, beat_bytes).view("<u4")
    live = join_state([np.ones(count, np.int64)] * len(made), beat_bytes).view("<u4") == 1
    return (
        np.where(live, after, state.view("<u4")).view(np.uint8), codes.view(np.uint8),
        int(over.sum()),
    )
