# SPDX-License-Identifier: Apache-2.0
"""What a COMPUTE instruction does to the accumulators, by the field comments of `machine.isa`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kiwicha.golden.accumulator import accumulate
from kiwicha.golden.address_generator import activation_lanes, compute_steps, weight_tile
from kiwicha.golden.systolic import column_filter, matmul

__all__ = ["compute"]


def compute(
    fields: Mapping[str, Any],
    activation: np.ndarray,
    weight: np.ndarray,
    accumulator: np.ndarray,
    rows: int,
    tags: np.ndarray | None = None,
) -> None:
    """Execute an instruction: ``accumulator`` is changed in place.

    Parameters
    ----------
    fields : the instruction, as `machine.encoding.decode` returns it.
    activation : the scratchpad, ``uint8[activation_bytes]``.
    weight : the scratchpad, ``uint8[weight rows, weight pitch]``.
    accumulator : ``int32[accumulator_depth, columns]``.
    rows : rows of the array; the result does not depend on them, but that columns beyond them
        filter zeros.
    tags : exponents of the scratchpad's lines, ``int8``, if it has any.

    Raises
    ------
    IndexError
        For a weight tile or an accumulator entry outside its memory, or a filter that reaches
        beyond its pass.
    """
    steps = compute_steps(fields)
    vectors, taps = activation_lanes(fields, steps, activation, rows, tags), fields["rows"]
    last = int(steps.entry[steps.result].max())
    if last >= len(accumulator):
        raise IndexError(f"accumulator entry {last} of {len(accumulator)}")
    results = np.flatnonzero(steps.result[: steps.pixels])
    if fields["filter"] and results[-1] + taps > steps.pixels:
        raise IndexError(f"{taps} taps from vector {results[-1]} of {steps.pixels} on")
    columns = accumulator.shape[1]
    for begin in range(0, len(steps), steps.pixels):
        part = slice(begin, begin + steps.pixels)
        tile = weight_tile(fields, int(steps.weight_row[begin]), weight, columns)
        entry = steps.entry[part][results]
        if fields["filter"]:
            sums = column_filter(vectors[part], tile)
        else:
            sums = matmul(vectors[part, :taps], tile)
        accumulator[entry] = accumulate(
            accumulator[entry],
            sums[results],
            first=bool(steps.first[begin]),
            maximum=bool(fields["maximum"]),
        )
