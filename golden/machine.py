# SPDX-License-Identifier: Apache-2.0
"""The whole machine in NumPy: runs a program binary, one instruction after the other.

It knows instructions, memories and tokens, but no cycles: what it leaves in memory is what the
hardware must leave there. A compiler fault shows as a difference between this and the operators
of `golden.conv`, `golden.matmul` and `golden.pool`; a hardware fault as a difference between
this and the simulation.
"""

from typing import Any

import numpy as np

from golden.compute import compute
from golden.requantize import requantize
from hw.config import AcceleratorConfig
from hw.encoding import walk_program
from hw.isa import ENGINES, PARAMETER_BYTES, Engine, LoadTarget, Opcode, StoreSource

__all__ = ["Machine", "MachineError"]

_ENGINE = {
    Opcode.LOAD: Engine.LOAD,
    Opcode.COMPUTE: Engine.COMPUTE,
    Opcode.VECTOR: Engine.VECTOR,
    Opcode.STORE: Engine.STORE,
}


class MachineError(RuntimeError):
    """The program does what the hardware would refuse or hang at."""


class Machine:
    """State of the machine, and the instructions' effects on it.

    Parameters
    ----------
    config : the machine.
    memory : uint8, changed in place.
    read_window, write_window : (base, limit) that LOAD and STORE may touch, limit exclusive.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        memory: np.ndarray,
        read_window: tuple[int, int],
        write_window: tuple[int, int],
    ) -> None:
        self.config, self.memory = config, memory
        self.read_window, self.write_window = read_window, write_window
        self.activation = np.zeros(config.activation_bytes, np.uint8)
        self.weight = np.zeros(config.weight_bytes, np.uint8)
        self.parameter = np.zeros(config.parameter_channels * PARAMETER_BYTES, np.uint8)
        self.accumulator = np.zeros((config.accumulator_depth, config.columns), np.int32)
        self.output = np.zeros(config.output_bytes, np.uint8)
        self.tokens = np.zeros((ENGINES, ENGINES), np.int64)  # [from, to]
        self.retired = 0

    def run(self, words: np.ndarray) -> None:
        """Run a program, ``uint64`` words, up to its END.

        Raises
        ------
        MachineError
            Names the word at which the instruction begins.
        """
        actions = {
            Opcode.LOAD: self._load,
            Opcode.COMPUTE: self._compute,
            Opcode.VECTOR: self._vector,
            Opcode.STORE: self._store,
        }
        for index, opcode, fields in walk_program(words):
            if opcode == Opcode.END:
                return
            try:
                self._take_tokens(_ENGINE[opcode], fields["wait"])
                actions[opcode](fields)
                self._give_tokens(_ENGINE[opcode], fields["signal"])
            except MachineError as error:
                raise MachineError(f"word {index}, {opcode.name}: {error}") from None
            self.retired += 1

    def _take_tokens(self, engine: Engine, mask: int) -> None:
        for other in Engine:
            if mask >> other & 1:
                if self.tokens[other, engine] == 0:
                    raise MachineError(f"waits for a token from {other.name} that never comes")
                self.tokens[other, engine] -= 1

    def _give_tokens(self, engine: Engine, mask: int) -> None:
        for other in Engine:
            if mask >> other & 1:
                self.tokens[engine, other] += 1

    def _window(self, start: int, stop: int, window: tuple[int, int], what: str) -> None:
        if start < window[0] or stop > window[1]:
            raise MachineError(
                f"{what} {start:#x} to {stop:#x} leaves the granted "
                f"{window[0]:#x} to {window[1]:#x}"
            )

    def _runs(self, fields: dict[str, Any], size: int) -> list[tuple[int, int]]:
        """Return (memory address, local address) of each run, checked for alignment and range."""
        beat = self.config.beat_bytes
        runs = []
        for segment in range(fields["segments"]):
            address = fields["address"] + segment * fields["pitch"]
            local = fields["local"] + segment * fields["local_pitch"]
            if (address - local) % beat:
                raise MachineError(
                    f"run {segment}: {address:#x} and {local:#x} differ in alignment"
                )
            if local < 0 or local + fields["length"] > size:
                raise MachineError(f"run {segment}: local address {local} outside {size} bytes")
            runs.append((address, local))
        return runs

    def _load(self, fields: dict[str, Any]) -> None:
        target = {
            LoadTarget.ACTIVATION: self.activation,
            LoadTarget.WEIGHT: self.weight,
            LoadTarget.PARAMETER: self.parameter,
        }[LoadTarget(fields["target"])]
        beat = self.config.beat_bytes
        for address, local in self._runs(fields, target.size):
            before = address % beat
            length = -(-(before + fields["length"]) // beat) * beat
            self._window(address - before, address - before + length, self.read_window, "read")
            data = self.memory[address - before : address - before + length]
            target[local - before : local - before + length] = data

    def _store(self, fields: dict[str, Any]) -> None:
        for address, local in self._runs(fields, self.output.size):
            length = fields["length"]
            self._window(address, address + length, self.write_window, "write")
            # Cycle counts are not this model's to know: a counter record reads as zeros.
            if fields["source"] == StoreSource.COUNTERS:
                self.memory[address : address + length] = 0
            else:
                self.memory[address : address + length] = self.output[local : local + length]

    def _compute(self, fields: dict[str, Any]) -> None:
        weights = self.weight.reshape(-1, self.config.weight_pitch)
        try:
            compute(fields, self.activation, weights, self.accumulator, self.config.rows)
        except IndexError as error:
            raise MachineError(str(error)) from None

    def _vector(self, fields: dict[str, Any]) -> None:
        config, channels = self.config, fields["channels"]
        pixels = fields["pixels"] * fields["lines"]
        entry = fields["accumulator"]
        if entry + pixels > config.accumulator_depth:
            raise MachineError(f"accumulator entry {entry + pixels - 1} out of range")
        used, lanes = config.requantize_lanes, config.parameter_lanes
        groups = -(-channels // used)
        size = lanes * PARAMETER_BYTES
        start = fields["parameter"] * size
        if start + groups * size > self.parameter.size:
            raise MachineError(f"parameter group {fields['parameter'] + groups - 1} out of range")
        record = self.parameter[start : start + groups * size].view(
            np.dtype([("bias", "<i4"), ("multiplier", "<u4"), ("shift", "i1"), ("pad", "V7")])
        )
        record = record.reshape(groups, lanes)[:, :used].reshape(-1)[:channels]
        result = requantize(
            self.accumulator[entry : entry + pixels, :channels],
            record["multiplier"], record["shift"].astype(np.int64), fields["zero_point"],
            fields["low"], fields["high"], config.requantize_mode, bias=record["bias"],
        )  # fmt: skip
        pixel = np.arange(pixels)
        local = fields["local"] + (pixel // fields["pixels"]) * fields["line_pitch"]
        local = local + (pixel % fields["pixels"]) * fields["pixel_pitch"]
        target = local[:, None] + np.arange(channels)
        if target.min() < 0 or target.max() >= self.output.size:
            raise MachineError(f"output buffer byte {target.max()} out of range")
        self.output[target] = result.astype(np.uint8)
