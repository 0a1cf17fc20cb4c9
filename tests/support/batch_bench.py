# SPDX-License-Identifier: Apache-2.0
"""The simulator's side of a batch: the cocotb tests of many cases, each on a design of its own.

Never collected by pytest; ``tests.support.batch`` names it as the cocotb module. Every test keeps
its name, module and time limit, by which cocotb seeds and judges it. Which case each one belongs to
goes to ``order.json``.
"""

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb

from .batch import MARK

__all__: list[str] = []


def _tests(case: dict[str, Any]) -> Iterator[Any]:
    """Yield what cocotb would find in the case's module, or the one test asked for."""
    for module in case["module"].split(","):
        for generator in vars(importlib.import_module(module)).values():
            if hasattr(generator, "generate_tests"):
                for test in generator.generate_tests():
                    if case["testcase"] in (None, test.name.split("/")[0]):
                        yield test


def _of(number: int, case: dict[str, Any], test: Any) -> Any:
    async def run(_dut: Any) -> None:
        os.environ["KIWICHA_BENCH"] = json.dumps(case["bench"])
        print(MARK, number, flush=True)
        await test.func(cocotb.tops[case["top"]], *test.args, **test.kwargs)

    run.__qualname__, run.__module__, run.__doc__ = test.name, test.module, test.doc
    own = cocotb.test(
        expect_fail=test.expect_fail, expect_error=test.expect_error, skip=test.skip
    )(run)
    own.timeout = test.timeout
    return own


def _found() -> Iterator[tuple[int, Any]]:
    for number, case in enumerate(json.loads(Path("batch.json").read_text())):
        for test in _tests(case):
            yield number, _of(number, case, test)


def _discover() -> list[int]:
    """Put the tests among the globals, where cocotb looks, and return the case of each."""
    order: list[int] = []
    for number, test in _found():
        globals()[f"test_{len(order)}"] = test
        order.append(number)
    return order


Path("order.json").write_text(json.dumps(_discover()))
