# SPDX-License-Identifier: Apache-2.0
"""Training in integers: shifts by a tensor's own range, and the errors of integer cross-entropy.

NITI (arXiv 2009.13108): everything is int8 with one exponent a tensor, between -127 and 127. Where
the paper draws random numbers, dropped bits are compared with each other (`golden.rounding`,
``pseudo``), so that a step has one result. Exponents of logits are cut to ``LOSS_EXPONENTS``:
beyond them no error differs that has the few bits that errors have.
"""

import numpy as np
import numpy.typing as npt

from kiwicha.golden.rounding import round_shift
from kiwicha.machine.shifts import ALL_GONE

__all__ = ["LIMIT", "LOSS_EXPONENTS", "cross_entropy_errors", "magnitude", "shifted"]

LIMIT = 127
"""Greatest magnitude of a number."""
LOSS_EXPONENTS = (-16, 8)
_LOG2_E = 47274  #: log2(e) * 2^15
_WINDOW = 10  #: octaves below the greatest logit that count
_UNIT = 11  #: an error of 1 is 2^11 before it is shifted
_SHIFT = 4


def magnitude(acc: npt.ArrayLike) -> int:
    """Return the greatest absolute value of int32 sums, 0 to 2^31."""
    total = np.abs(np.asarray(acc, np.int64))
    return int(total.max()) if total.size else 0


def shifted(
    acc: npt.ArrayLike, shift: int, rounding: str = "half_up", low: int = -LIMIT, high: int = LIMIT
) -> npt.NDArray[np.int8]:
    """Return int32 sums divided by ``2**shift``, as int8 between ``low`` and ``high``.

    Parameters
    ----------
    shift : 0 to 31, or `machine.shifts.ALL_GONE` and more, which leave 0.
    rounding : ``half_up`` (activations, errors) or ``pseudo`` (gradients).
    """
    total = np.asarray(acc, np.int64)
    q = np.zeros_like(total) if shift >= ALL_GONE else round_shift(total, shift, rounding)
    return np.clip(q, low, high).astype(np.int8)


def cross_entropy_errors(
    logits: npt.ArrayLike, exponent: int, labels: npt.ArrayLike
) -> npt.NDArray[np.int8]:
    """Return the errors of logits: softmax less one for the label, in units of 2^-7.

    With e > -7: ``z = x * 47274 >> 15`` (times log2 e), shifted by e (down: towards minus
    infinity), ``z = max(z - (max z - 10), 0)``, ``g = 2^z - 1``. Else, e to the x by Taylor:
    ``g = 2^(1 - 2 e) + x * 2^(1 - e) + x^2``. Then ``t = g * 2^11 // sum g``, the label's t less
    the sum of the row's, and all shifted by four bits, rounded pseudo-randomly.

    Parameters
    ----------
    logits : int8 [rows, classes], -127 to 127 (-128 is taken as it is).
    exponent : of the logits.
    labels : [rows]; a label that is no class has nothing taken off.
    """
    x = np.asarray(logits, np.int64)
    e = min(max(exponent, LOSS_EXPONENTS[0]), LOSS_EXPONENTS[1])
    if e > -7:
        z = x * _LOG2_E >> 15
        z = z << e if e >= 0 else z >> -e
        z = np.maximum(z - (z.max(axis=1, keepdims=True) - _WINDOW), 0)
        g = (1 << z) - 1
    else:
        g = (1 << (1 - 2 * e)) + x * (1 << (1 - e)) + x * x
    t = (g << _UNIT) // g.sum(axis=1, keepdims=True)
    is_label = np.arange(x.shape[1]) == np.asarray(labels, np.int64)[:, None]
    errors = t - is_label * t.sum(axis=1, keepdims=True)
    return shifted(errors, _SHIFT, "pseudo")
