# SPDX-License-Identifier: Apache-2.0
"""What SPECIAL's two tables hold for sums and products in TFLite's fixed point, and where an
instruction has their multiplier.

Tables are ``uint32[256]`` by the raw byte. ADD: y = m(A[x] + B[z]); MUL: y = m(A[x] B[z]), of nine
bits each; m multiplies by ``multiplier * 2^(shift - 31)``, as `golden.fixed_pair.multiply_by` says.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kiwicha.machine.scales import quantize_multiplier

__all__ = [
    "PLACE_BITS", "FixedTables", "multiplier_of", "product_tables", "sum_tables",
    "with_multiplier",
]

FixedTables = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], int, int]
"""A, B, multiplier and shift."""
PLACE_BITS: Final = 20
"""Bits of the fields x, z and y that are a place in a lane's memory, of 1 MiB at most."""
_PARTS: Final = (("x", 0, 12), ("z", 12, 12), ("y", 24, 7))
"""Field above PLACE_BITS, and which bits of the multiplier it has there."""
_LEFT: Final = 20
_PRODUCT_SHIFT: Final = 14


def with_multiplier(fields: Mapping[str, Any], multiplier: int) -> dict[str, Any]:
    """Return the fields of a sum or a product with a multiplier of 31 bits above its places."""
    return {
        **fields,
        **{
            name: fields[name] | (multiplier >> low & ((1 << bits) - 1)) << PLACE_BITS
            for name, low, bits in _PARTS
        },
    }


def multiplier_of(fields: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Return the fields with the places alone in x, z and y, and the multiplier above them."""
    multiplier = sum(fields[name] >> PLACE_BITS << low for name, low, _ in _PARTS)
    mask = (1 << PLACE_BITS) - 1
    return {**fields, **{name: fields[name] & mask for name, _, _ in _PARTS}}, multiplier


def sum_tables(
    a: tuple[float, int, npt.DTypeLike], b: tuple[float, int, npt.DTypeLike], y_scale: float,
    sign: int = 1,
) -> FixedTables:
    """Return what ADD takes for a + b, or, with ``sign`` -1, for a - b.

    Both differences from their zero points are moved left by 20 places and brought to the scale
    2 max(Sa, Sb), which makes each less than 2^27.

    Parameters
    ----------
    a, b : scale, zero point and type.

    Raises
    ------
    ValueError
        On a result's scale that is 2^-19 of twice the larger of the operands' or less.
    """
    scales = [float(np.float32(scale)) for scale, _, _ in (a, b)]
    twice = 2 * max(scales)
    result = twice / ((1 << _LEFT) * float(np.float32(y_scale)))
    if result >= 1:
        raise ValueError(
            f"y_scale is {y_scale}; legal: more than 2^-19 of the larger operand's {max(scales)}"
        )
    terms = []
    for scale, (_, zero, dtype), factor in zip(scales, (a, b), (1, sign), strict=True):
        multiplier, shift = quantize_multiplier(scale / twice)
        product = ((_distance(dtype, zero) << _LEFT) * multiplier + (1 << 30)) >> 31
        half = (1 << -shift) >> 1
        rounded = (product + half - ((product < 0) & (shift < 0))) >> -shift
        terms.append((factor * rounded).astype(np.int32).view(np.uint32))
    return (terms[0], terms[1], *quantize_multiplier(result))


def product_tables(
    a: tuple[float, int, npt.DTypeLike], b: tuple[float, int, npt.DTypeLike], y_scale: float
) -> FixedTables:
    """Return what MUL takes for a b; parameters as of `sum_tables`.

    Raises
    ------
    ValueError
        On scales of which f(f(Sa Sb) / Sy) is 2^14 or more: there LiteRT overflows.
    """
    with np.errstate(over="ignore", under="ignore"):
        real = float(np.float32(a[0]) * np.float32(b[0]) / np.float32(y_scale))
    if not 0 < real < 1 << _PRODUCT_SHIFT:
        raise ValueError(f"the product's scale over y_scale is {real}; legal: above 0, below 2^14")
    first, second = (
        _distance(dtype, zero).astype(np.int32).view(np.uint32) for _, zero, dtype in (a, b)
    )
    return (first, second, *quantize_multiplier(real))


def _distance(dtype: npt.DTypeLike, zero: int) -> npt.NDArray[np.int64]:
    """All codes of an 8-bit type by their raw byte, less a zero point."""
    return np.arange(256, dtype=np.uint8).view(dtype).astype(np.int64) - zero
