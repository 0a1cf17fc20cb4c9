# SPDX-License-Identifier: Apache-2.0
"""Parts of a layer that can be emitted one by one, and in which order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

__all__ = ["Span", "Step", "besides", "interleave"]

Span = tuple[int, int]

_LAG = 2  # rounds from a step to those that read it


@dataclass(frozen=True)
class Step:
    """A part of a layer.

    Members
    -------
    reads : (start, stop) in memory of its operands; holes may be included.
    writes : the same of what it writes.
    emit : appends its instructions to the program.
    """

    reads: tuple[Span, ...]
    writes: Span
    emit: Callable[[], None]


def interleave(layers: Sequence[Sequence[Step]], lag: int = _LAG) -> list[Step]:
    """Return the steps of layers, of which each reads what the one before it writes, in one order.

    Engines take instructions in order: a LOAD that waits for a result keeps those behind it
    waiting. So each round takes a step of the first layer, then of each other layer all steps
    whose operands were written ``lag`` rounds ago or earlier, and are there by now.
    """
    order: list[Step] = []
    taken = [0] * len(layers)
    rounds = [list(taken)] * lag  # what was taken at the beginning of each, the oldest first
    while any(done < len(steps) for done, steps in zip(taken, layers, strict=True)):
        rounds = [*rounds[1:], list(taken)]
        before = rounds[0]
        order += layers[0][taken[0] : taken[0] + 1]
        taken[0] = min(taken[0] + 1, len(layers[0]))
        for place in range(1, len(layers)):
            steps, producers = layers[place], layers[place - 1]
            pending = [step.writes for step in producers[before[place - 1] :]]
            while taken[place] < len(steps):
                step = steps[taken[place]]
                if any(a < stop and start < b for a, b in pending for start, stop in step.reads):
                    break
                order.append(step)
                taken[place] += 1
    return order


def besides(step: Step, builder: object, **what: object) -> Step:
    """Return ``step`` with members of the builder set while it is emitted: ``tally``, by which its
    results are counted, or ``function``, which becomes of them."""

    def emit() -> None:
        for name, value in what.items():
            setattr(builder, name, value)
        step.emit()
        for name in what:
            setattr(builder, name, None)

    return replace(step, emit=emit)
