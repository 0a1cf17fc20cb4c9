# SPDX-License-Identifier: Apache-2.0
"""Run cocotb tests on an Amaranth component from pytest.

A test file holds both sides: ``async`` functions under ``@cocotb.test()``, which run inside the
simulator, and pytest functions that call ``run_cocotb(Unit(...), __name__)``. The cases of a file
share one simulator process where they can (`batch.py`).
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest
from amaranth.lib import wiring

from kiwicha.hw.verilog.emit import emit_rtlil
from kiwicha.sim.simulator import (
    Build,
    RunResult,
    SimulatorError,
    Toolchain,
    build_design,
    find_icarus,
    find_simulator,
    find_verilator,
    run_design,
)

from .batch import BATCH, Case
from .sources import BUILD_ROOT, QUIET, digest, input_ports, kept, run_id, verilog_of

__all__ = [
    "bench_inputs",
    "bench_params",
    "build_component",
    "build_verilog",
    "run_build",
    "run_cocotb",
    "unit_simulator",
]

_ENV = "KIWICHA_BENCH"


def bench_params() -> dict[str, Any]:
    """Return, inside the simulator, the ``params`` that ``run_cocotb`` was given."""
    return dict(json.loads(os.environ.get(_ENV, "{}")).get("params", {}))


def bench_inputs() -> list[str]:
    """Return, inside the simulator, the names of the design's input ports (clock and reset not)."""
    return list(json.loads(os.environ.get(_ENV, "{}")).get("inputs", []))


def unit_simulator(name: str | None = None) -> Toolchain:
    """Return the simulator for unit tests.

    ``name``, else the environment variable ``KIWICHA_SIMULATOR`` (``icarus`` or ``verilator``),
    else Icarus where it is installed (no C++ to compile, and four-state), else Verilator.
    """
    if name := name or os.environ.get("KIWICHA_SIMULATOR"):
        return find_simulator(name)
    try:
        return find_icarus()
    except SimulatorError:
        return find_verilator()


def build_component(
    component: wiring.Component,
    *,
    name: str | None = None,
    toplevel: str = "top",
    simulator: str | None = None,
    waves: bool = False,
    public: str = "top",
    optimize: str = "-O0",
    cells: bool = False,
    uninitialized: bool = False,
) -> Build:
    """Emit ``component`` as the Verilog that ships and build it, or find an equal build.

    Parameters
    ----------
    name : prefix of the build directory (default: the class's name).
    public : ``"all"`` lets cocotb read signals inside the design under Verilator too.
    optimize : C++ optimisation under Verilator; long simulations earn ``"-O1"`` back.
    cells : with the cells of an FPGA family where the component asks for them.
    uninitialized : take the initial values away; shows what relies on them (Icarus only).
    """
    name = name or type(component).__name__.lower()
    source = verilog_of(emit_rtlil(component, toplevel, cells=cells), name, uninitialized)
    return build_verilog(
        source.read_text(encoding="utf-8"),
        name=name,
        toplevel=toplevel,
        simulator=simulator,
        waves=waves,
        public=public,
        optimize=optimize,
    )


def build_verilog(
    text: str,
    *,
    name: str,
    toplevel: str = "top",
    simulator: str | None = None,
    waves: bool = False,
    public: str = "top",
    optimize: str = "-O0",
) -> Build:
    """Build Verilog ``text``, whose top module is ``toplevel``; as ``build_component``."""
    source = kept(f"{name}-{digest(text)}", lambda: text)
    return build_design(
        unit_simulator(simulator),
        [source],
        top=toplevel,
        name=name,
        cache=BUILD_ROOT,
        waves="fst" if waves else "none",
        public=public,
        optimize=optimize,
    )


def run_cocotb(
    component: wiring.Component,
    test_module: str,
    *,
    params: Mapping[str, Any] | None = None,
    name: str | None = None,
    toplevel: str = "top",
    extra_env: Mapping[str, str] | None = None,
    simulator: str | None = None,
    testcase: str | None = None,
    waves: bool = False,
    seed: int = 1,
    timeout: float = 300.0,
    public: str = "top",
    optimize: str = "-O0",
    cells: bool = False,
    uninitialized: bool = False,
) -> RunResult:
    """Build ``component``, run the cocotb tests of ``test_module`` on it, fail pytest if one fails.

    The design's ports have the names that Amaranth gives them: ``i__valid``, ``i__ready``,
    ``i__payload`` (a struct payload is one packed vector; see ``tests.support.streams``).

    Parameters
    ----------
    test_module : importable name of the module with the ``@cocotb.test()`` functions, usually
        ``__name__``.
    params : JSON-able values for the cocotb side, read there with ``bench_params()``.
    testcase : name of the one cocotb test to run (default: all of the module).
    seed : seeds Python's ``random`` in the simulator; printed, and to be given explicitly.
    timeout : seconds after which a hung simulation is killed and fails.
    uninitialized : registers and memories without a reset start as X (Icarus only).
    waves : record ``waves.fst`` (or ``.vcd``) in the run's directory; ``KIWICHA_WAVES=1`` too.
    """
    __tracebackhide__ = True
    waves = waves or os.environ.get("KIWICHA_WAVES", "") not in ("", "0")
    case = None
    if not (waves or extra_env) and unit_simulator(simulator).name == "icarus":
        case = Case(
            component=component, test_module=test_module, params=dict(params or {}),
            testcase=testcase, name=name or type(component).__name__.lower(), cells=cells,
            uninitialized=uninitialized, seed=seed, timeout=timeout,
        )
    if outcome := BATCH.find(case):
        return _judged(outcome, f"{outcome.log_file.parents[2].name}, a part of it", seed)
    build = build_component(
        component,
        name=name,
        toplevel=toplevel,
        simulator=simulator,
        waves=waves,
        public=public,
        optimize=optimize,
        cells=cells,
        uninitialized=uninitialized,
    )
    inputs = input_ports(component)
    return run_build(
        build,
        test_module,
        params=params,
        inputs=inputs,
        extra_env=extra_env,
        testcase=testcase,
        seed=seed,
        timeout=timeout,
    )


def run_build(
    build: Build,
    test_module: str,
    *,
    params: Mapping[str, Any] | None = None,
    inputs: list[str] | None = None,
    extra_env: Mapping[str, str] | None = None,
    testcase: str | None = None,
    seed: int = 1,
    timeout: float = 300.0,
) -> RunResult:
    """Run cocotb tests on a finished build; arguments and failures as in ``run_cocotb``."""
    __tracebackhide__ = True
    run_dir = build.directory / "runs" / run_id(test_module)
    env = {_ENV: json.dumps({"params": dict(params or {}), "inputs": inputs or []})}
    env |= {**QUIET, **(extra_env or {})}
    try:
        result = run_design(
            build,
            test_module,
            run_dir=run_dir,
            testcase=testcase,
            seed=seed,
            env=env,
            waves=None if build.waves == "none" else run_dir / "waves",
            timeout=timeout,
        )
    except SimulatorError as error:
        pytest.fail(f"{build.directory.name} (seed {seed}): {error}", pytrace=False)
    return _judged(result, f"{build.directory.name}, {build.toolchain.name}", seed)


def _judged(result: RunResult, what: str, seed: int) -> RunResult:
    """Return what was simulated, or fail with its failures and the end of its log."""
    __tracebackhide__ = True
    print(
        f"{what}: {result.tests} cocotb tests, seed {seed}, {result.seconds:.2f} s, "
        f"log {result.log_file}"
    )
    if result.failures:
        lines = "\n".join(result.failures)
        tail = "\n".join(result.log.splitlines()[-40:])
        pytest.fail(f"cocotb (seed {seed}): {lines}\n{tail}\n{result.log_file}", pytrace=False)
    if result.tests == 0:
        pytest.fail(f"no cocotb test ran; log: {result.log_file}", pytrace=False)
    return result
