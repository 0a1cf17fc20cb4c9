# SPDX-License-Identifier: Apache-2.0
"""A machine behind its registers, for drivers: what the golden machine computes, at once."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.golden.machine import Machine, MachineError
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ErrorCode
from kiwicha.machine.register_map import Access, RegisterMap

__all__ = ["FakeMachine"]


@dataclass
class FakeMachine:
    """Registers of a machine, and memory.

    Members
    -------
    memory : uint8, from byte address ``origin`` on.
    busy_looks : how many reads of a register a program takes to run; None for ever.
    stops : (error code, address) with which the next program stops.
    changes : values that registers read in place of their own.
    writes : offsets and values written, in order.
    """

    config: AcceleratorConfig
    memory: NDArray[np.uint8]
    origin: int = 0
    busy_looks: int | None = 3
    stops: tuple[ErrorCode, int] | None = None
    changes: dict[str, int] = field(default_factory=dict)
    writes: list[tuple[int, int]] = field(default_factory=list)
    cycles: int = 0

    def __post_init__(self) -> None:
        self._map = {register.offset: register for register in RegisterMap(self.config)}
        self._values = {register.name: register.reset for register in self._map.values()}
        self._left: int | None = None

    @property
    def running(self) -> bool:
        """Whether a program runs."""
        return bool(self._values["status"] & 2)

    @property
    def interrupt(self) -> bool:
        """The line."""
        return bool(self._values["interrupt_enable"] & self._values["interrupt_status"])

    def read32(self, offset: int) -> int:
        """Read a register; a real bus answers with an error where there is none."""
        register = self._map[offset]
        if self.running and self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self._finish()
        return self.changes.get(register.name, self._values[register.name])

    def write32(self, offset: int, value: int) -> None:
        """Write a register."""
        register = self._map[offset]
        assert 0 <= value < 1 << 32
        self.writes.append((offset, value))
        assert not (register.locked and self.running), f"{register.name} is locked"
        if register.name == "control":
            if value & 1 and not self.running:
                self._values["status"], self._left = 2, self.busy_looks
                self._values["error_code"] = 0
            if value & 2 and self.running:
                self._stop(ErrorCode.ABORTED, 0)
        elif register.access is Access.CLEAR:
            self._values[register.name] &= ~value
        elif register.access is Access.WRITE:
            mask = sum(((1 << p.width) - 1) << p.low for p in register.fields)
            self._values[register.name] = value & mask

    def _address(self, name: str) -> int:
        return self._values[f"{name}_low"] | self._values[f"{name}_high"] << 32

    def _stop(self, code: ErrorCode, address: int) -> None:
        self._values |= {
            "status": 0x10, "error_code": int(code), "error_address_low": address & 0xFFFFFFFF,
            "error_address_high": address >> 32,
        }
        self._values["interrupt_status"] |= 2

    def _finish(self) -> None:
        if self.stops is not None:
            self._stop(*self.stops)
            self.stops = None
            return
        start = self._address("program_address") - self.origin
        words = self.memory[start : start + self._values["program_length"]].view("<u8")
        windows = [
            (self._address(f"{kind}_base") - self.origin, self._address(f"{kind}_limit")
             - self.origin) for kind in ("read", "write")
        ]
        machine = _Elsewhere(self.config, self.memory, *windows)
        machine.origin = self.origin
        try:
            machine.run(words)
        except MachineError as error:
            assert "window" in str(error) or "granted" in str(error), error
            self._stop(ErrorCode.WRITE_WINDOW, self.origin)
            return
        self.cycles += 1000
        self._values |= {"status": 8, "cycles_low": self.cycles, "steps": 17}
        self._values["interrupt_status"] |= 1


class _Elsewhere(Machine):
    """The golden machine with memory that begins at ``origin``."""

    origin = 0

    def _load(self, fields: dict[str, Any]) -> None:
        super()._load(fields | {"address": fields["address"] - self.origin})

    def _store(self, fields: dict[str, Any]) -> None:
        if fields["destination"] == 0:
            fields = fields | {"address": fields["address"] - self.origin}
        super()._store(fields)
