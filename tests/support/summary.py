# SPDX-License-Identifier: Apache-2.0
"""The end of a test run: what was skipped and how to run it, what took the time, and scores."""

from collections import Counter
from collections.abc import Iterable

import pytest

__all__ = ["scores", "skip_reasons", "slowest_files", "without_command"]

_PREFIX = "Skipped: "


def skip_reasons(reports: Iterable[pytest.TestReport | pytest.CollectReport]) -> Counter[str]:
    """Return how many tests were skipped for each reason."""
    found: Counter[str] = Counter()
    for report in reports:
        place = report.longrepr
        reason = place[2] if isinstance(place, tuple) else str(place)
        found[reason.removeprefix(_PREFIX)] += 1
    return found


def without_command(reasons: Iterable[str]) -> list[str]:
    """Return the reasons that do not say "run `...`": nobody can tell what would run the test."""
    return [reason for reason in reasons if "run `" not in reason]


def slowest_files(
    reports: Iterable[pytest.TestReport], most: int = 15
) -> list[tuple[str, float]]:
    """Return the files whose tests took longest, set up and torn down, with their seconds."""
    seconds: Counter[str] = Counter()
    for report in reports:
        seconds[report.nodeid.split("::")[0]] += report.duration  # type: ignore[assignment]
    return [(file, float(spent)) for file, spent in seconds.most_common(most) if spent >= 1]


def scores(reports: Iterable[pytest.TestReport]) -> list[tuple[str, str]]:
    """Return each test that recorded a property ``score``, by what is in its brackets, and it."""
    return sorted(
        (report.nodeid.partition("[")[2].removesuffix("]"), str(value))
        for report in reports if report.when == "call"
        for name, value in report.user_properties if name == "score"
    )
