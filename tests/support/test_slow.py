# SPDX-License-Identifier: Apache-2.0
"""Slow cases are marked by their ids; one that does not exist, or no other left, is an error."""

import pytest

from .slow import mark_slow, slow


class Collected:
    """What `mark_slow` reads of a case that pytest collected."""

    originalname = "test_sizes"

    def __init__(self, case, mark):
        self.callspec = self
        self.id = case
        self.mark = mark
        self.added = []

    def iter_markers(self, name):
        return [self.mark.mark] if name == self.mark.name else []

    def add_marker(self, name):
        self.added.append(name)


def marked(*cases):
    items = [Collected(case, slow(*cases)) for case in ("2-3", "2-5", "9")]
    mark_slow(items)
    return [item.id for item in items if item.added == ["slow"]]


def test_marks_the_cases_it_names():
    assert marked("2-5", 9) == ["2-5", "9"]
    assert marked() == []


def test_refuses_a_case_that_does_not_exist():
    message = r"^test_sizes is marked slow in cases it has not: \['2-4'\]$"
    with pytest.raises(pytest.Collector.CollectError, match=message):
        marked("2-5", "2-4")


def test_refuses_a_test_that_is_slow_in_every_case():
    with pytest.raises(pytest.Collector.CollectError, match="^test_sizes is slow in every case"):
        marked("2-3", "2-5", 9)
