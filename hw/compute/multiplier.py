# SPDX-License-Identifier: Apache-2.0
"""Which multiplier a machine has: one for every target of the configuration.

A further FPGA family is a subclass of ``Multiplier`` and a line in ``MULTIPLIERS``.
"""

from kiwicha.hw.compute.multiplier_base import Multiplier
from kiwicha.hw.compute.multiplier_ecp5 import Ecp5Multiplier
from kiwicha.hw.compute.multiplier_ice40 import Ice40Multiplier
from kiwicha.machine.modes import CellFamily

__all__ = ["MULTIPLIERS", "GenericMultiplier", "multiplier_class"]


class GenericMultiplier(Multiplier):
    """A plain ``*`` between fabric registers, for tools that map or absorb them as they please."""


MULTIPLIERS: dict[CellFamily, type[Multiplier]] = {
    CellFamily.GENERIC: GenericMultiplier,
    CellFamily.ECP5: Ecp5Multiplier,
    CellFamily.ICE40: Ice40Multiplier,
}


def multiplier_class(target: CellFamily) -> type[Multiplier]:
    """Return the class of ``target``'s multiplier, which tells its ``latency``.

    Raises
    ------
    ValueError
        When there is none for it.
    """
    if target not in MULTIPLIERS:
        legal = ", ".join(known.value for known in MULTIPLIERS)
        raise ValueError(f"multiplier is {target!r}; legal: {legal}")
    return MULTIPLIERS[target]
