# SPDX-License-Identifier: Apache-2.0
"""The simulated memory as text: what $readmemh reads and $writememh writes, a beat a line."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kiwicha.sim.simulator import SimulatorError

__all__ = ["hex_words", "read_hex"]


def hex_words(octets: NDArray[np.uint8], beat: int) -> str:
    """Return whole beats of ``octets``, one a line, the highest byte first."""
    return octets.reshape(-1, beat)[:, ::-1].tobytes().hex("\n", beat) + "\n"


def read_hex(path: Path, beat: int) -> NDArray[np.uint8]:
    """Read what $writememh wrote: a word a line, perhaps with comments and addresses.

    Raises
    ------
    SimulatorError
        For unknown bits (Icarus): taking one for a zero would hide what four-state simulation is
        there to find.
    """
    text = path.read_text(encoding="ascii")
    lines = [line for line in text.splitlines() if line and line[0] not in "/@"]
    bad = next((index for index, line in enumerate(lines) if set("xXzZ") & set(line)), None)
    if bad is not None:
        raise SimulatorError(f"memory holds unknown bits after the run, first at {bad * beat:#x}")
    data = bytes.fromhex("".join(lines))
    return np.frombuffer(data, np.uint8).reshape(-1, beat)[:, ::-1].reshape(-1)
