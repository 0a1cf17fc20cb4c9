# SPDX-License-Identifier: Apache-2.0
"""Networks compiled as C with the C driver, and their inputs and outputs through it."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

import kiwicha

from .c_driver import CDriver, compiled
from .fake_machine import FakeMachine
from .programs import machine_of

__all__ = ["BASE", "Made", "outputs", "put"]

BASE = 0x1F00_0000


class Made:
    """A compiled network with the C driver, inputs, and what must come out."""

    def __init__(self, folder: Path, model: Any, inputs: dict[str, Any], machine: Any) -> None:
        samples = len(next(iter(inputs.values())))
        kiwicha.write_program(model, folder, machine, samples=samples, c_source=True)
        self.inputs, self.program = inputs, kiwicha.load(folder)
        self.expected = kiwicha.run_golden(model, inputs, machine).outputs
        self.config = machine_of(self.program)
        self.library = compiled(folder, folder / "program.c")
        header = (folder / "program.h").read_text()
        (self.symbol,) = [
            w.rstrip(";") for w in header.split() if w.endswith("_program;")
        ]

    def start(self, idle: Any = None, **options: Any) -> tuple[FakeMachine, CDriver]:
        """Return a machine with the program's memory from `BASE` on, and the driver on it."""
        size = self.program.image.size
        memory = np.full(size + 128, 0xA5, np.uint8)
        machine = FakeMachine(self.config, memory, BASE, **options)
        return machine, CDriver(self.library, self.symbol, machine, idle)


def put(made: Made, driver: CDriver) -> None:
    """Put the inputs into memory."""
    for index in range(driver.program.input_count):
        tensor = driver.program.inputs[index]
        array = np.ascontiguousarray(made.inputs[tensor.name.decode()])
        pointer = array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        quantize = driver.library.kiwicha_quantize
        quantize.restype = ctypes.c_bool
        assert quantize(ctypes.byref(driver.device), ctypes.byref(tensor), pointer)


def outputs(driver: CDriver) -> dict[str, Any]:
    """Take the outputs out of it."""
    found = {}
    for index in range(driver.program.output_count):
        tensor = driver.program.outputs[index]
        array = np.empty([tensor.shape[axis] for axis in range(tensor.rank)], np.float32)
        pointer = array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        dequantize = driver.library.kiwicha_dequantize
        dequantize.restype = ctypes.c_bool
        assert dequantize(ctypes.byref(driver.device), ctypes.byref(tensor), pointer)
        found[tensor.name.decode()] = array
    return found
