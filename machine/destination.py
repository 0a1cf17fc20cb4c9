# SPDX-License-Identifier: Apache-2.0
"""Where STORE writes: memory, or past it on chip what LOAD would write from there."""

from typing import TYPE_CHECKING

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import LoadTarget

if TYPE_CHECKING:  # Amaranth has no types; to a type checker its enums are the library's
    import enum
else:
    from amaranth.lib import enum

__all__ = ["FORWARDED", "StoreDestination", "destinations"]


class StoreDestination(enum.IntEnum, shape=2):
    """STORE's field ``destination``; but for MEMORY, ``address`` is one on chip, and whole beats
    are written, as LOAD does, of the output buffer or SPECIAL's results."""

    MEMORY = 0
    ACTIVATION = 1  #: the activation scratchpad
    OPERAND = 2  #: SPECIAL's operands: lane * special.bytes + offset


FORWARDED = {
    StoreDestination.ACTIVATION: LoadTarget.ACTIVATION,
    StoreDestination.OPERAND: LoadTarget.OPERAND,
}
"""What LOAD calls the memories on chip that STORE can write."""


def destinations(config: AcceleratorConfig) -> dict[StoreDestination, int]:
    """Return the bytes of each memory on chip that STORE can write."""
    if not config.forwarding:
        return {}
    found = {StoreDestination.ACTIVATION: config.activation_bytes}
    if config.special.lanes:
        found[StoreDestination.OPERAND] = config.special.lanes * config.special.bytes
    return found
