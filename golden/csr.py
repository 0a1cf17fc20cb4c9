# SPDX-License-Identifier: Apache-2.0
"""Compressed sparse rows as bytes: golden.csc of the transpose, with absolute indices.

For a layer, columns give one input's weights to all outputs, rows one output's weights of all
inputs; the bytes and the decoder are the same.
"""

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden import csc
from kiwicha.machine.formats import encode_csr as encode

__all__ = ["decode", "encode"]


def decode(
    octets: NDArray[np.uint8], rows: int, length: int, *, index_bits: int = 10, beat_bytes: int = 16
) -> NDArray[np.int8]:
    """Return the ``rows`` x ``length`` matrix of a stream; ValueError as ``golden.csc.decode``."""
    return csc.decode(
        octets, length, rows, index_bits=index_bits, relative=False, beat_bytes=beat_bytes
    ).T
