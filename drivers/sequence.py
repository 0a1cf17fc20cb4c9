# SPDX-License-Identifier: Apache-2.0
"""What a driver writes to start a program, and what an error that the machine reports means."""

from typing import Final

from kiwicha.drivers import registers as r

__all__ = ["EVENTS", "error_text", "start_registers"]

EVENTS: Final = r.INTERRUPT_STATUS_DONE_MASK | r.INTERRUPT_STATUS_ERROR_MASK
"""Bits of interrupt_enable and interrupt_status."""


def start_registers(
    program: tuple[int, int],
    read_window: tuple[int, int],
    write_window: tuple[int, int],
    base: int = 0,
) -> dict[int, int]:
    """Return the values of registers by offset before a program is started.

    Parameters
    ----------
    program : (address, bytes); windows : (base, limit), limit exclusive; all of them from the
        image's beginning, which is at ``base``.
    """
    found = {
        r.PROGRAM_LENGTH_OFFSET: program[1],
        r.INTERRUPT_ENABLE_OFFSET: EVENTS,
        r.INTERRUPT_STATUS_OFFSET: EVENTS,
    }
    for offset, address in (
        (r.PROGRAM_ADDRESS_LOW_OFFSET, program[0]),
        (r.READ_BASE_LOW_OFFSET, read_window[0]), (r.READ_LIMIT_LOW_OFFSET, read_window[1]),
        (r.WRITE_BASE_LOW_OFFSET, write_window[0]), (r.WRITE_LIMIT_LOW_OFFSET, write_window[1]),
    ):
        found[offset] = (base + address) & 0xFFFF_FFFF
        found[offset + 4] = (base + address) >> 32
    return dict(sorted(found.items()))


def error_text(code: int, address: int) -> str:
    """Return what the registers error_code and error_address say as one sentence."""
    if code not in r.ERRORS:
        return f"the machine stopped: unknown error {code} at {address:#x}"
    name, detail, meaning = r.ERRORS[code]
    where = {
        r.DETAIL_NOTHING: "",
        r.DETAIL_MEMORY: f" at {address:#x}",
        r.DETAIL_UNIT: f" of {r.UNITS.get(address, 'an unknown unit')}",
        r.DETAIL_STREAM: f" at byte {address} of the stream",
    }[detail]
    return f"the machine stopped: {name}{where}: {meaning}"
