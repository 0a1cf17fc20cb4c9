# SPDX-License-Identifier: Apache-2.0
"""Runs a program again and again on the simulated machine: a little memory in, a little out."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kiwicha.machine.register_map import RegisterMap
from kiwicha.sim.memory_file import hex_words
from kiwicha.sim.setup import setup_writes
from kiwicha.sim.simulation import MachineStopped, SimulatedMachine, run_folder
from kiwicha.sim.simulator import RunResult, SimulatorError, run_design

__all__ = ["Steps", "run_steps"]

Octets = NDArray[np.uint8]

_POLL = 0.02  # seconds
_LIMIT = 1 << 24  # cycles of a step


@dataclass(frozen=True, eq=False)
class Steps:
    """What happens again and again. Addresses and sizes are whole beats.

    Members
    -------
    image : memory before the first step.
    program : (address, bytes); ``programs`` : its bytes in each variant [variants, bytes].
    read_window, write_window : to grant.
    patch : where ``patches`` [steps, bytes] go before each step; ``variant`` [steps] : which
        program it is.
    result : (address, bytes) of what is read behind each step.
    written : name of a register that is written before each step, and ``values`` [steps]; "" for
        none. read : name of one that is read behind it: four bytes more of its result.
    """

    image: Octets
    program: tuple[int, int]
    programs: Octets
    read_window: tuple[int, int]
    write_window: tuple[int, int]
    patch: int
    patches: Octets
    variant: NDArray[np.int64]
    result: tuple[int, int]
    written: str = ""
    values: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    read: str = ""


def run_steps(
    machine: SimulatedMachine, steps: Steps, *, latency: int = 20, stall: int = 0, seed: int = 1
) -> Iterator[Octets]:
    """Yield what memory holds behind each step, as soon as it is there.

    Parameters
    ----------
    latency, stall, seed : as of `SimulatedMachine.run`.

    Raises
    ------
    MachineStopped
        When the machine reports an error.
    SimulatorError
        When the simulation breaks.
    """
    config, beat = machine.config, machine.config.beat_bytes
    registers = RegisterMap(config)
    errors = ("error_code", "error_address_low", "error_address_high")
    with run_folder() as folder:
        padded = np.pad(steps.image, (0, -len(steps.image) % beat))
        (folder / "image.hex").write_text(hex_words(padded, beat), encoding="ascii")
        np.savez(
            folder / "patches.npz", patches=steps.patches, variant=steps.variant,
            programs=steps.programs, values=steps.values,
        )
        job = {
            "beat": beat, "patches": "patches.npz", "results": "results.bin",
            "writes": setup_writes(
                config, steps.program, steps.read_window, steps.write_window
            ),
            "start": (registers["control"].offset, 1),
            "clear": (registers["interrupt_status"].offset, 3),
            "error": [registers[name].offset for name in errors],
            "program": steps.program[0], "patch": steps.patch, "limit": 2 * _LIMIT,
            "address": steps.result[0], "size": steps.result[1],
            "written": registers[steps.written].offset if steps.written else None,
            "read": registers[steps.read].offset if steps.read else None,
        }
        plusargs = [
            f"+latency={latency}", f"+stall={stall}", f"+seed={seed}", "+first=0",
            f"+last={padded.size // beat - 1}", "+image=image.hex", "+result=result.hex",
            "+patch=patch.hex",
        ]
        run = _Run(machine, folder, job, plusargs)
        try:
            size = steps.result[1] + 4 * bool(steps.read)
            yield from _results(run, folder / "results.bin", size, len(steps.patches))
        finally:
            (folder / "stop").touch()
            run.join()


class _Run(threading.Thread):
    """The simulation, in a thread; ``failure`` is what it raised."""

    def __init__(
        self, machine: SimulatedMachine, folder: Path, job: dict[str, object], plusargs: list[str]
    ) -> None:
        super().__init__(daemon=True)
        self.machine, self.folder, self.job, self.plusargs = machine, folder, job, plusargs
        self.outcome: RunResult | None = None
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self.outcome = run_design(
                self.machine.build, "kiwicha.sim.steps_driver", run_dir=self.folder,
                env={"KIWICHA_JOB": json.dumps(self.job)}, plusargs=self.plusargs,
            )
        except BaseException as error:  # raised again by whoever waits
            self.failure = error

    def require_passed(self) -> None:
        """Raise what went wrong."""
        if self.failure is not None:
            raise self.failure
        stopped = self.folder / "stopped.json"
        if stopped.exists():
            code, low, high = json.loads(stopped.read_text(encoding="utf-8"))
            raise MachineStopped(code, high << 32 | low)
        assert self.outcome is not None
        if not self.outcome.passed:
            reasons = "; ".join(self.outcome.failures)
            raise SimulatorError(
                f"the simulation failed: {reasons} (log: {self.outcome.log_file})"
            )


def _results(run: _Run, path: Path, size: int, count: int) -> Iterator[Octets]:
    """Yield the results that a run appends to a file."""
    path.touch()
    run.start()
    with path.open("rb") as file:
        for _ in range(count):
            octets = file.read(size)
            while len(octets) < size:
                over = not run.is_alive()
                more = file.read(size - len(octets))
                octets += more
                if over and not more:
                    break
                if not more:
                    time.sleep(_POLL)
            if len(octets) < size:
                break
            yield np.frombuffer(octets, np.uint8)
    run.join()
    run.require_passed()
