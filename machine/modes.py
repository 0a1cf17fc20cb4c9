# SPDX-License-Identifier: Apache-2.0
"""Named choices of a configuration: what they mean, and reading them from plain strings."""

from enum import Enum

from kiwicha.machine.require import field_name

__all__ = [
    "BlockCriterion", "BlockRounding", "BlockScale", "CellFamily", "RequantizeMode", "SoftmaxMode",
]


class _Choice(str, Enum):
    @classmethod
    def read(cls, owner: object, field: str) -> None:
        """Make the plain string that a user wrote in a field a member.

        Raises
        ------
        ValueError
            Where it names none; lists those there are.
        """
        value = getattr(owner, field)
        try:
            object.__setattr__(owner, field, cls(value))
        except ValueError:
            legal = ", ".join(member.value for member in cls)
            raise ValueError(f"{field_name(owner, field)} is {value!r}; legal: {legal}") from None


class RequantizeMode(_Choice):
    """How an int32 accumulator becomes int8; each is exact to the runtime it names."""

    ONNX = "onnx"  #: ONNX Runtime on x86-64: binary32 multiply, half to even, zero point added last
    TFLITE = "tflite"  #: gemmlowp double rounding, TFLite's convolutions
    TFLITE_SINGLE = "tflite-single"  #: TFLite built with TFLITE_SINGLE_ROUNDING
    SHIFT = "shift"  #: power-of-two scales, round half up


class SoftmaxMode(_Choice):
    """How a softmax is computed; each is exact to what it names."""

    ONNX = "onnx"  #: ONNX Runtime's QLinearSoftmax: binary32 sums in order, a division each
    TFLITE = "tflite"  #: TFLite's int8 softmax (gemmlowp fixed point)
    INTEGER = "integer"  #: I-BERT's: 16-bit integer exponentials, one integer division a row


class BlockScale(_Choice):
    """Scales of local dynamic quantization, after Cambricon-Q."""

    POT = "pot"  #: powers of two: a shift
    FREE = "free"  #: largest magnitude / 127: a division for each block
    MULTIWAY = "multiway"  #: powers of two, the best of several bit widths and clips


class BlockRounding(_Choice):
    """How a block's values are rounded; `golden.rounding` defines it."""

    HALF_EVEN = "half_even"  #: to nearest, half to even
    HALF_UP = "half_up"  #: to nearest, half towards plus infinity
    HALF_AWAY = "half_away"  #: to nearest, half away from zero
    PSEUDO = "pseudo"  #: up or down by the bits that are dropped, as in NITI
    LFSR = "lfsr"  #: up or down by random words that seed, step and place make


class BlockCriterion(_Choice):
    """What the best of several ways to quantize a block is; `golden.multiway` defines them."""

    L1 = "l1"  #: least sum of the errors
    L2 = "l2"  #: least sum of their squares
    BIAS = "bias"  #: least error of the sum of magnitudes
    COSINE = "cosine"  #: least angle
    QEM = "qem"  #: the first way whose bias is within a bound


class CellFamily(_Choice):
    """FPGA family of which multipliers and block RAMs are instantiated."""

    GENERIC = "generic"  #: none: plain `*` and arrays, left to the synthesis tool
    ECP5 = "ecp5"  #: MULT18X18D, DP16KD and PDPW16KD with all their registers
    ICE40 = "ice40"  #: SB_MAC16 of the UltraPlus with all its registers
