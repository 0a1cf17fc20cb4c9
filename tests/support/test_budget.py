# SPDX-License-Identifier: Apache-2.0
"""Budgets of the test files: what is too slow is named, what is only a slow machine is not."""

from pathlib import Path

import pytest

from .budget import BUDGETS, over_budget, rooms, scale_of, spent_by_file, written

TABLE = {
    "tests/golden/test_a.py": 40.0, "tests/models/test_b.py": 60.0, "tests/parts/test_c.py": 30.0,
    "tests/parts/test_d.py": 1.0,
}


def judged(spent):
    return over_budget(spent, scale_of(spent, TABLE), TABLE)


@pytest.mark.parametrize("speed", [0.5, 1, 4])
def test_speed_of_the_machine_does_not_matter(speed):
    spent = {file: speed * seconds for file, seconds in TABLE.items()}
    assert scale_of(spent, TABLE) == speed
    assert judged(spent) == []
    spent["tests/parts/test_c.py"] = speed * 89
    assert judged(spent) == []
    spent["tests/parts/test_c.py"] = speed * 91
    assert [sentence.split()[0] for sentence in judged(spent)] == ["tests/parts/test_c.py"]


def test_finding_builds_made_before_is_no_fault():
    assert judged({**TABLE, "tests/parts/test_c.py": 3.0}) == []


def test_small_files_and_new_ones_may_take_some_seconds():
    assert judged({**TABLE, "tests/parts/test_d.py": 46.0, "tests/parts/test_new.py": 44.0}) == []
    sentence, = judged({**TABLE, "tests/parts/test_new.py": 60.0})
    assert sentence == (
        "tests/parts/test_new.py took 60 s of CPU time, its budget is 0 s: make it faster, or "
        "measure with `make budget`"
    )


def test_a_part_of_the_tests_is_held_to_nothing():
    assert scale_of({"tests/parts/test_c.py": 1e3}, TABLE) is None
    assert scale_of(TABLE, {}) is None


def test_rooms_add_up():
    assert rooms(TABLE, 2.0, TABLE) == [
        ("tests/golden", 40.0, 80.0), ("tests/models", 60.0, 120.0), ("tests/parts", 31.0, 62.0),
    ]


class Report:
    """What `spent_by_file` reads of a report."""

    def __init__(self, nodeid, cpu, *keywords):
        self.nodeid, self.cpu, self.keywords = nodeid, cpu, dict.fromkeys(keywords, 1)


def test_what_needs_extras_does_not_count():
    reports = [Report("a.py::x", 1.0), Report("a.py::y[1]", 2.0), Report("a.py::z", 9.0, "fpga")]
    assert spent_by_file(reports) == {"a.py": 3.0}


def test_measuring_some_keeps_the_others_and_forgets_what_is_gone():
    here = "tests/support/test_budget.py"
    lines = written({here: 1.26}, {"tests/test_structure.py": 2.0, "tests/gone.py": 3.0})
    assert lines.splitlines()[1:] == [f'"{here}" = 1.3', '"tests/test_structure.py" = 2.0']


def test_the_table_names_files_that_exist():
    root = Path(__file__).parents[2]
    assert [file for file in BUDGETS if not (root / file).exists()] == []
