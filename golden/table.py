# SPDX-License-Identifier: Apache-2.0
"""A function of one byte by a table of all its values."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["table"]


def table(
    x: npt.NDArray[Any], entries: npt.NDArray[np.uint8], y_dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Return ``entries[raw byte of x]`` as ``y_dtype``, of ``x``'s shape.

    ``x`` is int8 or uint8; ``entries`` holds the raw bytes of the results, -1 being 255.

    Raises
    ------
    ValueError
        When there are not 256 entries.
    """
    if entries.shape != (256,) or entries.dtype != np.uint8:
        raise ValueError(f"entries are {entries.dtype}{entries.shape}; legal: uint8(256,)")
    return entries[x.astype(np.uint8)].view(y_dtype)
