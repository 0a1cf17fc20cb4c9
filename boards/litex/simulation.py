# SPDX-License-Identifier: Apache-2.0
"""Runs a compiled model on a simulated LiteX SoC: Verilog by LiteX, firmware, Verilator."""

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from kiwicha.boards.litex.firmware import compile_firmware, rom_text
from kiwicha.boards.litex.soc import describe
from kiwicha.drivers.program import Program
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.places import build_folder
from kiwicha.sim.scratch import scratch_folder
from kiwicha.sim.simulation import run_folder
from kiwicha.sim.simulator import SimulatorError, build_design, find_verilator, run_design

__all__ = ["SocRun", "run_on_soc"]

_TESTBENCH = Path(__file__).with_name("testbench.sv")
_ROM_BYTES = 1 << 20
_LIMIT = 200_000_000
_BEGIN = re.compile(r"^sample \d+\n", re.M)


@dataclass(frozen=True)
class SocRun:
    """What the firmware printed.

    Members
    -------
    outputs : by name, for each sample.
    cycles : of each, by the machine's own counter.
    text : all that came out of the serial port.
    simulated, seconds : clocks of the SoC, from reset on, and the seconds that they took.
    """

    outputs: tuple[dict[str, NDArray[Any]], ...]
    cycles: tuple[int, ...]
    text: str
    simulated: int
    seconds: float


def run_on_soc(
    program: Program,
    machine: AcceleratorConfig,
    samples: Sequence[Mapping[str, NDArray[Any]]],
    *,
    direct: bool = True,
    l2_bytes: int = 0,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> SocRun:
    """Run each of ``samples`` (inputs by name) on an SoC with ``machine``.

    Parameters
    ----------
    direct, l2_bytes : as of `boards.litex.soc.SimulatedSoC`.
    progress : called with stage, done and total, a total of 0 being unknown.

    Raises
    ------
    SimulatorError
        When the simulation cannot be built or breaks, or the firmware does not get to its end or
        says that something is wrong; the message has its last words.
    RuntimeError
        When the firmware cannot be compiled.
    """
    progress("generating the SoC", 0, 0)
    verilog, sources, headers = describe(
        machine, direct=direct, l2_bytes=l2_bytes, rom_bytes=_ROM_BYTES
    )
    progress(f"building the simulation of the SoC ({machine.name})", 0, 0)
    with scratch_folder(build_folder() / "soc-verilog") as folder:
        (folder / "sim.v").write_text(verilog, encoding="utf-8")
        build = build_design(
            find_verilator(), [_TESTBENCH, folder / "sim.v", *map(Path, sources)],
            name=f"soc-{machine.name}", cache=build_folder() / "sim", timing=True,
        )
    with run_folder() as place:
        progress("compiling the firmware", 0, 0)
        firmware = compile_firmware(place / "firmware", headers, program, samples)
        if len(firmware) > _ROM_BYTES:
            raise SimulatorError(
                f"firmware and network take {len(firmware):,} bytes; the ROM has {_ROM_BYTES:,}"
            )
        (place / "sim_rom.init").write_text(rom_text(firmware), encoding="ascii")
        (place / "sim_sram.init").write_text("", encoding="ascii")
        with _Listener(place / "serial.txt", len(samples), progress):
            outcome = run_design(
                build, "kiwicha.boards.litex.driver", run_dir=place,
                env={"KIWICHA_SOC_CYCLES": str(_LIMIT)},
            )
        text = (place / "serial.txt").read_text(encoding="ascii", errors="replace")
        if not outcome.passed:
            raise SimulatorError(f"the SoC's simulation failed: {outcome.failures}\n{text[-500:]}")
        ran = json.loads((place / "result.json").read_text(encoding="utf-8"))
        if not ran["ended"]:
            raise SimulatorError(
                f"the firmware did not end within {_LIMIT:,} cycles; it said:\n{text[-500:]}"
            )
        if "error:" in text or len(_BEGIN.findall(text)) != len(samples):
            raise SimulatorError(f"the firmware said:\n{text[-500:]}")
    return _understood(program, text, ran["cycles"], ran["seconds"])


def _understood(program: Program, text: str, simulated: int, seconds: float) -> SocRun:
    outputs, cycles = [], []
    for part in _BEGIN.split(text)[1:]:
        cycles.append(int(re.findall(r"^cycles (\d+)", part, re.M)[0]))
        found = re.findall(r"^result (\d+) ([0-9a-f]*)$", part, re.M)
        pieces = [(int(address), bytes.fromhex(octets)) for address, octets in found]
        memory = {(address, len(octets)): octets for address, octets in pieces}
        outputs.append(program.unpack(_reader(memory)))
    return SocRun(tuple(outputs), tuple(cycles), text, simulated, seconds)


def _reader(memory: Mapping[tuple[int, int], bytes]) -> Callable[[int, int], bytes]:
    return lambda address, size: memory[address, size]


class _Listener:
    """Tells which sample runs, by what the serial port has said so far, while the block runs."""

    def __init__(
        self, path: Path, samples: int, progress: Callable[[str, int, int], None]
    ) -> None:
        self.path, self.samples, self.progress = path, samples, progress
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._listen, daemon=True)

    def _listen(self) -> None:
        while not self.over.wait(0.2):
            text = self.path.read_text(errors="replace") if self.path.exists() else ""
            begun = len(_BEGIN.findall(text))
            stage = f"runs sample {begun} of {self.samples}" if begun else "loads the network"
            self.progress(f"the firmware {stage}", max(begun - 1, 0), self.samples)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: Any) -> None:
        self.over.set()
        self.thread.join()
