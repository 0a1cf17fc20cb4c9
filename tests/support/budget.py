# SPDX-License-Identifier: Apache-2.0
"""What each test file may take: a table of CPU seconds, and whether a run of all tests keeps to it.

A machine that is loaded or slow proves nothing, so no file is held to seconds. Rooms that start no
other program are the yardstick: what they took in this run, to what the table has for them, is how
fast this computer and this Python are, and the seconds of the table are scaled by it. A file fails
the run when it takes more than half again of that (and ``SLACK`` on top: a machine that several
files simulate is built by whichever comes first, up to 40 s with Verilator). CPU time, children
included, is what counts, so waiting for others does not; and builds found from an earlier run only
make it less. Only a run of all tests is held to anything: of parts the yardstick may be missing.
"""

import resource
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from .needs import EXTRAS

__all__ = [
    "BUDGETS",
    "SLACK",
    "TABLE",
    "cpu_seconds",
    "over_budget",
    "rooms",
    "scale_of",
    "spent_by_file",
    "written",
]

TABLE = Path(__file__).parents[1] / "budget.toml"

#: CPU seconds of each file in the run that `make budget` measured.
BUDGETS: dict[str, float] = (
    tomllib.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
)

#: How much more than its budget a file may take: this times, and these seconds.
MARGIN, SLACK = 1.5, 45.0

_YARDSTICK = ("tests/golden/", "tests/models/", "tests/machine/")

_HEAD = """\
# CPU seconds of each test file, measured by `make budget`; see tests/support/budget.py.
"""


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    parts = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)


def spent_by_file(reports: Iterable[pytest.TestReport]) -> dict[str, float]:
    """Return the CPU seconds of each file; what needs extras does not count."""
    spent: defaultdict[str, float] = defaultdict(float)
    for report in reports:
        if not EXTRAS.keys() & report.keywords.keys():
            spent[report.nodeid.split("::")[0]] += getattr(report, "cpu", 0.0)
    return dict(spent)


def scale_of(spent: Mapping[str, float], budgets: Mapping[str, float] = BUDGETS) -> float | None:
    """Return how much slower than the measured run this one is; ``None`` if it was not complete."""
    if not budgets or budgets.keys() - spent.keys():
        return None
    own, table = (
        sum(seconds for file, seconds in times.items() if file.startswith(_YARDSTICK))
        for times in (spent, {file: budgets[file] for file in spent.keys() & budgets.keys()})
    )
    return own / table if table else None


def over_budget(
    spent: Mapping[str, float], scale: float, budgets: Mapping[str, float] = BUDGETS
) -> list[str]:
    """Return a sentence for each file that took too long; a new one may take ``SLACK``."""
    return [
        f"{file} took {seconds:.0f} s of CPU time, its budget is "
        f"{scale * budgets.get(file, 0):.0f} s: make it faster, or measure with `make budget`"
        for file, seconds in sorted(spent.items())
        if seconds > scale * (MARGIN * budgets.get(file, 0) + SLACK)
    ]


def rooms(
    spent: Mapping[str, float], scale: float, budgets: Mapping[str, float] = BUDGETS
) -> list[tuple[str, float, float]]:
    """Return each folder of tests with the CPU seconds it took and those it may take."""
    took: defaultdict[str, float] = defaultdict(float)
    may: defaultdict[str, float] = defaultdict(float)
    for file, seconds in spent.items():
        room = str(Path(file).parent)
        took[room] += seconds
        may[room] += scale * budgets.get(file, 0)
    return [(room, took[room], may[room]) for room in sorted(took)]


def written(spent: Mapping[str, float], budgets: Mapping[str, float] = BUDGETS) -> str:
    """Return the table with the files that were measured now, and without those that are gone."""
    root = TABLE.parents[1]
    table = {file: time for file, time in {**budgets, **spent}.items() if (root / file).exists()}
    return _HEAD + "".join(f'"{file}" = {time:.1f}\n' for file, time in sorted(table.items()))
