# SPDX-License-Identifier: Apache-2.0
"""CSR streams against scipy.sparse."""

import numpy as np
from hypothesis import given
from scipy import sparse

from kiwicha.golden import csc, csr

from .test_csc import matrices


@given(matrices())
def test_lossless(matrix):
    octets = csr.encode(matrix)
    assert (csr.decode(octets, *matrix.shape) == matrix).all()
    other = sparse.csr_matrix(matrix)
    rows = len(matrix)
    ends = octets[: 2 * rows].view("<u2")
    assert ends.tolist() == other.indptr[1:].tolist()
    body = octets[-(-rows // 4) * 8 :]
    words = csc.unpack_bits(body, 18, other.nnz)
    assert (words & 1023).tolist() == other.indices.tolist()
    assert (words >> 10).astype(np.uint8).view(np.int8).tolist() == other.data.tolist()
