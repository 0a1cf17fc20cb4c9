# SPDX-License-Identifier: Apache-2.0
"""A function of single results as a table, on VECTOR's way out."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["look_up"]


def look_up(table: NDArray[np.uint8], results: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the table's entry of each result.

    Parameters
    ----------
    table : uint8, 256: the byte for each byte.
    results : raw bytes, int8 or uint8 alike.
    """
    found: NDArray[np.uint8] = table[results]
    return found
