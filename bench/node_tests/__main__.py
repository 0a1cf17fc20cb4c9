# SPDX-License-Identifier: Apache-2.0
"""Runs the node tests of the package onnx on the golden machine, and writes what became of them.

``--check`` compares with what was written.
"""

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from multiprocessing import get_context
from typing import Any

from kiwicha.bench.node_tests.cases import cases
from kiwicha.bench.node_tests.page import Results, read, write
from kiwicha.bench.node_tests.verdict import Outcome, Verdict, verdict

__all__ = ["main", "run"]

_SECONDS = 120
"""No model takes as long; one that does hangs."""


def _one(job: tuple[int, str]) -> tuple[int, str, Verdict]:
    place, form = job

    def late(*_: Any) -> None:
        raise TimeoutError(f"not done after {_SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(_SECONDS)
    try:
        return place, form, verdict(cases()[place], form)
    except TimeoutError as error:
        return place, form, Verdict(Outcome.CRASH, (str(error),))
    finally:
        signal.alarm(0)


def run(names: str = "", processes: int = 2) -> Results:
    """Run all tests whose name contains ``names``, and say on stderr how far it is."""
    chosen = [place for place, case in enumerate(cases()) if names in case.name]
    jobs = [(place, form) for place in chosen for form in cases()[place].forms]
    results: Results = {cases()[place].name: {} for place in chosen}
    with get_context("fork").Pool(processes) as pool:
        for done, (place, form, found) in enumerate(pool.imap_unordered(_one, jobs, 4), 1):
            results[cases()[place].name][form] = found
            if done % 20 == 0 or done == len(jobs):
                print(f"\r  {done} of {len(jobs)} models", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for place in chosen:  # in the order of the forms
        name = cases()[place].name
        results[name] = {form: results[name][form] for form in cases()[place].forms}
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the counts, and write or compare; returns 1 where a model crashes or differs, or
    where it was to be the same and is not."""
    parser = argparse.ArgumentParser(prog="python -m kiwicha.bench.node_tests", description=__doc__)
    parser.add_argument("--only", metavar="TEXT", default="", help="tests with this in their name")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    parser.add_argument("--check", action="store_true", help="compare with the page, leave it")
    given = parser.parse_args(arguments)
    results = run(given.only, given.processes)
    counts = Counter(found.outcome for forms in results.values() for found in forms.values())
    for outcome in Outcome:
        print(f"{outcome}: {counts[outcome]}")
    bad = counts[Outcome.CRASH] + counts[Outcome.DIFFERING]
    if given.only or bad:
        for name, forms in results.items():
            for form, found in forms.items():
                if given.only or found.outcome in (Outcome.CRASH, Outcome.DIFFERING):
                    print(f"{name}, {form}: {found.outcome}; {'; '.join(found.why)}")
    if given.check:
        before = read()
        return int(bool(bad) or any(before.get(name) != forms for name, forms in results.items()))
    if not given.only:
        write(results)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
