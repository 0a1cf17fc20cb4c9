# SPDX-License-Identifier: Apache-2.0
"""The machine model: one program worked out by hand, and what it refuses.

Whole layers and networks run on it in tests/compiler, and beside the simulation in tests/machine.
"""

import re

import numpy as np
import pytest

from kiwicha.golden.machine import Machine, MachineError
from kiwicha.machine.destination import StoreDestination
from kiwicha.machine.encoding import encode
from kiwicha.machine.isa import (
    LEVELS,
    PARAMETER_BYTES,
    Engine,
    LoadTarget,
    Opcode,
    SpecialOperation,
    StoreSource,
    VectorMode,
    WeightFormat,
)
from kiwicha.machine.presets import preset

PLAIN = preset("tiny").replace(requantize_mode="shift")
CONFIG = PLAIN.replace(
    transposer=True, sparse={"formats": ["csc4"]}, special={"lanes": 2, "bytes": 256},
    forwarding=True,
)
SIZE = 1024
ACTIVATIONS, WEIGHTS, PARAMETERS, RESULT = 0, 64, 256, 768
LOOPS = [{"count": 1, "y": 0, "x": 0, "address": 0}] * LEVELS


def mask(engine):
    return 1 << engine


def load(target=LoadTarget.ACTIVATION, **fields):
    fields = {"local": 0, "address": 0, "length": 8, "segments": 1} | fields
    return encode(Opcode.LOAD, target=target, **fields)


def compute(**fields):
    fields = {
        "activation_signed": 1, "weight_signed": 1, "rows": 2, "y_limit": 1, "x_limit": 2,
        "levels": LOOPS,
    } | fields
    return encode(Opcode.COMPUTE, **fields)


def vector(**fields):
    fields = {"low": -128, "high": 127, "channels": 2, "pixels": 1, "lines": 1} | fields
    return encode(Opcode.VECTOR, **fields)


def store(source=StoreSource.OUTPUT, **fields):
    fields = {"local": 0, "address": RESULT, "length": 2, "segments": 1} | fields
    return encode(Opcode.STORE, source=source, **fields)


def formatted(form=WeightFormat.ROWS, target=LoadTarget.WEIGHT, **fields):
    return load(target, **{"format": form, "extent": 8, "local_pitch": 64} | fields)


def stream(**fields):
    fields = {"extent": 0, "local_pitch": 0, "pitch": 1 | 1 << 16, "length": 16} | fields
    return formatted(WeightFormat.CSC4, **fields)


def special(**fields):
    fields = {"operation": SpecialOperation.TABLE, "rows": 1, "length": 4, "total": 2} | fields
    return encode(Opcode.SPECIAL, **fields)


def machine(memory=None, config=CONFIG):
    memory = np.zeros(SIZE, np.uint8) if memory is None else memory
    return Machine(config, memory, (0, RESULT), (RESULT, SIZE))


def run(*instructions, config=CONFIG):
    model = machine(config=config)
    model.run(np.concatenate([*instructions, encode(Opcode.END)]))
    return model


def test_a_product_by_hand():
    memory = np.zeros(SIZE, np.uint8)
    memory[ACTIVATIONS : ACTIVATIONS + 2] = np.array([3, -4], np.int8).view(np.uint8)
    pitch = CONFIG.weight_pitch
    weights = np.zeros((2, pitch), np.int8)
    weights[:, :2] = [[10, -7], [5, 100]]
    memory[WEIGHTS : WEIGHTS + 2 * pitch] = weights.reshape(-1).view(np.uint8)
    records = memory[PARAMETERS : PARAMETERS + 2 * PARAMETER_BYTES].reshape(2, PARAMETER_BYTES)
    records[:, :4] = np.array([[5], [-10]], "<i4").view(np.uint8)
    records[:, 8] = 1  # a right shift
    model = machine(memory)
    model.run(
        np.concatenate([
            load(length=2),
            load(LoadTarget.WEIGHT, address=WEIGHTS, length=2 * pitch),
            load(
                LoadTarget.PARAMETER, address=PARAMETERS, length=2 * PARAMETER_BYTES,
                signal=mask(Engine.COMPUTE),
            ),
            compute(signal=mask(Engine.VECTOR)),
            vector(wait=mask(Engine.COMPUTE), zero_point=1, signal=mask(Engine.STORE)),
            store(wait=mask(Engine.VECTOR)),
            encode(Opcode.END),
        ])
    )
    # 3 * 10 - 4 * 5 = 10 and 3 * -7 - 4 * 100 = -421; bias; half, rounded up; zero point; clamp.
    assert model.accumulator[0, :2].tolist() == [10, -421]
    assert memory[RESULT : RESULT + 3].tolist() == [(10 + 5 + 1) // 2 + 1, 0x80, 0]
    assert model.retired == 6
    assert model.tokens.sum() == 1  # LOAD's, which nobody took


def test_a_special_function_by_hand():
    memory = np.zeros(SIZE, np.uint8)
    memory[:16] = np.arange(100, 116)
    memory[64:576] = np.arange(128, dtype="<u4").view(np.uint8)
    lanes = {"segments": 2, "pitch": 8, "local_pitch": 256}  # a beat each
    model = machine(memory)
    model.run(
        np.concatenate([
            load(LoadTarget.OPERAND, local=8, **lanes),
            load(LoadTarget.TABLE, address=64, local=1024, length=512,
                 signal=mask(Engine.SPECIAL)),
            special(table=1, x=10, y=20, wait=mask(Engine.LOAD), signal=mask(Engine.STORE)),
            store(StoreSource.RESULT, wait=mask(Engine.SPECIAL), address=RESULT + 4, local=20,
                  length=4, **lanes),
            encode(Opcode.END),
        ])
    )
    # Bytes 2 to 5 of each beat, through the identity.
    assert memory[RESULT : RESULT + 16].tolist() == [
        *[0] * 4, 102, 103, 104, 105, *[0] * 4, 110, 111, 112, 113,
    ]
    assert not model.tokens.any()


def test_a_transposed_matrix_by_hand():
    memory = np.arange(SIZE).astype(np.uint8)
    model = machine(memory)
    # Five lines of three bytes, seven from each other, to two tiles of four columns.
    runs = formatted(
        WeightFormat.COLUMNS, address=3, length=3, segments=5, pitch=7, extent=3, local=16
    )
    model.run(np.concatenate([runs, encode(Opcode.END)]))
    rows = model.weight.reshape(-1, CONFIG.weight_pitch)
    assert rows[4:7].tolist() == [[3, 10, 17, 24], [4, 11, 18, 25], [5, 12, 19, 26]]
    assert rows[20:23, 0].tolist() == [31, 32, 33]
    assert np.count_nonzero(rows) == 15


def test_statistics_by_hand():
    memory, config = np.zeros(SIZE, np.uint8), PLAIN.replace(statistics={"elements": 256})
    model, record = machine(memory, config), {"length": 72, "local": 0}
    words = [store(StoreSource.STATISTICS, **record)]
    for index, fields in enumerate(({}, {"begin": 1, "only": 1, "channel": 1})):
        # Accumulators of 0 with a zero point of 9, twice two and once two.
        words += [vector(zero_point=9, statistics=1, pixels=2, **fields)]
        at = {"address": RESULT + 80 + 80 * index, "wait": 0}
        words += [store(StoreSource.STATISTICS, **record, **at)]
    model.run(np.concatenate([*words, encode(Opcode.END)]))
    found = memory[RESULT : RESULT + 240].view("<i8").reshape(3, 10)
    assert not found[0].any()
    assert found[1].tolist() == [9, 9, 9, 36, 36, 324, 0, 4, 0, 0]
    assert found[2].tolist() == [9, 9, 9, 18, 18, 162, 0, 2, 0, 0]


def test_results_on_chip_by_hand():
    """Whole beats, from either source to either memory; nothing else changes."""
    memory = np.zeros(SIZE, np.uint8)
    model = machine(memory)
    model.output[:32], model.result[1, 8:24] = np.arange(1, 33), np.arange(101, 117)
    one = StoreDestination.ACTIVATION
    model.run(
        np.concatenate([
            store(destination=one, local=10, address=66, length=4),
            store(StoreSource.RESULT, destination=one, local=256 + 8, address=128, length=16),
            # A beat to the same place of each lane.
            store(destination=StoreDestination.OPERAND, local=16, address=40, length=8, segments=2,
                  pitch=256, local_pitch=8),
            encode(Opcode.END),
        ])
    )
    expected = np.zeros_like(model.activation)
    expected[64:72], expected[128:144] = np.arange(9, 17), np.arange(101, 117)
    np.testing.assert_array_equal(model.activation, expected)
    lanes = np.zeros_like(model.operand)
    lanes[:, 40:48] = np.arange(17, 33).reshape(2, 8)
    np.testing.assert_array_equal(model.operand, lanes)
    assert not memory.any()


REFUSED = {
    "token": (
        load(wait=mask(Engine.STORE)),
        "word 0, LOAD: waits for a token from STORE that never comes",
    ),
    "read": (
        load(address=RESULT - 8, length=16),
        "word 0, LOAD: read 0x2f8 to 0x308 leaves the granted",
    ),
    "write": (store(address=RESULT - 8), "word 0, STORE: write 0x2f8 to 0x2fa leaves the granted"),
    "alignment": (load(local=1), "word 0, LOAD: run 0: 0x0 and 0x1 differ in alignment"),
    "local": (
        load(local=CONFIG.activation_bytes - 8, length=16),
        f"LOAD: run 0: local address {CONFIG.activation_bytes - 8} outside",
    ),
    "entry": (
        compute(accumulator=CONFIG.accumulator_depth),
        f"COMPUTE: accumulator entry {CONFIG.accumulator_depth} of {CONFIG.accumulator_depth}",
    ),
    "tile": (compute(weight=CONFIG.weight_bytes // CONFIG.weight_pitch - 1), "weight rows"),
    "pixel": (
        vector(pixels=CONFIG.accumulator_depth + 1),
        f"VECTOR: accumulator entry {CONFIG.accumulator_depth} out of range",
    ),
    "group": (vector(parameter=CONFIG.parameter_channels), "VECTOR: parameter group"),
    "output": (
        vector(local=CONFIG.output_bytes - 1),
        f"VECTOR: output buffer byte {CONFIG.output_bytes} out of range",
    ),
    "mode": (vector(mode=VectorMode.RAW), "VECTOR: mode is 1"),
    "extent": (load(extent=3), "LOAD: extent is 3; legal without a format: 0"),
    "format": (formatted(WeightFormat.CSR), "LOAD: format CSR is not one of the machine's"),
    "target": (
        formatted(target=LoadTarget.ACTIVATION),
        "LOAD: format ROWS is for weights, not for ACTIVATION",
    ),
    "line": (formatted(extent=0), "LOAD: extent is 0; legal: at least 1"),
    "row": (formatted(local=2), "LOAD: local 2, local_pitch 64: not whole rows"),
    "rows": (
        formatted(local=CONFIG.weight_bytes - 4, length=16),
        "LOAD: weight rows 1023 to 1040 of 1024",
    ),
    "window": (formatted(address=RESULT - 4), "LOAD: read 0x2f8 to 0x308 leaves the granted"),
    "segments": (stream(segments=2), "LOAD: extent, local_pitch and segments; legal of a stream"),
    "beats": (stream(address=4), "LOAD: stream at 0x4 of 16 bytes: not whole beats"),
    "stream": (stream(), "LOAD: malformed stream: trailing: beats after the last entry"),
    "streamed": (
        stream(length=8, local=CONFIG.weight_bytes - 4, pitch=1 | 2 << 16),
        "LOAD: weight rows 1023 to 1024 of 1024",
    ),
    "special": (special(y=253), "SPECIAL: lane 0: y ends at 257 of 256 bytes"),
    "total": (special(total=3), "SPECIAL: 3 rows, 1 a lane"),
    "counters": (store(StoreSource.COUNTERS, length=128), "STORE: run 0: local address 0 outside"),
    "record on chip": (
        store(StoreSource.COUNTERS, destination=1, address=0), "STORE: COUNTERS goes to memory only"
    ),
    "on chip": (
        store(destination=1, address=CONFIG.activation_bytes - 8, length=16),
        f"STORE: address {CONFIG.activation_bytes - 8} on chip outside",
    ),
    "on chip, no beat": (
        store(destination=2, local=1, address=0), "STORE: run 0: 0x0 and 0x1 differ in alignment"
    ),
}
"""What a machine with everything refuses."""

LACKING = {
    "rows": (formatted(), "LOAD: format ROWS is not one of the machine's"),
    "stream": (stream(), "LOAD: format CSC4 is not one of the machine's"),
    "operand": (load(LoadTarget.OPERAND), "LOAD: the machine has no target OPERAND"),
    "table": (load(LoadTarget.TABLE), "LOAD: the machine has no target TABLE"),
    "result": (store(StoreSource.RESULT), "STORE: the machine has no source RESULT"),
    "statistics": (store(StoreSource.STATISTICS), "STORE: the machine has no source STATISTICS"),
    "special": (special(), "SPECIAL: the machine has no special.lanes"),
    "destination": (
        store(destination=1, address=0), "STORE: the machine has no destination ACTIVATION"
    ),
}
"""What a machine with nothing optional refuses."""


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case):
    instruction, message = REFUSED[case]
    with pytest.raises(MachineError, match=re.escape(message)):
        run(instruction)


@pytest.mark.parametrize("case", LACKING)
def test_refuses_what_it_has_not(case):
    instruction, message = LACKING[case]
    with pytest.raises(MachineError, match=re.escape(message)):
        run(instruction, config=PLAIN)


def test_names_the_word():
    with pytest.raises(MachineError, match=rf"^word {len(load())}, STORE: "):
        run(load(), store(address=0))
