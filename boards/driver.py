# SPDX-License-Identifier: Apache-2.0
"""Inside the simulator: the same client and the same machine class as on a desk run a job.

The job is a folder, the working directory: `program.npz`, `config.json` and one `input<n>.npz` a
run; the answers are `output<n>.npz` and `result.json`.
"""

import json
import time
from pathlib import Path
from typing import Any

import cocotb
from cocotb.task import bridge
from cocotb.utils import get_sim_time

from kiwicha.boards.link.client import HostLink
from kiwicha.boards.machine import BoardMachine
from kiwicha.boards.program import BoardProgram, load_tensors, save_tensors
from kiwicha.boards.simulated import SimulatedTransport, reset_board
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["run_job"]


def _run(dut: Any, job: dict[str, Any]) -> dict[str, Any]:
    transport = SimulatedTransport(dut, job["clock_hz"])
    link = HostLink(transport, clock=transport.clock)
    machine = BoardMachine(link, AcceleratorConfig(**job["config"]))
    machine.load(BoardProgram.load(Path("program.npz")))
    cycles = []
    for index in range(job["runs"]):
        found, taken = machine.run(load_tensors(Path(f"input{index}.npz")))
        save_tensors(Path(f"output{index}.npz"), found)
        cycles.append(taken)
    return {"cycles": cycles, "statistics": vars(link.statistics)}


@cocotb.test()
async def run_job(dut: Any) -> None:
    """Reset, run the job, write down what came of it."""
    job = json.loads(Path("config.json").read_text(encoding="utf-8"))
    started = time.monotonic()
    await reset_board(dut)
    result = await bridge(_run)(dut, job)
    result["simulated"] = int(get_sim_time("ns")) // 2
    result["seconds"] = time.monotonic() - started
    Path("result.json").write_text(json.dumps(result), encoding="utf-8")
