# SPDX-License-Identifier: Apache-2.0
"""Runs a program with its engines as far apart as its tokens let them be."""

import numpy as np

from kiwicha.golden.machine import Machine
from kiwicha.machine.encoding import walk_program
from kiwicha.machine.isa import Engine, Opcode

__all__ = ["EAGER_LOAD", "LAZY_STORE", "run_in_order_of"]

EAGER_LOAD = (Engine.LOAD, Engine.COMPUTE, Engine.VECTOR, Engine.SPECIAL, Engine.STORE)
"""Whoever comes first in the data flow goes first: operands are overwritten as soon as allowed."""
LAZY_STORE = EAGER_LOAD[::-1]
"""The other way round: results are taken as soon as allowed."""


class _Engines(Machine):
    """The golden machine, told which instruction comes next."""

    def run(self, words: np.ndarray) -> None:
        raise NotImplementedError

    def may_begin(self, engine: Engine, fields: dict) -> bool:
        """Whether all tokens are there."""
        return all(self.tokens[other, engine] for other in Engine if fields["wait"] >> other & 1)

    def step(self, opcode: Opcode, fields: dict) -> None:
        """Execute one instruction, beginning and end."""
        engine = Engine[opcode.name]
        self._take_tokens(engine, fields["wait"])
        getattr(self, f"_{opcode.name.lower()}")(fields)
        self._give_tokens(engine, fields["signal"])


def run_in_order_of(
    preference: tuple[Engine, ...], machine: Machine, words: np.ndarray
) -> np.ndarray:
    """Run a program on a copy of the machine and its memory as they are; return that memory.

    At each point the first engine of ``preference`` that has its tokens goes on by one instruction.
    """
    copy = _Engines(
        machine.config, machine.memory.copy(), machine.read_window, machine.write_window
    )
    queues = {engine: [] for engine in Engine}
    for _, opcode, fields in walk_program(words):
        if opcode != Opcode.END:
            queues[Engine[opcode.name]].append((opcode, fields))
    while any(queues.values()):
        for engine in preference:
            if queues[engine] and copy.may_begin(engine, queues[engine][0][1]):
                copy.step(*queues[engine].pop(0))
                break
        else:
            raise AssertionError("every engine waits for another")
    return copy.memory
