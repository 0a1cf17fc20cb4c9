# SPDX-License-Identifier: Apache-2.0
"""Run cocotb tests on the Verilog that ships: as emitted, or without initial values."""

import random
import re
from typing import Any

from amaranth.lib import wiring

from hw.emit import emit_verilog
from tests.support.bench import build_verilog, run_build

__all__ = ["CORNERS", "operand", "run_emitted", "strip_initial_values"]

CORNERS = (-256, -255, -128, -1, 0, 1, 127, 255)


def operand(chooser: random.Random) -> int:
    """Return a 9-bit operand, a corner half of the time."""
    return chooser.choice(CORNERS) if chooser.random() < 0.5 else chooser.randrange(-256, 256)


def strip_initial_values(text: str) -> str:
    """Make every register and memory start as X, as it may be in hardware without a reset."""
    # Registers called $auto are how Yosys starts an `always @*`; they are no hardware.
    register = r"^(  reg (?:\[\d+:\d+\] )?(?!\\\$auto)\S+) += [^=\n]+;$"
    text = re.sub(register, r"\1 ;", text, flags=re.MULTILINE)
    return re.sub(r"^  initial begin\n.*?^  end\n", "", text, flags=re.MULTILINE | re.DOTALL)


def run_emitted(
    component: wiring.Component,
    test_module: str,
    *,
    testcase: str,
    params: dict[str, Any] | None = None,
    uninitialized: bool = False,
    simulator: str | None = None,
) -> None:
    """Run one cocotb test of ``test_module`` on ``component``; fail pytest if it fails."""
    text = emit_verilog(component)
    inputs = [
        "__".join(map(str, path))
        for path, member, _ in component.signature.flatten(component)
        if member.flow == wiring.In
    ]
    build = build_verilog(
        strip_initial_values(text) if uninitialized else text,
        name=type(component).__name__.lower(),
        simulator=simulator,
    )
    run_build(build, test_module, params=params, inputs=inputs, testcase=testcase)
