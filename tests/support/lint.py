# SPDX-License-Identifier: Apache-2.0
"""Verilator's warnings about Verilog, without those that are known and harmless.

``EXCEPTIONS`` is the whole list of what is let through; any other warning is a fault.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kiwicha.sim.simulator import find_verilator

__all__ = ["EXCEPTIONS", "Known", "warnings"]


@dataclass(frozen=True)
class Known:
    """Warnings of this code whose message has a match of ``message``, and why they are harmless."""

    code: str
    message: str
    reason: str


EXCEPTIONS = (
    Known("DECLFILENAME", "", "one file holds all modules, so it has the name of none"),
    Known("PROCASSINIT", "", "registers have an initial value besides the reset; FPGAs load it"),
    Known(
        "UNUSEDSIGNAL", "",
        "Amaranth emits every field of a record and every member of an interface, read or not",
    ),
    Known(
        "WIDTHEXPAND", "",
        "Yosys leaves operands as wide as they are; Verilog extends them by the sign they have",
    ),
    Known(
        "WIDTHTRUNC", "Logical operator LOGNOT", "`!x` is how Yosys writes x == 0; no bit is lost"
    ),
    Known(
        "WIDTHTRUNC", "Operator ASSIGNW .* SHIFTR",
        "an element of an array is its bits shifted down; those above it are meant to be lost",
    ),
    Known(
        "CASEINCOMPLETE", "", "what a case assigns has a default before it; a latch would be LATCH"
    ),
    Known("ASCRANGE", r"\[-1:0\]", "a name for a value of no bits, which nothing reads"),
    Known("CMPCONST", "", "a limit that is the largest value of its width in this configuration"),
    Known("UNSIGNED", "", "a limit that is zero in this configuration"),
    Known(
        "VARHIDDEN", "'(control|index|place|root)'", "a signal lies in the instance of this name"
    ),
    Known(
        "SYMRSVDWORD", "'(interrupt|switch)'",
        "words of C++, which Verilator renames in what it writes; they are no words of Verilog",
    ),
)


def warnings(file: Path, top: str, *, timeout: float = 300.0) -> list[str]:
    """Return Verilator's warnings and errors that are not among the exceptions, a line each."""
    tool = find_verilator()
    command = [str(tool.executable), "--lint-only", "-Wall", "--top-module", top, str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=timeout, env=tool.environ()
    )
    found = re.findall(r"^%(?:Warning|Error).*", done.stderr, flags=re.MULTILINE)
    # The last one only counts the others.
    return [line for line in found if not _known(line) and "Exiting due to" not in line]


def _known(line: str) -> bool:
    head = re.match(r"%Warning-(\w+): ", line)
    return head is not None and any(
        known.code == head[1] and re.search(known.message, line) for known in EXCEPTIONS
    )
