# SPDX-License-Identifier: Apache-2.0
"""Instructions as Python values: fields to 64-bit words and back, as `machine.isa` lays out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data

from kiwicha.machine.isa import INSTRUCTION_WORDS, INSTRUCTIONS, WORD_BITS, Opcode
from kiwicha.machine.window import WINDOW

__all__ = [
    "decode", "encode", "flat_index", "index_fields", "walk_program", "window",
    "window_field",
]


@dataclass(frozen=True)
class _Field:
    """A field's place and legal values, or the fields that it consists of; Amaranth's layouts
    compute these anew each time, and programs have millions of fields."""

    offset: int
    low: int = 0
    high: int = 0
    mask: int = 0
    inside: "Mapping[Any, _Field] | None" = None


def _fields(layout: data.Layout) -> dict[Any, _Field]:
    found = {}
    for name, field in layout:
        if isinstance(field.shape, data.Layout):
            found[name] = _Field(field.offset, inside=_fields(field.shape))
            continue
        shape = Shape.cast(field.shape)
        half = 1 << (shape.width - 1) if shape.signed else 0
        mask = (1 << shape.width) - 1
        found[name] = _Field(field.offset, -half, mask - half, mask)
    return found


_WINDOW = _fields(WINDOW)
_FIELDS = {opcode: _fields(layout) for opcode, layout in INSTRUCTIONS.items()}


def _pack(fields: Mapping[Any, _Field], value: Any, where: str) -> int:
    bits = 0
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
    for name, item in pairs:
        field = fields[name]
        if field.inside is not None:
            packed = _pack(field.inside, item, f"{where}.{name}")
        else:
            number = int(item)
            if not field.low <= number <= field.high:
                raise ValueError(
                    f"{where}.{name} is {number}; legal: {field.low} to {field.high}"
                )
            packed = number & field.mask
        bits |= packed << field.offset
    return bits


def _unpack(layout: data.Layout, bits: int) -> Any:
    def value(field: data.Field) -> Any:
        raw = bits >> field.offset
        if isinstance(field.shape, data.Layout):
            return _unpack(field.shape, raw & ((1 << field.shape.size) - 1))
        shape = Shape.cast(field.shape)
        raw &= (1 << shape.width) - 1
        return raw - (1 << shape.width) if shape.signed and raw >> (shape.width - 1) else raw

    if isinstance(layout, data.ArrayLayout):
        return [value(field) for _, field in layout]
    return {name: value(field) for name, field in layout}


def encode(opcode: Opcode, **fields: Any) -> np.ndarray:
    """Return an instruction's words, ``uint64[length]``; fields left out are zero.

    Raises
    ------
    ValueError
        When a value does not fit its field; the message names field, value and range.
    KeyError
        When there is no such field.
    """
    bits = _pack(_FIELDS[opcode], {"opcode": opcode, **fields}, opcode.name)
    size = INSTRUCTION_WORDS[opcode] * WORD_BITS // 8
    return np.frombuffer(bits.to_bytes(size, "little"), "<u8").copy()


def decode(opcode: Opcode, words: Sequence[int] | np.ndarray) -> dict[str, Any]:
    """Return the fields of an instruction given as its words."""
    bits = sum(int(word) << (index * WORD_BITS) for index, word in enumerate(words))
    return _unpack(INSTRUCTIONS[opcode], bits)


def index_fields(first: int, pitch: int) -> dict[str, int]:
    """Return the fields of VECTOR that say, in mode BLOCK with random rounding, where results lie.

    Parameters
    ----------
    first : index of the instruction's first result in its tensor, 0 to 2^32 - 1.
    pitch : elements from one pixel to the next, 0 to 65535.

    Raises
    ------
    ValueError
        For a number out of range.
    """
    if not 0 <= first < 1 << 32:
        raise ValueError(f"first is {first}; legal: 0 to 4294967295")
    if not 0 <= pitch < 1 << 16:
        raise ValueError(f"pitch is {pitch}; legal: 0 to 65535")
    halves = {"low": first & 0xFFFF, "high": first >> 16, "zero_point": pitch}
    return {name: half - (half >> 15 << 16) for name, half in halves.items()}


def flat_index(fields: Mapping[str, int]) -> tuple[int, int]:
    """Return ``first`` and ``pitch`` of ``index_fields``."""
    low, high, pitch = (fields[name] & 0xFFFF for name in ("low", "high", "zero_point"))
    return low | high << 16, pitch


def window_field(**window: int) -> int:
    """Return VECTOR's field ``scales`` for windows, whose `machine.window.WINDOW` fields are given.

    Raises
    ------
    ValueError
        When a value does not fit; the message names field, value and range.
    """
    return _pack(_WINDOW, window, "WINDOW")


def window(fields: Mapping[str, int]) -> dict[str, int]:
    """Return the WINDOW fields of a VECTOR in mode REQUANTIZE."""
    found: dict[str, int] = _unpack(WINDOW, fields["scales"])
    return found


def walk_program(words: np.ndarray) -> Iterator[tuple[int, Opcode, dict[str, Any]]]:
    """Yield (word index, opcode, fields) for each instruction up to and including END.

    Raises
    ------
    ValueError
        For an unknown opcode, or when the words run out before END.
    """
    index = 0
    while index < len(words):
        code = int(words[index]) & 0xF
        if code not in set(Opcode):
            raise ValueError(f"illegal opcode {code} at word {index}")
        opcode = Opcode(code)
        length = INSTRUCTION_WORDS[opcode]
        if index + length > len(words):
            break
        yield index, opcode, decode(opcode, words[index : index + length])
        if opcode == Opcode.END:
            return
        index += length
    raise ValueError(f"the program ends at word {index} without END")
