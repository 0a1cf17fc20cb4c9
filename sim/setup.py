# SPDX-License-Identifier: Apache-2.0
"""What software writes into the registers before it starts a program."""

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.register_map import RegisterMap

__all__ = ["setup_writes"]

_EVENTS = 3  # done and error


def setup_writes(
    config: AcceleratorConfig,
    program: tuple[int, int],
    read_window: tuple[int, int],
    write_window: tuple[int, int],
    *,
    watchdog: int = 1 << 20,
    random: tuple[int, int] = (0, 0),
) -> list[tuple[int, int]]:
    """Return (offset, value) of each register, in order.

    Parameters
    ----------
    program : (byte address, bytes); windows : (base, limit), limit exclusive.
    random : seed and step of the random words, on machines that have them.
    """
    registers = RegisterMap(config)

    def halves(name: str, value: int) -> list[tuple[int, int]]:
        low, high = registers[f"{name}_low"], registers[f"{name}_high"]
        parts = [(low.offset, value & 0xFFFFFFFF)]
        return [*parts, (high.offset, value >> 32)] if high.fields else parts

    writes = [
        *halves("program_address", program[0]),
        (registers["program_length"].offset, program[1]),
        *halves("read_base", read_window[0]),
        *halves("read_limit", read_window[1]),
        *halves("write_base", write_window[0]),
        *halves("write_limit", write_window[1]),
        (registers["watchdog"].offset, watchdog),
        (registers["interrupt_enable"].offset, _EVENTS),
    ]
    if config.blocks.random:
        names = ("random_seed", "random_step")
        writes += [(registers[n].offset, v) for n, v in zip(names, random, strict=True)]
    return writes
