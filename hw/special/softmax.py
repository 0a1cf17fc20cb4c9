# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of a softmax behind its exponentials: sums of rows, and quotients by them.

The cores of all modes have the same ports and rules; they differ in the numbers, in ``spacing`` and
in ``latency``.
"""

from kiwicha.hw.special.softmax_fixed import IntegerSoftmax, TfliteSoftmax
from kiwicha.hw.special.softmax_float import FloatSoftmax
from kiwicha.machine.modes import SoftmaxMode

__all__ = ["SoftmaxCore", "softmax_core"]

SoftmaxCore = type[FloatSoftmax] | type[TfliteSoftmax] | type[IntegerSoftmax]


def softmax_core(mode: SoftmaxMode | str) -> SoftmaxCore:
    """Return the class of the core that computes in ``mode``; it takes no parameters.

    Ports (``SOFTMAX_CORE``) and rules of all cores:

    add : In(always-ready stream of ADD)
        Adds ``value`` to the sum of the row ``slot``, in the order of arrival; ``first`` starts the
        sum with it. Two additions to one slot are at least ``spacing`` cycles apart (in
        consecutive cycles: 1).
    close : In(stream of CLOSE)
        In the cycle of the row's last addition or later. Prepares the divisions by its sum; the
        core itself waits for additions that are still on their way.
    idle : Out(1)
        All closes taken up to the cycle before are done.
    divide : In(always-ready stream of DIVIDE)
        Divides ``value`` by the sum of the row ``slot``, whose close is done and which nobody has
        started anew.
    o : Out(always-ready stream of QUOTIENT)
        The quotients, ``latency`` cycles later.

    The ports do not wait for each other: one addition and one division in every cycle. Sums and
    what is prepared stay until the next ``first`` and the next close of the slot.
    """
    classes: dict[SoftmaxMode, SoftmaxCore] = {
        SoftmaxMode.ONNX: FloatSoftmax,
        SoftmaxMode.TFLITE: TfliteSoftmax,
        SoftmaxMode.INTEGER: IntegerSoftmax,
    }
    return classes[SoftmaxMode(mode)]
