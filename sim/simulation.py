# SPDX-License-Identifier: Apache-2.0
"""Runs a memory image with a program in it on the simulated accelerator."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ErrorCode
from kiwicha.machine.register_map import RegisterMap
from kiwicha.places import build_folder
from kiwicha.sim.hardware import accelerator_verilog
from kiwicha.sim.interrupt import undone_by_signal
from kiwicha.sim.memory_file import hex_words, read_hex
from kiwicha.sim.setup import setup_writes
from kiwicha.sim.simulator import (
    Build,
    SimulatorError,
    Toolchain,
    build_design,
    find_simulator,
    run_design,
)

__all__ = [
    "TESTBENCH", "MachineStopped", "SimulatedMachine", "SimulationResult", "run_folder",
    "simulated_machine",
]

TESTBENCH = tuple(Path(__file__).with_name(name) for name in ("testbench.sv", "stalls.sv"))
"""The simulated board around the machine; its module is called `top`."""
_SMALLEST_MEMORY = 1 << 24


class MachineStopped(RuntimeError):
    """The machine stopped with an error; ``code`` and ``address`` are those of its registers."""

    def __init__(self, code: int, address: int) -> None:
        self.code, self.address = code, address
        name = ErrorCode(code).name if code in set(ErrorCode) else str(code)
        super().__init__(f"the machine stopped: {name} at {address:#x}")


@dataclass(frozen=True)
class SimulationResult:
    """Memory after the run, and what the run cost.

    Members
    -------
    memory : uint8, as long as the image that went in.
    cycles : from START to the interrupt, by the machine's own counter.
    counters : the other counter registers by name, of every engine; 0 where a machine has it not.
    seconds, processor : of wall time and of the processor's, without building and loading.
    waves : the waveform, if one was asked for.
    """

    memory: np.ndarray
    cycles: int
    counters: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    waves: Path | None = None
    processor: float = 0.0


@dataclass(frozen=True)
class SimulatedMachine:
    """A machine that is built and ready to run programs.

    Members
    -------
    driver : module of the cocotb test that runs a program; another one for measuring only.
    """

    config: AcceleratorConfig
    build: Build
    memory_bytes: int
    driver: str = "kiwicha.sim.driver"

    def run(
        self,
        image: np.ndarray,
        program: tuple[int, int],
        read_window: tuple[int, int],
        write_window: tuple[int, int],
        *,
        latency: int = 20,
        stall: int = 0,
        seed: int = 1,
        watchdog: int = 1 << 20,
        random: tuple[int, int] = (0, 0),
        limit: int = 1 << 40,
        waves: Path | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> SimulationResult:
        """Load ``image`` at address 0, run the program and return what memory holds then.

        Parameters
        ----------
        program : (byte address, bytes).
        latency : cycles from a read address to its first beat.
        stall : chance in 256 that a channel of the memory waits in a cycle, 0 to 255; every
            channel has a stream of its own of random numbers, from ``seed``.
        random : seed and step of the random words, on machines that have them.
        limit : cycles after which the run is given up.
        waves : where the waveform goes, with the suffix that the build can write; also written
            when the machine stops.
        progress : called now and then with the cycles simulated.

        Raises
        ------
        MachineStopped
            When the machine reports an error.
        SimulatorError
            When the simulation breaks, or leaves unknown bits in memory (Icarus).
        ValueError
            When ``stall`` is out of range.
        """
        if not 0 <= stall <= 255:
            raise ValueError(f"stall is {stall}; legal: 0 to 255")
        registers = RegisterMap(self.config)
        beat = self.config.beat_bytes
        padded = np.pad(image, (0, -len(image) % beat))
        writes = setup_writes(
            self.config, program, read_window, write_window, watchdog=watchdog, random=random
        )
        counted = [register.name for register in registers if register.counted]
        reads = ("status", "error_code", "error_address_low", "error_address_high", *counted)
        with run_folder() as folder, _waveform(self.build, waves) as (aside, dump):
            (folder / "image.hex").write_text(hex_words(padded, beat), encoding="ascii")
            job = {
                "writes": writes,
                "start": (registers["control"].offset, 1),
                "reads": {name: registers[name].offset for name in reads},
                "limit": limit,
                "progress": str(folder / "progress"),
                "result": str(folder / "result.json"),
            }
            plusargs = [
                f"+latency={latency}", f"+stall={stall}", f"+seed={seed}", "+first=0",
                f"+last={padded.size // beat - 1}", "+image=image.hex", "+result=result.hex",
            ]
            with _Watcher(folder / "progress", progress):
                outcome = run_design(
                    self.build,
                    self.driver,
                    run_dir=folder,
                    env={"KIWICHA_JOB": json.dumps(job)},
                    waves=aside,
                    plusargs=plusargs,
                )
            if not outcome.passed:
                reasons = "; ".join(outcome.failures)
                raise SimulatorError(f"the simulation failed: {reasons} (log: {outcome.log_file})")
            result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            values: dict[str, int] = result["registers"]
            if code := values["error_code"]:
                high = values["error_address_high"] << 32
                raise MachineStopped(code, high | values["error_address_low"])
            memory = read_hex(folder / "result.hex", beat)[: len(image)]
        cycles = values["cycles_low"] | values["cycles_high"] << 32
        counters = {name: values[name] for name in counted if not name.startswith("cycles_")}
        return SimulationResult(
            memory, cycles, counters, result["seconds"], dump, result["processor"]
        )


@contextmanager
def run_folder() -> Iterator[Path]:
    """Make a folder for one run's files; it stays where an error message names its log."""
    folder = (build_folder() / "runs" / f"{os.getpid()}-{time.monotonic_ns()}").resolve()
    with undone_by_signal(folder):
        folder.mkdir(parents=True)
        try:
            yield folder
        except SimulatorError:
            raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _waveform(build: Build, waves: Path | None) -> Iterator[tuple[Path | None, Path | None]]:
    """Give a waveform's place while it is written, and its final one; a crash leaves nothing."""
    if waves is None:
        yield None, None
        return
    final = waves.resolve().with_suffix(f".{build.waves}")
    aside = final.with_name(f".{os.getpid()}-{final.name}")
    with undone_by_signal(aside):
        try:
            yield aside, final
            aside.replace(final)
        except MachineStopped:  # what led to it is what the waveform is for
            aside.replace(final)
            raise
        finally:
            aside.unlink(missing_ok=True)


class _Watcher:
    """Hands the cycles in a file to a callback, from a thread, while the block runs."""

    def __init__(self, path: Path, callback: Callable[[int], None] | None) -> None:
        self.path, self.callback = path, callback
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self.over.wait(0.2):
            try:
                cycles = int(self.path.read_text(encoding="utf-8"))
            except (OSError, ValueError):  # not there yet, or being written
                continue
            if self.callback is not None:
                self.callback(cycles)

    def __enter__(self) -> None:
        if self.callback is not None:
            self.thread.start()

    def __exit__(self, *_: Any) -> None:
        self.over.set()
        if self.callback is not None:
            self.thread.join()


def simulated_machine(
    config: AcceleratorConfig,
    memory_bytes: int,
    *,
    simulator: str | Toolchain = "verilator",
    waves: str = "none",
    public: str = "marked",
    listener: Callable[[str], None] | None = None,
) -> SimulatedMachine:
    """Build the simulation of a machine, or take it from the cache.

    Parameters
    ----------
    memory_bytes : the memory has at least this much.
    waves : "none", "vcd" or "fst".
    public : see `sim.builder.build_design`; for measuring only.
    listener : called with what begins, which may take a minute where nothing is cached.

    Raises
    ------
    SimulatorError
        When there is no such simulator, or it cannot build.
    """
    toolchain = find_simulator(simulator) if isinstance(simulator, str) else simulator
    size = max(_SMALLEST_MEMORY, 1 << max(0, memory_bytes - 1).bit_length())
    defines = {
        "KIWICHA_DATA_WIDTH": config.axi_data_width,
        "KIWICHA_ADDRESS_WIDTH": config.axi_address_width,
        "KIWICHA_MEMORY_BYTES": size,
    }
    flag = "+define+" if toolchain.name == "verilator" else "-D"
    if listener is not None:
        listener("generating Verilog")
    verilog = accelerator_verilog(config)
    if listener is not None:
        listener(f"building the simulation ({toolchain.name})")
    build = build_design(
        toolchain,
        [*TESTBENCH, verilog],
        name=f"accelerator-{config.name}",
        cache=build_folder() / "sim",
        waves=waves,
        public=public,
        timing=True,
        args=[f"{flag}{key}={value}" for key, value in defines.items()],
    )
    return SimulatedMachine(config, build, size)
