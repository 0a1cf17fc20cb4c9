# SPDX-License-Identifier: Apache-2.0
"""Programs are compiled for memory from address 0; which of their words follow it elsewhere.

A word that is an address in memory is one as a whole, so that who loads a program adds the base to
it and knows nothing else of instructions.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from kiwicha.machine.destination import StoreDestination
from kiwicha.machine.isa import (
    INSTRUCTION_WORDS,
    LOAD,
    STORE,
    UPDATE,
    WORD_BITS,
    Opcode,
)

__all__ = ["ADDRESSES", "BASE_ALIGNMENT", "address_words", "relocated"]

BASE_ALIGNMENT: Final = 4096
"""A base that is a multiple of this changes no cycle: bursts end where they would, since none of
AXI's crosses such a boundary. Legal is any multiple of the beat."""

ADDRESSES: Final[Mapping[Opcode, tuple[data.Layout, tuple[str, ...]]]] = {
    Opcode.LOAD: (LOAD, ("address",)),
    Opcode.STORE: (STORE, ("address",)),
    Opcode.UPDATE: (UPDATE, ("state", "gradients", "codes")),
}
"""Fields that are byte addresses in memory, by instruction; STORE's only where its destination is
memory."""


def _word(layout: data.Layout, name: str) -> int:
    field = layout[name]
    assert field.offset % WORD_BITS == 0
    assert field.width == WORD_BITS
    return int(field.offset) // WORD_BITS


_WORDS: Final = {
    opcode: tuple(_word(layout, name) for name in names)
    for opcode, (layout, names) in ADDRESSES.items()
}
_DESTINATION: Final = STORE["destination"]
assert _DESTINATION.offset + _DESTINATION.width <= WORD_BITS


def address_words(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the places, in a program up to its END, of the words that are addresses in memory.

    Raises
    ------
    ValueError
        For an unknown opcode, or when the words run out before END.
    """
    return np.fromiter(_places(words), np.int64)


def _places(words: NDArray[np.uint64]) -> Iterator[int]:
    lengths = {int(opcode): length for opcode, length in INSTRUCTION_WORDS.items()}
    index, size = 0, len(words)
    while index < size:
        first = int(words[index])
        if (code := first & 0xF) not in lengths:
            raise ValueError(f"illegal opcode {code} at word {index}")
        if index + lengths[code] > size:
            break
        if code == Opcode.END:
            return
        destination = first >> _DESTINATION.offset & (1 << _DESTINATION.width) - 1
        if code != Opcode.STORE or destination == StoreDestination.MEMORY:
            for place in _WORDS.get(Opcode(code), ()):
                yield index + place
        index += lengths[code]
    raise ValueError(f"the program ends at word {index} without END")


def relocated(words: NDArray[np.uint64], base: int) -> NDArray[np.uint64]:
    """Return a program for memory from ``base`` on."""
    moved = words.copy()
    moved[address_words(words)] += np.uint64(base)
    return moved
