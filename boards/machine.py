# SPDX-License-Identifier: Apache-2.0
"""Runs programs on a board through its link, on a desk or in a simulation alike."""

from collections.abc import Mapping

from kiwicha.boards.link.client import HostLink
from kiwicha.boards.link.transport import LinkError
from kiwicha.boards.program import BoardProgram
from kiwicha.drivers.sequence import error_text, start_registers
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.register_map import IDENTITY, RegisterMap

__all__ = ["BoardMachine"]

_WAIT_SECONDS = 0.25


class BoardMachine:
    """The machine behind a link.

    Parameters
    ----------
    link : opened already.
    config : the machine that the board is thought to have.

    Raises
    ------
    LinkError
        It has another one; and from every method, where the link fails or the machine stops.
    """

    def __init__(self, link: HostLink, config: AcceleratorConfig) -> None:
        self.link, self.config = link, config
        self._registers = RegisterMap(config)
        if link.identity.fingerprint != config.fingerprint:
            raise LinkError(
                f"the board's machine has fingerprint {link.identity.fingerprint:#010x}, "
                f"'{config.name}' has {config.fingerprint:#010x}"
            )
        if (found := self.read_register("identity")) != IDENTITY:
            raise LinkError(f"the machine's identity register reads {found:#010x}")
        self._program: BoardProgram | None = None

    def read_register(self, name: str) -> int:
        """Return a register's value."""
        return self.link.read_registers(self._registers[name].offset, 1)[0]

    def load(self, program: BoardProgram) -> None:
        """Put weights and instructions into memory; inputs and results are left alone."""
        if program.fingerprint != self.config.fingerprint:
            raise LinkError(f"the program is for the machine '{program.name}'")
        spare = [program.write_window, *((a, a + n) for a, n in program.inputs.values())]
        start = 0
        for low, high in (*sorted(spare), (len(program.image),) * 2):
            self.link.write(start, program.image[start:low].tobytes())
            start = max(start, high)
        self._program = program

    def run(
        self, inputs: Mapping[str, bytes], *, limit: float = 10.0
    ) -> tuple[dict[str, bytes], int]:
        """Run the program that was loaded; return its outputs by tensor name, and its cycles.

        Parameters
        ----------
        inputs : bytes of every input tensor.
        limit : seconds after which it is given up.
        """
        program = self._program
        if program is None:
            raise LinkError("no program is loaded")
        for name, (address, size) in program.inputs.items():
            if len(inputs[name]) != size:
                raise LinkError(f"input {name!r} has {len(inputs[name])} bytes; must be {size}")
            self.link.write(address, inputs[name])
        watchdog = self._registers["watchdog"]
        self._write_registers({
            **start_registers(program.program, program.read_window, program.write_window),
            watchdog.offset: watchdog.reset,
        })
        self._write_registers({self._registers["control"].offset: 1})
        waited = 0.0
        while not self.link.wait(min(_WAIT_SECONDS, limit)):
            waited += _WAIT_SECONDS
            if waited >= limit:
                raise LinkError(f"no interrupt after {waited:g} s")
        if code := self.read_register("error_code"):
            low, high = (self.read_register(f"error_address_{half}") for half in ("low", "high"))
            raise LinkError(error_text(code, low | high << 32))
        cycles = self.read_register("cycles_low")
        found = {n: self.link.read(a, size) for n, (a, size) in program.outputs.items()}
        return found, cycles

    def _write_registers(self, values: Mapping[int, int]) -> None:
        """Write registers by offset, those that follow each other in one request."""
        runs: list[tuple[int, list[int]]] = []
        for offset, value in sorted(values.items()):
            if runs and offset == runs[-1][0] + 4 * len(runs[-1][1]):
                runs[-1][1].append(value)
            else:
                runs.append((offset, [value]))
        for offset, run in runs:
            self.link.write_registers(offset, run)
