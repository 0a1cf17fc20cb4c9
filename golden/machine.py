# SPDX-License-Identifier: Apache-2.0
"""The whole machine in NumPy: runs a program binary, one instruction after the other.

It knows instructions, memories and tokens, but no cycles: what it leaves in memory is what the
hardware must leave there. A compiler fault shows as a difference between this and the operators
of `golden.network`; a hardware fault as a difference between this and the simulation.
"""

from typing import Any

import numpy as np

from kiwicha.golden.compute import compute
from kiwicha.golden.load import (
    MATRICES,
    compressed_rows,
    illegal_format,
    interleaved_places,
    matrix_places,
)
from kiwicha.golden.special import no_loss, special
from kiwicha.golden.update import illegal_update, update
from kiwicha.golden.vector import VectorState, vector
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.destination import FORWARDED, StoreDestination, destinations
from kiwicha.machine.encoding import walk_program
from kiwicha.machine.isa import (
    BOUNDS_PLACE,
    COUNTER_WORDS,
    ENGINES,
    PARAMETER_BYTES,
    SUM_BEATS,
    WORD_BITS,
    Engine,
    LoadTarget,
    Opcode,
    SpecialOperation,
    StoreSource,
    WeightFormat,
)
from kiwicha.machine.optimizer import state_bytes
from kiwicha.machine.records import SLOT_RECORD
from kiwicha.machine.shifts import exponent_of

__all__ = ["Machine", "MachineError"]


class MachineError(RuntimeError):
    """The program does what the hardware would refuse or hang at."""


class Machine:
    """State of the machine, and the instructions' effects on it.

    Parameters
    ----------
    config : the machine.
    memory : uint8, changed in place.
    read_window, write_window : (base, limit) that LOAD and STORE may touch, limit exclusive.
    seed, step : registers random_seed and random_step; rate : update_rate.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        memory: np.ndarray,
        read_window: tuple[int, int],
        write_window: tuple[int, int],
        *,
        seed: int = 0,
        step: int = 0,
        rate: int = 0,
    ) -> None:
        self.config, self.memory = config, memory
        self.read_window, self.write_window = read_window, write_window
        self.activation = np.zeros(config.activation_bytes, np.uint8)
        self.weight = np.zeros(config.weight_bytes, np.uint8)
        self.parameter = np.zeros(config.parameter_channels * PARAMETER_BYTES, np.uint8)
        self.accumulator = np.zeros((config.accumulator_depth, config.columns), np.int32)
        self.output = np.zeros(config.output_bytes, np.uint8)
        self.state = VectorState(seed=seed, step=step)
        self.statistics = self.state.statistics.octets().copy()
        self.operand = np.zeros((config.special.lanes, config.special.bytes), np.uint8)
        self.result = np.zeros_like(self.operand)
        self.tables = np.zeros((2, config.special.entries), np.uint32)
        self._targets = {
            LoadTarget.ACTIVATION: self.activation,
            LoadTarget.WEIGHT: self.weight,
            LoadTarget.PARAMETER: self.parameter,
        }
        self._sources = {StoreSource.OUTPUT: self.output}
        if config.special.lanes:
            self._targets[LoadTarget.OPERAND] = self.operand.reshape(-1)
            self._targets[LoadTarget.TABLE] = self.tables.reshape(-1).view(np.uint8)
            self._sources[StoreSource.RESULT] = self.result.reshape(-1)
        if config.functions:
            tables = self.state.functions[: config.functions.tables]
            self._targets[LoadTarget.FUNCTION] = tables.reshape(-1)
        if config.residual:
            state = self.state
            state.addends = np.zeros(config.output_bytes, np.uint8)
            state.sums = np.zeros((2, SUM_BEATS, config.beat_bytes), np.uint8)
            self._targets[LoadTarget.ADDEND] = state.addends
            self._targets[LoadTarget.SUMS] = state.sums.reshape(-1)
        if config.real:
            self.state.operands = np.zeros(config.real.bytes, np.uint8)
            self._targets[LoadTarget.REAL] = self.state.operands
        self.tags = np.zeros(config.activation_bytes // config.beat_bytes, np.int8)
        if config.tags:
            self._targets[LoadTarget.TAGS] = self.tags.view(np.uint8)
        if config.dynamic or config.training:
            self._targets[LoadTarget.DYNAMIC] = slots = self.state.slots.view(np.uint8)
            if config.real.functions:
                kept = np.zeros(2 * BOUNDS_PLACE, np.uint8)
                self._targets[LoadTarget.DYNAMIC] = kept
                slots, self.state.bounds = kept[:BOUNDS_PLACE], kept[BOUNDS_PLACE:]
                self.state.slots = slots.view(SLOT_RECORD)
            self._sources[StoreSource.DYNAMIC] = slots
        if config.statistics.elements:
            self._sources[StoreSource.STATISTICS] = self.statistics
        self.tokens = np.zeros((ENGINES, ENGINES), np.int64)  # [from, to]
        self.retired = 0
        self.rate = rate
        self.saturated = 0  #: register update_saturated

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
            Opcode.SPECIAL: self._special,
            Opcode.STORE: self._store,
            Opcode.UPDATE: self._update,
        }
        for index, opcode, fields in walk_program(words):
            if opcode == Opcode.END:
                return
            engine = Engine[opcode.name]
            try:
                self._take_tokens(engine, fields["wait"])
                actions[opcode](fields)
                self._give_tokens(engine, fields["signal"])
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
        if fields["extent"]:
            raise MachineError(f"extent is {fields['extent']}; legal without a format: 0")
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

    def _read(self, address: int, length: int) -> np.ndarray:
        """Return the whole beats around ``length`` bytes."""
        beat = self.config.beat_bytes
        start, stop = address // beat * beat, -(-(address + length) // beat) * beat
        self._window(start, stop, self.read_window, "read")
        return self.memory[start:stop]

    def _load(self, fields: dict[str, Any]) -> None:
        kind = LoadTarget(fields["target"])
        if kind not in self._targets:
            raise MachineError(f"the machine has no target {kind.name}")
        if fields["format"] != WeightFormat.DENSE:
            self._load_format(fields)
            return
        target, beat = self._targets[kind], self.config.beat_bytes
        for address, local in self._runs(fields, target.size):
            data = self._read(address, fields["length"])
            start = local // beat * beat
            target[start : start + data.size] = data
        self.state.slots["rest"] = 0  # the machine has no place for it

    def _load_format(self, fields: dict[str, Any]) -> None:
        if reason := illegal_format(self.config, fields):
            raise MachineError(reason)
        interleaved, length = fields["format"] == WeightFormat.INTERLEAVED, fields["length"]
        compressed = not interleaved and fields["format"] not in MATRICES
        runs = []
        for segment in range(fields["segments"]):
            address = fields["address"] + (0 if compressed else segment * fields["pitch"])
            start = address % self.config.beat_bytes
            runs.append(self._read(address, length)[start : start + length])
        octets = np.concatenate(runs)
        rows = self.weight.reshape(-1, self.config.weight_pitch)
        if interleaved:
            places = interleaved_places(fields).reshape(-1)
            if places.min() < 0 or places.max() >= self.activation.size:
                raise MachineError(f"place {places.max()} of {self.activation.size}")
            self.activation[places] = octets
        elif compressed:
            try:
                data = compressed_rows(self.config, fields, octets)
            except ValueError as error:
                raise MachineError(f"malformed stream: {error}") from None
            first = fields["local"] // self.config.weight_pitch
            self._require_rows(first, first + len(data))
            rows[first : first + len(data)] = data
        else:
            row, column = matrix_places(self.config, fields, octets.size)
            self._require_rows(int(row.min()), int(row.max()) + 1)
            rows[row, column] = octets

    def _require_rows(self, start: int, stop: int) -> None:
        limit = self.config.weight_bytes // self.config.weight_pitch
        if start < 0 or stop > limit:
            raise MachineError(f"weight rows {start} to {stop - 1} of {limit}")

    def _store(self, fields: dict[str, Any]) -> None:
        kind, length = StoreSource(fields["source"]), fields["length"]
        if kind not in self._sources and kind != StoreSource.COUNTERS:
            raise MachineError(f"the machine has no source {kind.name}")
        # Cycle counts are not this model's to know: a counter record reads as zeros.
        source = self._sources.get(kind, np.zeros(COUNTER_WORDS * WORD_BITS // 8, np.uint8))
        if fields["destination"] != StoreDestination.MEMORY:
            self._forward(fields, source)
            return
        for address, local in self._runs(fields, source.size):
            self._window(address, address + length, self.write_window, "write")
            self.memory[address : address + length] = source[local : local + length]

    def _forward(self, fields: dict[str, Any], source: np.ndarray) -> None:
        """Copy whole beats of results to where LOAD would put them."""
        destination = StoreDestination(fields["destination"])
        if destination not in destinations(self.config):
            raise MachineError(f"the machine has no destination {destination.name}")
        if fields["source"] not in (StoreSource.OUTPUT, StoreSource.RESULT):
            raise MachineError(f"{StoreSource(fields['source']).name} goes to memory only")
        target, beat = self._targets[FORWARDED[destination]], self.config.beat_bytes
        for address, local in self._runs(fields, source.size):
            start, stop = local // beat * beat, -(-(local + fields["length"]) // beat) * beat
            first = address // beat * beat
            if first < 0 or first + stop - start > target.size:
                raise MachineError(f"address {address} on chip outside {target.size} bytes")
            target[first : first + stop - start] = source[start:stop]

    def _special(self, fields: dict[str, Any]) -> None:
        if not self.config.special.lanes:
            raise MachineError("the machine has no special.lanes")
        loss = fields["operation"] == SpecialOperation.CROSS_ENTROPY
        if loss and (reason := no_loss(fields, self.config.training.classes)):
            raise MachineError(reason)
        if fields["total"] > self.config.special.lanes * fields["rows"]:
            raise MachineError(f"{fields['total']} rows, {fields['rows']} a lane")
        try:
            special(
                fields, self.operand, self.tables, self.result, self.config.special.softmax,
                self.config.fixed_pairs, [exponent_of(s) for s in self.state.slots["scale"]],
            )
        except IndexError as error:
            raise MachineError(str(error)) from None

    def _update(self, fields: dict[str, Any]) -> None:
        if not self.config.update.lanes:
            raise MachineError("the machine has no update.lanes")
        beat, count = self.config.beat_bytes, fields["count"]
        if reason := illegal_update(fields, beat, self.rate):
            raise MachineError(reason)
        if fields["slots"] and not self.config.slots:
            raise MachineError("the machine has no slots")
        exponents = [exponent_of(s) for s in self.state.slots["scale"]]
        size = state_bytes(count, fields["momentum"], fields["root"], beat)
        gradients = self._read(fields["gradients"], count * (4 if fields["wide"] else 1))
        before = self._read(fields["state"], size)
        state, codes, over = update(fields, before, gradients, beat, exponents, self.rate)
        for name, made in (("state", state), ("codes", codes)):
            if not made.size:  # sums have no int8 weights
                continue
            start, stop = fields[name], fields[name] + made.size
            self._window(start, -(-stop // beat) * beat, self.write_window, "write")
            self.memory[start:stop] = made
        self.saturated = (self.saturated + over) & 0xFFFF_FFFF

    def _compute(self, fields: dict[str, Any]) -> None:
        if (fields["dynamic"] or fields["slot"]) and not self.config.dynamic:
            raise MachineError("the machine has no slots of dynamic quantization")
        if fields["dynamic"]:
            zero = int(self.state.slots["zero_point"][fields["slot"]])
            fields = fields | {"activation_zero": zero}
        if not self.config.depthwise and any(fields[n] for n in ("filter", "tail", "line_tail")):
            raise MachineError("the machine has no columns that filter")
        if (fields["aligned"] or fields["unit"]) and not self.config.tags:
            raise MachineError("the machine has no lines with exponents")
        longest = 1 << max(1, (self.config.rows - 1).bit_length())
        if max(fields["tail"], fields["line_tail"]) >= longest:
            raise MachineError(f"tails are legal up to {longest - 1}")
        weights = self.weight.reshape(-1, self.config.weight_pitch)
        try:
            compute(
                fields, self.activation, weights, self.accumulator, self.config.rows, self.tags
            )
        except (IndexError, ValueError) as error:
            raise MachineError(str(error)) from None

    def _vector(self, fields: dict[str, Any]) -> None:
        try:
            vector(
                self.config, fields, self.accumulator, self.parameter, self.output, self.state
            )
        except (IndexError, OverflowError, ValueError) as error:
            raise MachineError(str(error)) from None
        if fields["statistics"]:
            self.statistics[:] = self.state.statistics.octets()
