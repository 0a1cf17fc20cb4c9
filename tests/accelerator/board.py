# SPDX-License-Identifier: Apache-2.0
"""Many programs on one simulated machine, one after the other in one run of the simulator.

The board is that of `sim/testbench.sv`; memory is put in place and read back word by word, so that
every job begins with its own image, and with whatever state the job before left in the machine.
"""

import dataclasses
import functools
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kiwicha.hw.accelerator import Accelerator
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ErrorCode
from kiwicha.machine.register_map import RegisterMap
from kiwicha.sim.hardware import accelerator_verilog
from kiwicha.sim.simulation import TESTBENCH
from kiwicha.sim.simulator import Build, build_design, find_simulator, run_design

from ..support.netlist import run_yosys
from ..support.sources import BUILD_ROOT

__all__ = ["MEMORY_BYTES", "Board", "Done", "Job", "board"]

MEMORY_BYTES = 1 << 18
"""Of the board. Beyond, the memory answers DECERR."""



@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """One program and its surroundings.

    Members
    -------
    image : uint8; memory from address 0.
    program : (byte address, bytes) of the instructions in it.
    read_window, write_window : (base, limit).
    random : seed and step of the random words, on machines that have them.
    rate : register update_rate, likewise.
    latency, stall : of the memory; see `sim.simulation.SimulatedMachine.run`.
    limit : cycles after which the interrupt must have come.
    abort, reset : cycles after START at which software aborts the program, or the board is reset;
        0: never.
    """

    image: np.ndarray
    program: tuple[int, int]
    read_window: tuple[int, int]
    write_window: tuple[int, int]
    random: tuple[int, int] = (0, 0)
    rate: int = 0
    latency: int = 20
    stall: int = 0
    watchdog: int = 10_000
    limit: int = 400_000
    abort: int = 0
    reset: int = 0

    def but(self, **changes: object) -> "Job":
        """Return a copy with some members changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Done:
    """What a job left: memory as long as its image, registers by name.

    ``error`` is the code; ``interrupted`` says whether the interrupt came.
    """

    memory: np.ndarray
    registers: dict[str, int]
    interrupted: bool

    @property
    def error(self) -> ErrorCode:
        """Error code."""
        return ErrorCode(self.registers["error_code"])

    @property
    def address(self) -> int:
        """Error address."""
        low, high = self.registers["error_address_low"], self.registers["error_address_high"]
        return low | high << 32

    @property
    def cycles(self) -> int:
        """Cycles that the program took."""
        return self.registers["cycles_low"]


@dataclass(frozen=True)
class Board:
    """A machine that is built."""

    config: AcceleratorConfig
    build: Build

    def run(self, jobs: Sequence[Job], *, seed: int = 1, timeout: float = 300.0) -> list[Done]:
        """Run the jobs in order on the same machine, without a reset in between.

        Raises
        ------
        AssertionError
            The machine did something no program may make it do: no interrupt within the limit, an
            interrupt that cannot be cleared, an X where a four-state simulator sees one.
        """
        began = time.monotonic()
        registers = {register.name: register.offset for register in RegisterMap(self.config)}
        folder = BUILD_ROOT / "machine-runs"
        folder.mkdir(parents=True, exist_ok=True)
        run_dir = Path(tempfile.mkdtemp(dir=folder, prefix=f"{self.config.name}-"))
        described = []
        for index, job in enumerate(jobs):
            assert len(job.image) <= MEMORY_BYTES, f"{len(job.image)} bytes: too large an image"
            np.save(run_dir / f"image{index}.npy", job.image)
            described.append({k: v for k, v in vars(job).items() if k != "image"})
        (run_dir / "jobs.json").write_text(json.dumps({
            "beat": self.config.beat_bytes, "registers": registers, "jobs": described,
            "seed": seed,
        }))
        outcome = run_design(
            self.build, "tests.accelerator.board_driver", run_dir=run_dir, timeout=timeout,
            plusargs=[f"+seed={seed}"],
        )
        assert outcome.passed, f"{outcome.failures}; see {outcome.log_file}"
        values = json.loads((run_dir / "results.json").read_text())
        done = [
            Done(np.load(run_dir / f"memory{i}.npy"), v["registers"], v["interrupted"])
            for i, v in enumerate(values)
        ]
        shutil.rmtree(run_dir)
        cycles = sum(v["registers"]["cycles_low"] for v in values)
        print(
            f"{self.config.name}: {len(jobs)} programs, {cycles} cycles, "
            f"{time.monotonic() - began:.1f} s on {self.build.toolchain.name}"
        )
        return done


def _verilog(config: AcceleratorConfig, stripped: bool, cells: str) -> str:
    if not stripped:
        # Generated once for all workers, and for `make sim`.
        cache = BUILD_ROOT.parent / "verilog-cache"
        return accelerator_verilog(config, cache, cells=bool(cells)).read_text() + cells
    script = "proc\nsetattr -unset init w:*\nrename top accelerator\nwrite_verilog -noattr s.v"
    directory, _ = run_yosys(Accelerator(config), script)
    text = (directory / "s.v").read_text()
    shutil.rmtree(directory)
    return text


@functools.cache
def board(
    config: AcceleratorConfig,
    simulator: str = "verilator",
    *,
    stripped: bool = False,
    cells: str = "",
) -> Board:
    """Build the machine, or take it from the cache.

    Parameters
    ----------
    stripped : without the initial values of registers, for a four-state simulator.
    cells : Verilog of the FPGA's cells, where these are to be simulated instead of plain logic.
    """
    folder = BUILD_ROOT / "verilog"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        source = Path(name) / "accelerator.v"
        source.write_text(_verilog(config, stripped, cells))
        toolchain = find_simulator(simulator)
        flag = "+define+" if toolchain.name == "verilator" else "-D"
        defines = {
            "KIWICHA_DATA_WIDTH": config.axi_data_width,
            "KIWICHA_ADDRESS_WIDTH": config.axi_address_width,
            "KIWICHA_MEMORY_BYTES": MEMORY_BYTES,
        }
        build = build_design(
            toolchain,
            [*TESTBENCH, source],
            name=f"machine-{config.name}",
            cache=BUILD_ROOT,
            public="marked",
            timing=True,
            args=[f"{flag}{key}={value}" for key, value in defines.items()],
        )
    return Board(config, build)
