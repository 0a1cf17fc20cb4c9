# SPDX-License-Identifier: Apache-2.0
"""Real scales as the multiplier and shift fields that the requantizer of each mode takes."""

import math
from typing import Any

import numpy as np

from kiwicha.machine.modes import RequantizeMode

__all__ = ["FIELDS", "ONCE", "QEM_THRESHOLD", "encode_scale", "quantize_multiplier"]

ONCE = 1 << 31
"""Added to a multiplier of mode ``tflite``: its product is rounded once, halves up."""
FIELDS = np.dtype([("multiplier", "<u4"), ("shift", "i1")])
"""Type of a ``scale64`` that holds the fields of mode ``tflite`` themselves, not a real number."""

QEM_THRESHOLD = 1377
"""``round((2**0.03 - 1) * 2**16)``: the bound of Zhang et al. (arXiv 1911.00361) on the error of a
sum of magnitudes, by which the block criterion QEM chooses."""


def quantize_multiplier(scale: float) -> tuple[int, int]:
    """Return TFLite's ``QuantizeMultiplier``: ``(q, shift)`` with scale = q * 2^(shift - 31).

    ``q`` is in [2^30, 2^31), rounded half away from zero; scales below 2^-32 become ``(0, 0)``.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale}; legal: a positive finite number")
    fraction, shift = math.frexp(scale)
    q = math.floor(fraction * (1 << 31) + 0.5)
    if q == 1 << 31:
        q, shift = q >> 1, shift + 1
    return (0, 0) if shift < -31 else (q, shift)


def encode_scale(
    mode: RequantizeMode | str, scale: Any, scale64: Any = None
) -> tuple[Any, Any]:
    """Return ``(multiplier, shift)``, the fields with which ``mode`` expresses ``scale``.

    A scalar gives two ints, an array two int64 arrays of its shape.

    Parameters
    ----------
    scale : the real factor from accumulator to output, for ``onnx`` the binary32 number that ONNX
        Runtime computes, ``f(f(Sx * Sw) / Sy)``.
    scale64 : what the modes of TFLite take instead, where it is given: the binary64 number that
        TFLite computes, ``Sx * Sw / Sy``; or the fields themselves, of type `FIELDS`.

    Raises
    ------
    ValueError
        On a scale that the mode cannot express: not positive and finite; denormal (``onnx``);
        2^30 or more (``tflite``; ``tflite-single`` takes its greatest, as TFLite does); not a
        power of two from 2^-31 to 1 (``shift``).
    """
    mode = RequantizeMode(mode)
    if scale64 is not None and np.asarray(scale64).dtype == FIELDS:
        return _given(mode, np.asarray(scale64))
    wide = mode in (RequantizeMode.TFLITE, RequantizeMode.TFLITE_SINGLE) and scale64 is not None
    scales = np.asarray(scale64 if wide else scale)
    pairs = [_encode(mode, value) for value in scales.ravel()]
    if scales.ndim == 0:
        return pairs[0]
    multiplier, shift = np.array(pairs, np.int64).reshape(-1, 2).T
    return multiplier.reshape(scales.shape), shift.reshape(scales.shape)


def _given(mode: RequantizeMode, fields: Any) -> tuple[Any, Any]:
    if mode is not RequantizeMode.TFLITE:
        raise ValueError(f"the layer rounds as TFLite does; legal: mode tflite, not {mode.value}")
    multiplier, shift = (fields[name].astype(np.int64) for name in ("multiplier", "shift"))
    return (multiplier, shift) if multiplier.ndim else (int(multiplier), int(shift))


def _encode(mode: RequantizeMode, scale: Any) -> tuple[int, int]:
    real = float(scale)
    if not (math.isfinite(real) and real > 0):
        raise ValueError(f"scale is {real}; legal: a positive finite number")
    if mode is RequantizeMode.ONNX:
        single = np.float32(scale)
        if float(single) != real or single < np.finfo(np.float32).tiny:
            raise ValueError(f"scale is {real}; legal in mode onnx: a normal binary32 number")
        return int(single.view(np.uint32)), 0
    if mode is RequantizeMode.SHIFT:
        fraction, exponent = math.frexp(real)
        if fraction != 0.5 or not 0 <= 1 - exponent <= 31:
            raise ValueError(f"scale is {real}; legal in mode shift: a power of two, 2^-31 to 1")
        return 0, 1 - exponent
    multiplier, shift = quantize_multiplier(real)
    if shift > 30:
        if mode is RequantizeMode.TFLITE:
            raise ValueError(f"scale is {real}; legal in mode tflite: below 2^30")
        return (1 << 31) - 1, 30
    return multiplier, shift
