# SPDX-License-Identifier: Apache-2.0
"""What the softmax cores of all modes share: the ports."""

from amaranth.hdl import signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature

from kiwicha.machine.latency import SOFTMAX_GROUP

__all__ = ["ADD", "CLOSE", "DIVIDE", "QUOTIENT", "SLOTS", "SOFTMAX_CORE"]

#: Rows that a core can hold at a time: a group that is measured and one in use.
SLOTS = 2 * SOFTMAX_GROUP

#: One term of a row's sum; ``first`` starts the sum.
ADD = data.StructLayout({"slot": range(SLOTS), "first": 1, "value": 32})

CLOSE = data.StructLayout({"slot": range(SLOTS)})

#: One dividend of a closed row.
DIVIDE = data.StructLayout({"slot": range(SLOTS), "value": 32})

#: A quotient, at most 511, to which the zero point is yet to be added.
QUOTIENT = signed(11)

#: The ports of every softmax core; see ``hw.special.softmax``.
SOFTMAX_CORE = Signature({
    "add": In(stream.Signature(ADD, always_ready=True)),
    "close": In(stream.Signature(CLOSE)),
    "idle": Out(1),
    "divide": In(stream.Signature(DIVIDE, always_ready=True)),
    "o": Out(stream.Signature(QUOTIENT, always_ready=True)),
})
