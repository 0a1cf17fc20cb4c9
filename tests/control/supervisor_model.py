# SPDX-License-Identifier: Apache-2.0
"""The supervisor in Python, cycle by cycle, as its contract has it."""

from collections.abc import Sequence

from kiwicha.hw.control.supervisor import CLEAR_CYCLES, SETTLE_CYCLES, State
from kiwicha.machine.isa import ErrorCode

__all__ = ["DRAIN_LIMIT", "Model"]

DRAIN_LIMIT = 43

Fault = tuple[int, int]


class Model:
    """The contract cycle by cycle: what shows after the inputs of a cycle were taken."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.state, self.early, self.reported = State.IDLE, False, False
        self.fault: Fault | None = None
        self.age = self.settled = self.still = 0
        self.go = self.finished = self.failed = False

    def enter(self, state: State) -> None:
        """Change to a state."""
        self.state, self.age, self.settled = state, 0, 0

    def settle(self, idle: bool) -> bool:
        """Count quiet cycles; return whether there were enough."""
        self.settled = self.settled + 1 if idle else 0
        return self.settled == SETTLE_CYCLES

    def step(
        self, *, start: bool, abort: bool, faults: Sequence[Fault | None], ended: bool,
        quiet: bool, idle: bool, progress: bool,
    ) -> None:
        """Take the inputs of a cycle; ``faults`` of the sources, the most important first."""
        self.go = self.finished = self.failed = False
        self.age += 1
        if self.state is State.CLEARING:
            self.fault, self.early = None, self.early or abort
            if self.age == CLEAR_CYCLES:
                self.enter(State.RUNNING)
                self.go, self.reported, self.still = True, False, 0
        elif self.state is State.RUNNING:
            watchdog = self.limit and self.still == self.limit
            found = [fault for fault in faults if fault]
            found += [(ErrorCode.WATCHDOG, 0)] * bool(watchdog)
            found += [(ErrorCode.ABORTED, 0)] * (abort or self.early)
            self.still = 0 if progress else self.still + 1
            if self.fault:
                self.enter(State.DRAINING)
            elif found:
                self.fault, self.settled = found[0], 0
            elif self.settle(ended and quiet and idle):
                self.enter(State.DONE)
                self.finished = True
        elif self.state is State.DRAINING:
            late = self.age == DRAIN_LIMIT
            if drained := self.settle(idle):
                self.enter(State.ERROR)
            if (drained or late) and not self.reported:
                self.failed = self.reported = True
        elif start:
            self.enter(State.CLEARING)
            self.early = abort

    def shows(self) -> dict[str, int]:
        """Return what is on the outputs in the next cycle."""
        clear = self.state is State.CLEARING
        code, address = self.fault or (ErrorCode.NONE, 0)
        return {
            "state": self.state.value, "clear": clear, "go": self.go,
            "stop": clear or self.fault is not None, "running": self.state is State.RUNNING,
            "error": int(code) | address << 8,
            "finished": self.finished, "failed": self.failed,
        }
