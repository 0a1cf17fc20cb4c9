# SPDX-License-Identifier: Apache-2.0
"""The SPECIAL instruction on the bytes of the operand and result memories, through the tables.

`machine.isa` names the fields, `machine.tables` makes the tables. ``f`` is one rounding to
binary32, half to even; every result is clamped to [low, high] and stored as its low byte.

TABLE: y = low byte of A[x] (not clamped).

ADD: y = rint(f(±A[x] * 2^shift + B[z])) + zero_point, A integers, 0 or 2^23 and more, - where x is
signed and negative, B binary32; rint as in `golden.add.to_integers`.

MUL: y = rint(f(f(a b (2^23 + s) * 2^shift) + c)) + zero_point; a, b: bits 0 to 7 of A[x] and of
B[z], negative where bit 8 is set; c: bits 16 to 31 of A[x], the upper half of a binary32 number;
s: bits 9 to 31 of B[z]; rint as for ADD.

On machines with ``fixed_pairs``, ADD is y = m(A[x] + B[z]) + zero_point, of signed entries, and MUL
y = m(a b) + zero_point, a and b the signed bits 0 to 8 of A[x] and B[z]; m is
`golden.fixed_pair.multiply_by`, its multiplier above the places in x, z and y.

ADD and MUL: an operand with `row` has one row for all rows of y; one with `byte` has rows of one
byte, for all elements of a row.

SOFTMAX, with d = row maximum - x (0 to 255):
onnx: s = sum of A[d] in order from 0, each step rounded to binary32; y = rint(f(B[d] / s)) +
zero_point; A and B are +0 or positive normal binary32, s is too, the quotient is below 2^24.
tflite: s = sum of A[d], 20 to 31 bits; (r, e) = `golden.softmax.reciprocal`(s), once a row;
p = (r * B[d] + 2^30) >> 31; y = ((p + 2^(e - 1)) >> e) + zero_point, with e = 23 to 34.
integer: s = sum of A[d], 15 to 31 bits; r = floor(2^32 / s), at most 18 bits, once a row;
y = ((B[d] * r) >> 24) + zero_point, the product below 2^32.

CROSS_ENTROPY: y = `golden.niti.cross_entropy_errors` of the row x, int8, with the exponent of slot
`table`, and its label, the byte z of the row; no clamp.

NORMALIZE: `golden.normalize.normalize_rows` with gains A, offsets B and epsilon in the field z;
uncentred with the zero point x_zero, of uint8 less 128.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from kiwicha.golden.add import to_integers
from kiwicha.golden.niti import cross_entropy_errors
from kiwicha.golden.normalize import normalize_rows
from kiwicha.golden.requantize import requantize_tflite
from kiwicha.golden.softmax import reciprocal
from kiwicha.machine.fixed_pairs import multiplier_of
from kiwicha.machine.isa import SLOTS, SpecialOperation
from kiwicha.machine.modes import SoftmaxMode
from kiwicha.machine.pair_tables import multiply, multiply_add

__all__ = ["no_loss", "special"]

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]


def no_loss(fields: Mapping[str, Any], classes: int) -> str | None:
    """Return why a machine for rows of ``classes`` has no errors of such logits, or None."""
    if not classes:
        return "the machine has no training.classes"
    if fields["length"] > classes:
        return f"length is {fields['length']}; legal: 1 to {classes}"
    if not fields["z_byte"] or fields["table"] >= SLOTS:
        return f"z_byte is {fields['z_byte']}, table {fields['table']}; legal: 1, 0 to 3"
    return None


def special(
    fields: Mapping[str, Any],
    operand: Bytes,
    tables: Words,
    result: Bytes,
    mode: SoftmaxMode | str,
    fixed_pairs: bool = False,
    exponents: Sequence[int] = (),
) -> None:
    """Execute SPECIAL; ``result`` is changed in place.

    Parameters
    ----------
    fields : as ``machine.encoding.decode`` returns them.
    operand, result : uint8[lanes, special.bytes].
    tables : uint32[2, special.entries], A and B, the same for all lanes.
    mode : arithmetic of SOFTMAX.
    fixed_pairs : arithmetic of ADD and MUL.
    exponents : of the slots (CROSS_ENTROPY).

    Raises
    ------
    IndexError
        When a row or a table in use lies outside its memory; nothing is changed then.
    ValueError
        On an operation that does not exist.
    """
    operation = SpecialOperation(fields["operation"])
    fixed = fixed_pairs and operation in (SpecialOperation.ADD, SpecialOperation.MUL)
    if fixed:
        fields, multiplier = multiplier_of(fields)
    length, first = fields["length"], 256 * fields["table"]
    entries = length if operation is SpecialOperation.NORMALIZE else 256
    loss = operation is SpecialOperation.CROSS_ENTROPY
    if loss:
        first, entries = 0, 0
    if first + entries > tables.shape[1]:
        raise IndexError(f"tables end at {first + entries} of {tables.shape[1]} entries")
    a, b = tables[:, first : first + entries]
    lanes = [
        (lane, count)
        for lane in range(len(operand))
        if (count := min(fields["rows"], fields["total"] - lane * fields["rows"])) > 0
    ]
    needed = {"x": operand, "y": result}
    if loss or operation in (SpecialOperation.ADD, SpecialOperation.MUL):
        needed["z"] = operand
    for name, memory in needed.items():
        for lane, count in lanes:
            size = prod(_shape(fields, name, count, length))
            if (end := fields[name] + size) > memory.shape[1]:
                raise IndexError(f"lane {lane}: {name} ends at {end} of {memory.shape[1]} bytes")
    for lane, count in lanes:

        def rows(name: str, lane: int = lane, count: int = count) -> Bytes:
            shape = _shape(fields, name, count, length)
            part = operand[lane, fields[name] :][: prod(shape)].reshape(shape)
            return np.broadcast_to(part, (count, length))

        x = rows("x")
        if operation is SpecialOperation.TABLE:
            y = (a[x] & 0xFF).astype(np.int64)
        elif fixed:
            y = _clamp(_fixed(operation, a[x], b[rows("z")], multiplier, fields["shift"]), fields)
        elif operation is SpecialOperation.ADD:
            signs = np.where(_typed(x, fields["x_signed"]) < 0, -1, 1)
            total = multiply_add(
                signs * a[x].astype(np.int64), 2.0 ** fields["shift"], b.view(np.float32)[rows("z")]
            )
            y = _clamp(to_integers(total), fields)
        elif operation is SpecialOperation.MUL:
            y = _clamp(to_integers(multiply(a[x], b[rows("z")], fields["shift"])), fields)
        elif loss:
            labels = rows("z")[:, 0]
            y = cross_entropy_errors(x.view(np.int8), exponents[fields["table"]], labels)
        elif operation is SpecialOperation.SOFTMAX:
            y = _clamp(_softmax(_typed(x, fields["x_signed"]), a, b, SoftmaxMode(mode)), fields)
        else:
            middle = 0 if fields["x_signed"] else 128
            y = normalize_rows(
                _typed(x, fields["x_signed"]), a.view(np.int32), b.view(np.int32),
                fields["shift"], fields["z"], fields["zero_point"], fields["low"], fields["high"],
                fields["x_zero"] + middle if fields["uncentred"] else None,
            )
        start = fields["y"]
        result[lane, start : start + count * length] = y.ravel().astype(np.uint8)


def _shape(fields: Mapping[str, Any], name: str, rows: int, length: int) -> tuple[int, int]:
    """Return how many rows there are of x, y or z to so many results, and bytes in each."""
    again = (0, 0) if name == "y" else (fields[f"{name}_row"], fields[f"{name}_byte"])
    return 1 if again[0] else rows, 1 if again[1] else length


def _typed(raw: Bytes, is_signed: int) -> npt.NDArray[Any]:
    return raw.view(np.int8) if is_signed else raw


def _clamp(value: npt.NDArray[Any], fields: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    total = value + fields["zero_point"]
    return np.clip(total, fields["low"], fields["high"]).astype(np.int64)


def _fixed(
    operation: SpecialOperation, a: Words, b: Words, multiplier: int, shift: int
) -> npt.NDArray[np.int64]:
    first, second = a.view(np.int32).astype(np.int64), b.view(np.int32).astype(np.int64)
    if operation is SpecialOperation.MUL:
        first, second = ((term + 256) % 512 - 256 for term in (first, second))
        total = first * second
    else:
        total = first + second
    # Where TFLite overflows, as the requantizer does: saturated by the sign.
    codes = requantize_tflite(total, multiplier, shift, 0, -256, 255)
    return codes.astype(np.int64)


def _softmax(x: npt.NDArray[Any], a: Words, b: Words, mode: SoftmaxMode) -> npt.NDArray[Any]:
    wide = x.astype(np.int64)
    below = wide.max(axis=-1, keepdims=True) - wide
    if mode is SoftmaxMode.ONNX:
        terms, scaled = a.view(np.float32)[below], b.view(np.float32)[below]
        return np.rint(scaled / np.cumsum(terms, axis=-1, dtype=np.float32)[..., -1:])
    total = a.astype(np.int64)[below].sum(axis=-1, keepdims=True)
    dividends = b.astype(np.int64)[below]
    if mode is SoftmaxMode.TFLITE:
        factor, exponent = reciprocal(total)
        product = (factor * dividends + (1 << 30)) >> 31
        return (product + (np.int64(1) << (exponent - 1))) >> exponent
    return dividends * ((1 << 32) // total) >> 24
