# SPDX-License-Identifier: Apache-2.0
"""Builds the simulation of a board's top, wires included, and runs programs on it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kiwicha.boards.link.format import worst_length
from kiwicha.boards.program import BoardProgram, load_tensors, save_tensors
from kiwicha.boards.top import BoardTop
from kiwicha.hw.verilog.emit import emit_verilog
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.places import build_folder
from kiwicha.sim.scratch import scratch_folder
from kiwicha.sim.simulator import Build, SimulatorError, build_design, find_simulator, run_design

__all__ = ["CLOCK_HZ", "DIVISOR", "BoardRun", "SimulatedBoard", "simulated_board"]

DIVISOR = 4
"""Clocks of a bit on the simulated wire; a real board has 25 or more, which only takes longer."""
CLOCK_HZ = 1_000_000
"""What the simulated board believes of its clock: it turns seconds into cycles, nothing else."""

_TESTBENCH = Path(__file__).with_name("testbench.sv")


@dataclass(frozen=True)
class BoardRun:
    """What the runs of a job gave.

    Members
    -------
    outputs : bytes by output tensor, for each run.
    cycles : of each run, by the machine's own counter.
    simulated : clocks in all, those on the wire included; ``seconds`` of wall time.
    requests, repeats, strays : see `boards.link.client.LinkStatistics`.
    """

    outputs: tuple[dict[str, bytes], ...]
    cycles: tuple[int, ...]
    simulated: int
    seconds: float
    requests: int
    repeats: int
    strays: int


@dataclass(frozen=True)
class SimulatedBoard:
    """A board's top that is built and ready."""

    config: AcceleratorConfig
    build: Build

    def run(
        self, program: BoardProgram, inputs: Sequence[Mapping[str, bytes]], *, timeout: float = 600
    ) -> BoardRun:
        """Load ``program`` over the wire and run it once for each of ``inputs``.

        Raises
        ------
        SimulatorError
            The simulation broke, or the client gave up; the message has its reason.
        """
        with scratch_folder(build_folder() / "board-runs") as place:
            program.save(place / "program.npz")
            for index, tensors in enumerate(inputs):
                save_tensors(place / f"input{index}.npz", tensors)
            job = {"config": self.config.to_dict(), "clock_hz": CLOCK_HZ, "runs": len(inputs)}
            (place / "config.json").write_text(json.dumps(job), encoding="utf-8")
            driver = "kiwicha.boards.driver"
            outcome = run_design(self.build, driver, run_dir=place, timeout=timeout)
            if not outcome.passed:
                raise SimulatorError(f"the board's simulation failed: {outcome.failures}")
            result = json.loads((place / "result.json").read_text(encoding="utf-8"))
            outputs = []
            for index in range(len(inputs)):
                outputs.append(load_tensors(place / f"output{index}.npz"))
        return BoardRun(
            tuple(outputs), tuple(result["cycles"]), result["simulated"], result["seconds"],
            **result["statistics"],
        )


def simulated_board(
    config: AcceleratorConfig, *, optimize: str | None = None, simulator: str = "verilator"
) -> SimulatedBoard:
    """Build the simulation, or take it from the cache.

    Raises
    ------
    SimulatorError
        When there is no such simulator, or it cannot build.
    """
    toolchain = find_simulator(simulator)
    top = BoardTop(config, clock_hz=CLOCK_HZ, divisor=DIVISOR)
    defines = {
        "KIWICHA_DIVISOR": DIVISOR,
        "KIWICHA_MESSAGE_BYTES": worst_length(top.identity.payload_bytes),
    }
    flag = "+define+" if toolchain.name == "verilator" else "-D"
    with scratch_folder(build_folder() / "board-verilog") as folder:
        source = folder / "board.v"
        source.write_text(emit_verilog(top, "board", cells=False), encoding="utf-8")
        build = build_design(
            toolchain,
            [_TESTBENCH, source],
            name=f"board-{config.name}",
            cache=build_folder() / "sim",
            timing=True,
            args=[f"{flag}{key}={value}" for key, value in defines.items()],
            **({} if optimize is None else {"optimize": optimize}),
        )
    return SimulatedBoard(config, build)
