# SPDX-License-Identifier: Apache-2.0
"""Clock frequencies that `bench.place` has measured, kept in the repository.

Other tables multiply their cycles with them. Nothing in the file is typed in: ``make pnr
ARGS=--write`` puts the machine that it has placed and routed there, with the seeds of that run.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["FILE", "Frequency", "frequencies", "keep"]

FILE = Path("bench/placed.json")
"""Of the checkout in which a command runs."""


@dataclass(frozen=True)
class Frequency:
    """A design as it was placed and routed.

    Members
    -------
    fmax : MHz, the median of ``seeds``.
    seeds : MHz by seed of the placer.
    lut_eq : LUT4 and twice the CCU2C of the design without its harness.
    digest : of netlist script and Verilog, the name of the netlist's folder ends with it.
    part, tool : options and version of nextpnr.
    date : of the run, ISO 8601.
    """

    fmax: float
    seeds: Mapping[str, float]
    lut_eq: int
    digest: str
    part: str
    tool: str
    date: str


def frequencies(file: Path = FILE) -> dict[str, Frequency]:
    """Return what is known, by the design's name; nothing where there is no file."""
    if not file.exists():
        return {}
    values = json.loads(file.read_text(encoding="utf-8"))
    return {name: Frequency(**each) for name, each in values.items()}


def keep(name: str, found: Frequency, file: Path = FILE) -> None:
    """Put a design's frequency into the file, in place of an older one."""
    known = {**frequencies(file), name: found}
    values = {each: asdict(known[each]) for each in sorted(known)}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
