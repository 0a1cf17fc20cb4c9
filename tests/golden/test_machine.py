# SPDX-License-Identifier: Apache-2.0
"""The machine model: one program worked out by hand, and what it refuses.

Whole layers and networks run on it in tests/compiler, and beside the simulation in tests/machine.
"""

import re

import numpy as np
import pytest

from golden.machine import Machine, MachineError
from hw.config import preset
from hw.encoding import encode
from hw.isa import LEVELS, PARAMETER_BYTES, Engine, LoadTarget, Opcode, StoreSource

CONFIG = preset("tiny").replace(requantize_mode="shift")
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
    } | fields  # fmt: skip
    return encode(Opcode.COMPUTE, **fields)


def vector(**fields):
    fields = {"low": -128, "high": 127, "channels": 2, "pixels": 1, "lines": 1} | fields
    return encode(Opcode.VECTOR, **fields)


def store(**fields):
    fields = {"local": 0, "address": RESULT, "length": 2, "segments": 1} | fields
    return encode(Opcode.STORE, source=StoreSource.OUTPUT, **fields)


def machine(memory=None):
    memory = np.zeros(SIZE, np.uint8) if memory is None else memory
    return Machine(CONFIG, memory, (0, RESULT), (RESULT, SIZE))


def run(*instructions):
    model = machine()
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
    )  # fmt: skip
    # 3 * 10 - 4 * 5 = 10 and 3 * -7 - 4 * 100 = -421; bias; half, rounded up; zero point; clamp.
    assert model.accumulator[0, :2].tolist() == [10, -421]
    assert memory[RESULT : RESULT + 3].tolist() == [(10 + 5 + 1) // 2 + 1, 0x80, 0]
    assert model.retired == 6
    assert model.tokens.sum() == 1  # LOAD's, which nobody took


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
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case):
    instruction, message = REFUSED[case]
    with pytest.raises(MachineError, match=re.escape(message)):
        run(instruction)


def test_names_the_word():
    with pytest.raises(MachineError, match=rf"^word {len(load())}, STORE: "):
        run(load(), store(address=0))
