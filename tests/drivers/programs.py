# SPDX-License-Identifier: Apache-2.0
"""Compiled programs for the tests of drivers, with inputs and what has to come out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kiwicha
from kiwicha.golden.machine import Machine
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["machine_of", "on_golden_machine", "written"]

Arrays = dict[str, NDArray[Any]]


def written(
    model: Any, folder: Path, inputs: Arrays, machine: Any = None
) -> tuple[kiwicha.Program, Arrays]:
    """Compile a model into a folder; return the program and the outputs of the golden machine."""
    samples = len(next(iter(inputs.values())))
    kiwicha.write_program(model, folder, machine, samples=samples)
    return kiwicha.load(folder), dict(kiwicha.run_golden(model, inputs, machine).outputs)


def machine_of(program: kiwicha.Program) -> AcceleratorConfig:
    """Return the machine that a program is for."""
    config = json.loads(json.dumps(program.manifest["machine"]["config"]))
    made = AcceleratorConfig(**config)
    assert made.fingerprint == program.fingerprint
    return made


def on_golden_machine(program: kiwicha.Program, inputs: Arrays, base: int = 0) -> Arrays:
    """Run a program in memory from ``base`` on."""
    size = program.image.size
    memory = np.full(base + size, 0xA5, np.uint8)
    memory[base:] = program.relocate(base, size)
    for address, octets in program.pack(inputs):
        memory[base + address : base + address + len(octets)] = np.frombuffer(octets, np.uint8)
    start, length = program.program
    words = memory[base + start : base + start + length].view("<u8")
    windows = [(base + a, base + b) for a, b in (program.read_window, program.write_window)]
    Machine(machine_of(program), memory, *windows).run(words)
    return program.unpack(memory[base:])
