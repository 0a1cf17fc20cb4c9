# SPDX-License-Identifier: Apache-2.0
"""The simulator's side of a mutation run: a unit's own cocotb tests, once for every mutant.

Never collected by pytest; ``tests.support.mutation`` names it as the cocotb module. What happened
to each mutant goes to ``mutants.txt`` line by line, so that one which hangs loses only itself.
"""

import importlib
import json
import os
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import with_timeout
from cocotb.utils import get_sim_time

__all__: list[str] = []

_PLAN = json.loads(os.environ["KIWICHA_MUTATION"])
_BENCH = json.loads(os.environ["KIWICHA_BENCH"])

_killed: set[int] = set()
#: Simulated nanoseconds and CPU seconds that the original took.
_took: dict[tuple[int, str], tuple[float, float]] = {}


def _note(event: str, mutant: int) -> None:
    with Path("mutants.txt").open("a") as file:
        print(event, mutant, file=file)


def _trial(
    index: int, mutant: int, setting: int, test: Any
) -> Callable[..., Coroutine[Any, None, None]]:
    async def run(dut: Any) -> None:
        if mutant in _killed and mutant:
            return
        _note("begin", mutant)
        bench = {**_BENCH, "params": _PLAN["params"][setting]}
        os.environ["KIWICHA_BENCH"] = json.dumps(bench)
        dut.mutsel.value = mutant
        key = (setting, test.name)
        started, spent = get_sim_time("ns"), time.process_time()
        # A mutant that takes four times as long as the original did is taken to hang.
        nanoseconds, seconds = _took.get(key, (1e8, 60.0))
        budget = 4 * nanoseconds + 1000
        # One that holds the simulator in an instant sees no such limit; this signal ends both. CPU
        # time, since a busy computer is no fault.
        signal.setitimer(signal.ITIMER_VIRTUAL, 10 + 10 * seconds)
        try:
            await with_timeout(test.func(dut, *test.args, **test.kwargs), int(budget), "ns")
        except BaseException:
            _killed.add(mutant)
            _note("killed", mutant)
            raise
        if mutant == 0:
            _took[key] = get_sim_time("ns") - started, time.process_time() - spent

    run.__qualname__ = f"trial_{index}_mutant_{mutant}_setting_{setting}_{test.name}"
    return run


def _unit_tests() -> list[Any]:
    module = importlib.import_module(_PLAN["module"])
    wanted = _PLAN["testcase"]
    return [
        test
        for generator in vars(module).values()
        if hasattr(generator, "generate_tests")
        for test in generator.generate_tests()
        if wanted is None or test.name.split("/")[0] == wanted
    ]


for _index, _mutant in enumerate(_PLAN["mutants"]):
    for _setting in range(len(_PLAN["params"])):
        for _test in _unit_tests():
            _run = _trial(_index, _mutant, _setting, _test)
            globals()[_run.__qualname__] = cocotb.test(_run)
