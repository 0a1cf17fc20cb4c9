# SPDX-License-Identifier: Apache-2.0
"""Many cases in one simulator: what the tests of a file simulate runs in one process in Icarus.

The first test of a file to call ``run_cocotb`` has the other chosen tests of that file say what
they will ask for: their functions are called up to that call. The designs are built as modules side
by side, each case has one of its own, fresh from power-up, and the cocotb tests run one after
another, each with the name and so the random numbers that it has alone. Each pytest test then finds
its own results here. Whatever cannot be known like this, or simulates elsewhere, runs by itself;
and so does every case if the common process breaks.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from amaranth.lib import wiring

from kiwicha.hw.verilog.emit import emit_rtlil
from kiwicha.sim.simulator import (
    RunResult,
    build_design,
    failed,
    find_icarus,
    run_design,
)

from .sources import BUILD_ROOT, QUIET, input_ports, run_id, verilog_of

__all__ = ["BATCH", "MARK", "Batch", "Case", "prefixes", "renamed", "split_result"]

#: Printed by `batch_bench.py` before each cocotb test, so that a case's part of the log is found.
MARK = "---- case"


class Noted(BaseException):
    """Raised where a test would simulate, when it was called only to say what."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a test asks for: the arguments of ``run_cocotb`` that may differ within a batch."""

    component: wiring.Component
    test_module: str
    params: Mapping[str, Any]
    testcase: str | None
    name: str
    cells: bool
    uninitialized: bool
    seed: int
    timeout: float

    @property
    def key(self) -> str:
        """Everything but the design, which is the same if the rest is."""
        kind = type(self.component)
        return json.dumps([
            kind.__module__, kind.__qualname__, self.test_module, self.params, self.testcase,
            self.name, self.cells, self.uninitialized, self.seed, self.timeout,
        ])


@dataclass
class Batch:
    """The cases of one test file.

    Members
    -------
    simulate : runs cases in one process; ``None`` where that breaks.
    item : the pytest test that is running.
    noting, noted : whether tests only say what they would simulate, and what the last one said.
    """

    simulate: Callable[[Sequence[Case]], list[RunResult] | None]
    item: pytest.Item | None = None
    noted: Case | None = None
    noting: bool = False
    _files: set[Path] = field(default_factory=set)
    _outcomes: dict[str, tuple[str, RunResult]] = field(default_factory=dict)

    def find(self, case: Case | None) -> RunResult | None:
        """Return what became of the running test's first case; ``None``: run it alone.

        A simulation that no batch can have is ``None`` as a case.
        """
        if self.noting:
            self.noted = case
            raise Noted
        item = self.item
        if item is None or case is None:
            return None
        if item.path not in self._files:
            self._files.add(item.path)
            self._run(item, case)
        key, outcome = self._outcomes.pop(item.nodeid, ("", None))
        return outcome if key == case.key else None

    def _run(self, item: pytest.Item, case: Case) -> None:
        cases = {item.nodeid: case}
        for other in item.session.items:
            if other.path == item.path and other is not item and (found := self._ask(other)):
                cases[other.nodeid] = found
        cases = {name: one for name, one in cases.items() if one.seed == case.seed}
        if len(cases) > 1 and (outcomes := self.simulate(list(cases.values()))):
            for (name, one), outcome in zip(cases.items(), outcomes, strict=True):
                self._outcomes[name] = one.key, outcome

    def _ask(self, item: pytest.Item) -> Case | None:
        """Return what a test will ask for, or ``None`` if only running it would tell."""
        if not isinstance(item, pytest.Function) or not asks_for(item.function, "run_cocotb"):
            return None
        given = dict(item.callspec.params) if hasattr(item, "callspec") else {}
        if set(item._fixtureinfo.argnames) - {"icarus"} != set(given):
            return None
        if "icarus" in item._fixtureinfo.argnames:
            given["icarus"] = "icarus"
        self.noted, self.noting = None, True
        # Whatever goes wrong here goes wrong again, and is reported, when it is this test's turn.
        with contextlib.suppress(Noted, Exception, pytest.fail.Exception, pytest.skip.Exception):
            item.function(**given)
        self.noting = False
        return self.noted


def asks_for(function: Callable[..., Any], name: str) -> bool:
    """Return whether a test calls the function ``name``, itself or by others of `tests/`."""
    return name in _called(function)


@functools.cache
def _called(function: Callable[..., Any]) -> frozenset[str]:
    found: set[str] = set()
    left = [function]
    while left:
        reader = left.pop()
        if not isinstance(reader, types.FunctionType) or not reader.__module__.startswith("tests"):
            continue
        names = set(reader.__code__.co_names) - found
        found |= names
        left += [reader.__globals__[name] for name in names & reader.__globals__.keys()]
    return frozenset(found)


def renamed(rtlil: str, prefix: str) -> str:
    """Return RTLIL in which the names of all modules begin with ``prefix``."""
    modules = set(re.findall(r"^module \\(\S+)$", rtlil, re.MULTILINE))

    def rename(match: re.Match[str]) -> str:
        return f"{match[1]}{prefix}{match[2]}" if match[2] in modules else match[0]

    return re.sub(r"^(module \\|  cell \\)(\S+)", rename, rtlil, flags=re.MULTILINE)


def prefixes(designs: Sequence[str]) -> list[str]:
    """Return a prefix for each design's modules: by its content, and a number if it is there twice.

    The same designs have the same names in every run, and are built once.
    """
    count: dict[str, int] = {}
    found = []
    for design in designs:
        digest = hashlib.sha256(design.encode()).hexdigest()[:12]
        count[digest] = count.get(digest, -1) + 1
        found.append(f"d{digest}_{count[digest]}_")
    return found


def split_result(result: RunResult, count: int) -> list[RunResult]:
    """Return the result of each of ``count`` cases of a batch.

    Raises
    ------
    ValueError
        Not every cocotb test has a result.
    """
    run_dir = result.log_file.parent
    order = json.loads((run_dir / "order.json").read_text())
    found = ElementTree.parse(run_dir / "results.xml").getroot().iter("testcase")
    ran, seconds = [0] * count, [0.0] * count
    failures: list[list[str]] = [[] for _ in range(count)]
    logs: list[list[str]] = [[] for _ in range(count)]
    for case, test in zip(order, found, strict=True):
        ran[case] += test.find("skipped") is None
        seconds[case] += float(test.get("time", 0))
        failures[case] += failed(test)
    lines: list[str] = []
    for line in result.log.splitlines():
        if begun := re.fullmatch(rf"{MARK} (\d+)", line):
            lines = logs[int(begun[1])]
        else:
            lines.append(line)
    return [
        dataclasses.replace(
            result, tests=ran[case], failures=tuple(failures[case]), log="\n".join(logs[case]),
            seconds=seconds[case],
        )
        for case in range(count)
    ]


def _simulate(cases: Sequence[Case]) -> list[RunResult] | None:
    """Run cases in one process in Icarus; ``None`` where it cannot be built or breaks."""
    try:
        designs = [emit_rtlil(case.component, cells=case.cells) for case in cases]
        names = prefixes(designs)
        sources = [
            verilog_of(renamed(design, prefix), case.name, case.uninitialized)
            for case, design, prefix in zip(cases, designs, names, strict=True)
        ]
        tops = [f"{prefix}top" for prefix in names]
        build = build_design(
            find_icarus(), sources, top=tops[0], name=f"batch-{cases[0].name}", cache=BUILD_ROOT,
            args=[argument for top in tops[1:] for argument in ("-s", top)],
        )
        plan = [
            {
                "top": top, "module": case.test_module, "testcase": case.testcase,
                "bench": {"params": case.params, "inputs": input_ports(case.component)},
            }
            for case, top in zip(cases, tops, strict=True)
        ]
        run_dir = build.directory / "runs" / run_id(cases[0].test_module)
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "batch.json").write_text(json.dumps(plan))
        result = run_design(
            build, f"{__package__}.batch_bench", run_dir=run_dir, seed=cases[0].seed, env=QUIET,
            timeout=sum(case.timeout for case in cases),
        )
        return split_result(result, len(cases))
    except Exception as error:
        # Whose fault it is shows when each case is run by itself.
        print(f"no batch of {len(cases)} cases: {error}")
        return None


#: The tests of a file that share a simulator process; conftest.py says which test is running.
BATCH = Batch(_simulate)
