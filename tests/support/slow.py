# SPDX-License-Identifier: Apache-2.0
"""Cases that `make test` leaves out for time, since it has quicker ones of the same; `make slow`.

More sizes, more policies at the same size, and machines that take minutes to build. Every test
keeps at least one case in `make test`.
"""

from collections.abc import Sequence

import pytest

__all__ = ["mark_slow", "slow"]


def slow(*cases: object) -> pytest.MarkDecorator:
    """Mark cases of a parametrized test as slow: ``slow("4x4-always")`` is ``test[4x4-always]``."""
    return pytest.mark.slow_cases(*map(str, cases))


def mark_slow(items: Sequence[pytest.Function]) -> None:
    """Mark, of all cases of one test, those that its ``slow`` names.

    Raises
    ------
    CollectError
        There is no such case, or no other.
    """
    named = {case for item in items[:1] for mark in item.iter_markers("slow_cases")
             for case in mark.args}
    found = {item.callspec.id: item for item in items if hasattr(item, "callspec")}
    if missing := named - found.keys():
        raise pytest.Collector.CollectError(
            f"{items[0].originalname} is marked slow in cases it has not: {sorted(missing)}"
        )
    if named and not found.keys() - named:
        raise pytest.Collector.CollectError(
            f"{items[0].originalname} is slow in every case: leave one to `make test`"
        )
    for case in named:
        found[case].add_marker("slow")
