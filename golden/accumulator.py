# SPDX-License-Identifier: Apache-2.0
"""What happens to a partial sum when it reaches the accumulators."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["accumulate"]


def accumulate(
    held: ArrayLike, psum: ArrayLike, *, first: bool, maximum: bool = False
) -> NDArray[np.int32]:
    """Return the accumulators' new contents.

    Parameters
    ----------
    held : int32, what they hold.
    psum : int32, what arrives.
    first : what arrives replaces what is held.
    maximum : keep the larger one (pooling); otherwise add, modulo 2^32.
    """
    held, psum = np.asarray(held, np.int32), np.asarray(psum, np.int32)
    if first:
        return psum.copy()
    if maximum:
        return np.maximum(held, psum)
    return (held.view(np.uint32) + psum.view(np.uint32)).view(np.int32)
