# SPDX-License-Identifier: Apache-2.0
"""Run cocotb tests on a design in Verilator or Icarus Verilog.

The front door of the three modules that know the simulators: ``sim.toolchain`` finds them,
``sim.builder`` builds with them, and this one loads cocotb into the result and runs it.
"""

import dataclasses
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import cocotb_tools.config
import find_libpython

from kiwicha.sim.builder import Build, build_design
from kiwicha.sim.toolchain import (
    SimulatorError,
    Toolchain,
    find_icarus,
    find_simulator,
    find_verilator,
    fst_headers_present,
)

__all__ = [
    "Build",
    "RunResult",
    "SimulatorError",
    "Toolchain",
    "build_design",
    "failed",
    "find_icarus",
    "find_simulator",
    "find_verilator",
    "fst_headers_present",
    "run_design",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult:
    """Outcome of one simulation.

    Members
    -------
    tests : number of cocotb tests that ran (skipped ones are not counted).
    failures : one ``name: reason`` line per failed test.
    log : everything the simulator printed; ``log_file`` holds the same.
    waves : the waveform file, if one was asked for.
    """

    tests: int
    failures: tuple[str, ...]
    log: str
    log_file: Path
    seconds: float
    waves: Path | None

    @property
    def passed(self) -> bool:
        """At least one test ran and none failed."""
        return self.tests > 0 and not self.failures


@functools.cache
def _libpython() -> str:
    path = find_libpython.find_libpython()
    if path is None:
        raise SimulatorError(
            f"{sys.executable} has no shared libpython, which cocotb loads into the simulator: "
            "use a Python built with --enable-shared (every Linux distribution's is)"
        )
    return str(path)


def _results(path: Path) -> tuple[int, tuple[str, ...]]:
    if not path.exists():
        return 0, ()
    tests, failures = 0, []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        tests += case.find("skipped") is None
        failures += failed(case)
    return tests, tuple(failures)


def failed(case: ElementTree.Element) -> list[str]:
    """Return ``name: reason`` for each way in which a test case of ``results.xml`` failed."""
    return [
        f"{case.get('name')}: "
        + (bad.get("error_msg") or bad.get("message") or bad.text or bad.tag).strip()
        for kind in ("failure", "error") if (bad := case.find(kind)) is not None
    ]


@functools.cache
def _package_files(test_module: str) -> str:
    """Return a pattern for the files of the package that the (first) test module is in."""
    package, room, *_ = test_module.split(".")
    # Of our own package only the room that the module is in: rewriting takes its time.
    spec = importlib.util.find_spec(f"kiwicha.{room}" if package == "kiwicha" else package)
    folders = spec.submodule_search_locations if spec else None
    return f"{folders[0]}/*.py" if folders else ""


def run_design(
    build: Build,
    test_module: str,
    *,
    run_dir: Path,
    testcase: str | None = None,
    seed: int = 1,
    env: Mapping[str, str] | None = None,
    waves: Path | None = None,
    timeout: float | None = None,
    plusargs: Sequence[str] = (),
) -> RunResult:
    """Run the cocotb tests of ``test_module`` (comma separated module names) on ``build``.

    Parameters
    ----------
    run_dir : working directory of the simulation; its log and ``results.xml`` are written there.
    testcase : run only the test of this name (with all its parameters, if it has any).
    seed : seed of ``random`` in every test.
    waves : where the waveform goes; the build must have been made with ``waves``.
    timeout : seconds of wall time after which the simulation is killed.

    Raises
    ------
    SimulatorError
        The simulator crashed, was killed by the time limit, or wrote no results.
    """
    run_dir = Path(run_dir).resolve()
    run_dir.mkdir(parents=True, exist_ok=True)
    results, log_file = run_dir / "results.xml", run_dir / "simulation.log"
    results.unlink(missing_ok=True)
    if waves is not None and build.waves == "none":
        raise ValueError("waves asked for, but the build was made without them")
    dump = None if waves is None else Path(waves).resolve().with_suffix(f".{build.waves}")
    # Recorded here and moved: Icarus takes no name with letters beyond ASCII.
    recorded = run_dir / f"waves.{build.waves}"
    environ = build.toolchain.environ() | {
        "COCOTB_TOPLEVEL": build.top,
        "COCOTB_TEST_MODULES": test_module,
        "COCOTB_RANDOM_SEED": str(seed),
        "COCOTB_RESULTS_FILE": str(results),
        # Verilator's cocotb main applies inertial writes itself.
        "COCOTB_TRUST_INERTIAL_WRITES": "1" if build.toolchain.name == "verilator" else "0",
        "TOPLEVEL_LANG": "verilog",
        "GPI_USERS": f"{_libpython()};{cocotb_tools.config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        # By default cocotb has pytest, all plugins loaded, rewrite the assertions of whatever is
        # imported: half a second in every simulation.
        "COCOTB_REWRITE_ASSERTION_FILES": _package_files(test_module),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    environ |= env or {}
    if testcase is not None:
        environ["COCOTB_TEST_FILTER"] = rf"(^|\.){re.escape(testcase)}(/|$)"
    if build.toolchain.name == "verilator":
        command = [str(build.directory / "simulation")]
        command += [] if dump is None else ["--trace", "--trace-file", recorded.name]
        command += plusargs
    else:
        command = ["vvp", "-m", cocotb_tools.config.lib_entry("vpi", "icarus")]
        command += [str(build.directory / "sim.vvp"), *plusargs]
        command += ["-none"] if dump is None else [f"-{build.waves}", f"+dumpfile={recorded.name}"]
    started = time.monotonic()
    with log_file.open("w") as out:
        try:
            code = subprocess.run(
                command,
                cwd=run_dir,
                env=environ,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise SimulatorError(f"killed after {timeout} s; log: {log_file}") from error
    if dump is not None and recorded.exists():
        shutil.move(recorded, dump)
    log = log_file.read_text(errors="replace")
    tests, failures = _results(results)
    if not results.exists() or (code and not failures):
        tail = "\n".join(log.splitlines()[-15:])
        raise SimulatorError(f"the simulation ended with code {code}; log: {log_file}\n{tail}")
    return RunResult(
        tests=tests,
        failures=failures,
        log=log,
        log_file=log_file,
        seconds=time.monotonic() - started,
        waves=dump,
    )
