# SPDX-License-Identifier: Apache-2.0
"""Share of small netlist faults that the units' own tests notice (`make mutate`).

A survivor is an equivalent design or a hole in the tests; the list is printed for whoever tightens
them. The limits are what was reached when the row was written, and only ever rise.
"""

import pytest

from hw.control.counters import Counters
from hw.control.dispatch import Dispatch
from hw.control.fault import FaultCollector
from hw.control.issue import Issue
from hw.control.queue import Queue
from hw.control.tokens import Tokens
from hw.memory.matrix_writer import MatrixWriter
from hw.memory.realign import Realigner
from hw.presets import preset
from tests.control import test_fault, test_issue, test_supervisor
from tests.memory import test_matrix_writer
from tests.support.equivalence import proven_equal
from tests.support.mutation import mutation_score

ROWS = [
    ("queue", lambda: Queue(16, 4), [{"depth": 4}], 0.8),
    ("tokens", lambda: Tokens(3), [{"seed": 14, "bits": 3}], 0.9),
    ("issue", lambda: Issue(test_issue.VECTOR), [{}], 0.95),
    ("counters", Counters, [{}], 0.8),
    ("dispatch", lambda: Dispatch(preset("tiny")), [{}], 0.8),
    ("fault", lambda: FaultCollector(test_fault.SOURCES), [{}], 0.95),
    ("supervisor", test_supervisor.unit, [{}], 0.95),
    ("realign", lambda: Realigner(8),
     [{"beat": 8, "greed": 0.9, "offer": "random", "head": 1}], 0.9),
    ("matrix_writer", lambda: MatrixWriter(test_matrix_writer.MACHINES["square"]),
     [{"machine": "square", "offer": "random"}], 0.85),
]  # fmt: skip

#: Units all of whose survivors are proved to be the same design.
PROVED = {"supervisor"}

#: Folder of the tests of those units that are not in `hw/control`.
GROUPS = {"realign": "memory", "matrix_writer": "memory"}


@pytest.mark.mutate
@pytest.mark.parametrize(("unit", "make", "params", "limit"), ROWS, ids=[row[0] for row in ROWS])
def test_score(unit, make, params, limit):
    module = f"tests.{GROUPS.get(unit, 'control')}.test_{unit}"
    result = mutation_score(make(), module, 60, params=params, name=unit)
    survivors = "\n".join(result.survivors)
    print(f"{result.score:.1%} of {result.mutants}\n{survivors}")
    assert result.score >= limit, survivors
    if unit in PROVED:
        unequal = [mutant for mutant in result.survivors if not proven_equal(make(), mutant)]
        assert not unequal, "\n".join(unequal)
