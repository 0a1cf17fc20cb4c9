# SPDX-License-Identifier: Apache-2.0
"""What a COMPUTE instruction does to the accumulators, by the field comments of `machine.isa`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kiwicha.golden.accumulator import accumulate
from kiwicha.golden.address_generator import activation_lanes, compute_steps, weight_tile
from kiwicha.golden.systolic import matmul

__all__ = ["compute"]


def compute(
    fields: Mapping[str, Any],
    activation: np.ndarray,
    weight: np.ndarray,
    accumulator: np.ndarray,
    rows: int,
) -> None:
    """Execute an instruction: ``accumulator`` is changed in place.

    Parameters
    ----------
    fields : the instruction, as `machine.encoding.decode` returns it.
    activation : the scratchpad, ``uint8[activation_bytes]``.
    weight : the scratchpad, ``uint8[weight rows, weight pitch]``.
    accumulator : ``int32[accumulator_depth, columns]``.
    rows : rows of the array; the result does not depend on them.

    Raises
    ------
    IndexError
        For a weight tile or an accumulator entry outside its memory.
    """
    steps = compute_steps(fields)
    vectors = activation_lanes(fields, steps, activation, rows)[:, : fields["rows"]]
    if steps.entry.max() >= len(accumulator):
        raise IndexError(f"accumulator entry {steps.entry.max()} of {len(accumulator)}")
    columns = accumulator.shape[1]
    for begin in range(0, len(steps), steps.pixels):
        part = slice(begin, begin + steps.pixels)
        tile = weight_tile(fields, int(steps.weight_row[begin]), weight, columns)
        entry = steps.entry[part]
        accumulator[entry] = accumulate(
            accumulator[entry],
            matmul(vectors[part], tile),
            first=bool(steps.first[begin]),
            maximum=bool(fields["maximum"]),
        )
