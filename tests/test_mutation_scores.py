# SPDX-License-Identifier: Apache-2.0
"""Share of small netlist faults that the units' own tests notice (`make mutate`).

A survivor is an equivalent design or a hole in the tests; the list is printed for whoever tightens
them. The limits are what was reached when the row was written, and only ever rise. A few mutants of
each unit are tried in every run of the tests, so that no row stops working unnoticed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from amaranth.lib.wiring import Component

from kiwicha.hw.compute.address_generator import AddressGenerator
from kiwicha.hw.compute.loop_nest import LoopNest
from kiwicha.hw.control.counters import Counters
from kiwicha.hw.control.dispatch import Dispatch
from kiwicha.hw.control.engines import machine_engines
from kiwicha.hw.control.fetch import Fetch
from kiwicha.hw.control.issue import Issue
from kiwicha.hw.control.tokens import Tokens
from kiwicha.hw.load.matrix_writer import MatrixWriter
from kiwicha.hw.parts.fault import FaultCollector
from kiwicha.hw.parts.queue import Queue
from kiwicha.hw.parts.realign import Realigner
from kiwicha.hw.parts.slice import RegisterSlice
from kiwicha.machine.presets import preset

from .compute import test_address_generator, test_loop_nest
from .control import test_issue, test_supervisor
from .load import test_matrix_writer
from .parts import test_fault
from .support.equivalence import proven_equal
from .support.mutation import MutationScore, mutation_score

WHOLE = 60
#: Share of a sample that has to be killed: a score of so few says whether the bench works at all.
SAMPLE_LIMIT = 0.5


@dataclass(frozen=True)
class Row:
    """A unit under mutation.

    Members
    -------
    unit : ``tests/<unit>.py``, with ``test_`` before the name, has the cocotb tests.
    make : returns the component.
    limit : share of ``WHOLE`` mutants that has to be killed.
    params : what the tests are run with, one after the other, as in ``run_cocotb``.
    sample : mutants in every run; fewer where the tests take seconds.
    proved : every survivor is proved to be the same design.
    """

    unit: str
    make: Callable[[], Component]
    limit: float
    params: Sequence[Mapping[str, Any]] = ({},)
    sample: int = 8
    proved: bool = False

    def score(self, mutants: int) -> MutationScore:
        """Run the unit's tests on so many mutants; the same ones every time."""
        group, name = self.unit.split("/")
        found = mutation_score(
            self.make(), f"tests.{group}.test_{name}", mutants, params=self.params, name=name
        )
        print(f"{found.score:.1%} of {found.mutants}", *found.survivors, sep="\n")
        return found


TINY = preset("tiny")
SQUARE = {"machine": "square", "offer": "random"}
COUNTERS = {"absent": [], "width": 64, "clear_cycles": Counters().clear_cycles}

ROWS = (
    Row("parts/queue", lambda: Queue(16, 4), 0.95, [{"depth": 4, "capacity": 5}]),
    Row("parts/slice", lambda: RegisterSlice(16), 0.95, [{"inside": 1}]),
    Row("control/tokens", lambda: Tokens(3), 0.9, [{"seed": 14, "bits": 3, "absent": []}]),
    Row("control/issue", lambda: Issue(test_issue.VECTOR), 0.95),
    Row("control/counters", Counters, 0.9, [COUNTERS]),
    Row("control/dispatch", lambda: Dispatch(TINY), 0.85,
        [{"engines": list(machine_engines(TINY))}], sample=4),
    Row("control/fetch", lambda: Fetch(TINY), 0.85, [{"beat_bytes": TINY.beat_bytes}], sample=4),
    Row("parts/fault", lambda: FaultCollector(test_fault.SOURCES), 0.95),
    Row("control/supervisor", test_supervisor.unit, 0.95, sample=4, proved=True),
    Row("compute/loop_nest", lambda: LoopNest(4, test_loop_nest.WIDTH), 0.9,
        [{"levels": 4, "tails": 0}]),
    Row("compute/address_generator", lambda: AddressGenerator(test_address_generator.ROWS, 6, 4),
        0.9, [{"interval": 6, "gap": 4, "policy": "random", "stall": True, "latency": 3,
               "depthwise": False}],
        sample=4),
    Row("parts/realign", lambda: Realigner(8), 0.9,
        [{"beat": 8, "greed": 0.9, "offer": "random", "head": 1}]),
    Row("load/matrix_writer", lambda: MatrixWriter(test_matrix_writer.MACHINES["square"]), 0.85,
        [SQUARE]),
)

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.unit.split("/")[1])


@pytest.mark.mutate
@every_row
def test_score(row, record_property):
    found = row.score(WHOLE)
    holes, score = found.survivors, found.score
    record_property("score", f"{score:6.1%} of {found.mutants} mutants killed")
    if row.proved or score < row.limit:
        # What is proved to be the same design is no mutant.
        holes = [mutant for mutant in holes if not proven_equal(row.make(), mutant)]
        score = found.killed / (found.killed + len(holes))
        print(f"{score:.1%}, equal ones apart")
    assert score >= row.limit, "\n".join(holes)
    assert not (row.proved and holes), "\n".join(holes)


@every_row
def test_sample(row):
    found = row.score(row.sample)
    assert found.mutants == row.sample
    assert found.score >= SAMPLE_LIMIT, "\n".join(found.survivors)
