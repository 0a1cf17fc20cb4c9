# SPDX-License-Identifier: Apache-2.0
"""Requantize: an int32 accumulator becomes int8 or uint8, bit for bit as a named runtime does it.

``requantize_float`` and ``requantize_fixed`` hold the arithmetic, this file the stream around it.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from kiwicha.hw.parts.requantize_common import REQUANTIZE_INPUT, REQUANTIZE_OUTPUT
from kiwicha.hw.parts.requantize_fixed import FixedRequantize, ShiftRequantize
from kiwicha.hw.vector.requantize_float import FloatRequantize
from kiwicha.machine.modes import CellFamily, RequantizeMode

__all__ = ["RequantizeLane"]


class RequantizeLane(wiring.Component):
    """One requantizer: ``clamp(round((acc + bias) * scale) + zero_point, low, high)``.

    ``acc + bias`` wraps in int32, as in ONNX Runtime. The mode says what the product and ``round``
    are:

    ============= ================================================== ============== =============
    mode          arithmetic                                         multiplier     shift
    ============= ================================================== ============== =============
    onnx          ONNX Runtime (MLAS): float32(acc) * scale, rint,   bits of the    not used
                  all half to even in binary32                       binary32 scale
    tflite        gemmlowp: high product half up, then division by   [2^30, 2^31)   -31 to 30
                  a power of two half away from zero                 or 0
    tflite-single one 64-bit rounding, half up                       the same       -31 to 30
    shift         floor(acc / 2^shift + 1/2)                         not used       0 to 31
    ============= ================================================== ============== =============

    The whole int32 range of ``acc + bias`` is exact. ``onnx`` takes every positive normal scale.
    What is done outside a mode's domain is stated at ``FloatRequantize``, ``FixedRequantize`` and
    ``ShiftRequantize``; the result stays within ``low`` and ``high`` always.

    One result a cycle, ``latency`` cycles after its accumulator.

    Parameters
    ----------
    mode : what it computes.
    multiplier_width : operand bits of the multipliers the product is made of: 0 for a single
        product (25 x 24 bits in ``onnx``, 32 x 31 in ``tflite*``), else 4 to 32, such as 18 or 9,
        for partial products and a pipelined sum. More latency, the same throughput.
    target : what those are made of; a cell's own registers take two cycles more.
    registered : whether a register cuts the shift of the product, and ``onnx``'s normalization is
        one step a cycle: one cycle more, three in ``onnx``.

    Members
    -------
    i : In(always-ready stream of REQUANTIZE_INPUT)
        ``acc``, ``bias`` int32; ``multiplier`` 32 bits; ``shift`` int8; ``zero_point``, ``low``
        and ``high`` (inclusive, ``low <= high``) of 9 bits signed. All belong to that one element.
    o : Out(always-ready stream of REQUANTIZE_OUTPUT)
        ``value`` of 9 bits signed, so that it holds int8 and uint8.

    Raises
    ------
    ValueError
        On an illegal ``multiplier_width``.
    """

    i: In(stream.Signature(REQUANTIZE_INPUT, always_ready=True))
    o: Out(stream.Signature(REQUANTIZE_OUTPUT, always_ready=True))

    def __init__(
        self, mode: RequantizeMode, multiplier_width: int, target: CellFamily, registered: bool
    ) -> None:
        self._core: FloatRequantize | FixedRequantize | ShiftRequantize
        if mode is RequantizeMode.ONNX:
            self._core = FloatRequantize(multiplier_width, target, registered)
        elif mode is RequantizeMode.SHIFT:
            self._core = ShiftRequantize(registered)
        else:
            self._core = FixedRequantize(mode, multiplier_width, target, registered)
        super().__init__()

    @property
    def latency(self) -> int:
        """Cycles from an accumulator on ``i`` to its result on ``o``."""
        return self._core.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.core = core = self._core
        valid = Signal(core.latency)
        m.d.sync += valid.eq(Cat(self.i.valid, valid))
        m.d.comb += [
            self.o.valid.eq(valid[-1]),
            self.o.payload.eq(core.o),
            core.i.eq(self.i.payload),
        ]
        return m
