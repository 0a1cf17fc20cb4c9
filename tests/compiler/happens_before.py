# SPDX-License-Identifier: Apache-2.0
"""What the tokens of a program guarantee: which instructions are done before each one begins."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from kiwicha.machine.encoding import walk_program
from kiwicha.machine.isa import ENGINES, Engine, Opcode

__all__ = ["Step", "steps"]


class Step(NamedTuple):
    """An instruction in its place.

    engine, number : its number-th, counted from 1, of this engine.
    opcode, fields : as they are encoded.
    done : for each engine, how many of its instructions are done for sure when this one begins.
    """

    engine: Engine
    number: int
    opcode: Opcode
    fields: dict[str, Any]
    done: list[int]


def steps(words: np.ndarray) -> Iterator[Step]:
    """Yield the instructions in program order, vector clocks kept by the tokens alone.

    An engine works in order, but may begin an instruction before the last one is done: of its own
    instructions none is known to be done that a token has not told of.
    """
    tokens: dict[tuple[int, int], list[list[int]]] = {
        (a, b): [] for a in range(ENGINES) for b in range(ENGINES)
    }
    known = [[0] * ENGINES for _ in range(ENGINES)]
    begun = [0] * ENGINES
    for _, opcode, fields in walk_program(words):
        if opcode == Opcode.END:
            return
        engine = Engine[opcode.name]
        for other in range(ENGINES):
            if fields["wait"] >> other & 1:
                told = tokens[other, engine].pop(0)
                known[engine] = [max(a, b) for a, b in zip(known[engine], told, strict=True)]
        begun[engine] += 1
        yield Step(engine, begun[engine], opcode, fields, list(known[engine]))
        done = list(known[engine])
        done[engine] = begun[engine]
        for other in range(ENGINES):
            if fields["signal"] >> other & 1:
                tokens[engine, other].append(done)
