# SPDX-License-Identifier: Apache-2.0
"""A machine that quantizes dynamically and in blocks: one program through all of VECTOR's modes."""

import numpy as np
import pytest

from kiwicha.golden.machine import Machine, MachineError
from kiwicha.machine.isa import SLOTS, Engine, ErrorCode, LoadTarget, StoreSource, VectorMode
from kiwicha.machine.presets import preset
from kiwicha.machine.records import SLOT_RECORD

from .board import Job, board
from .programs import compute, job, load, program, store, vector
from .test_faults import beyond, check_fault, illegal, outside

CONFIG = preset("tiny").replace(name="dynamic", dynamic=True, blocks={"channels": 8})
SLOTS_AT, ACTIVATIONS, WEIGHTS, PARAMETERS = 0x1000, 0x1040, 0x1100, 0x1200
WINDOW = (0x1400, 0x1800)
PIXELS, DEPTH, CHANNELS = 6, 8, 8  # two passes and two column tiles of four each
QUANTIZED, RAW, BLOCKS, SCALES, USED = 0, 64, 256, 304, 312  # in the output buffer
TO_COMPUTE, TO_VECTOR, TO_STORE = (1 << e for e in (Engine.COMPUTE, Engine.VECTOR, Engine.STORE))
FROM_LOAD, FROM_COMPUTE = 1 << Engine.LOAD, 1 << Engine.COMPUTE


def product(**fields: int) -> np.ndarray:
    """Return a COMPUTE of all pixels and channels, with the zero point of a slot."""
    counts = [{"count": 1, "y": 0, "x": 0, "address": 0} for _ in range(7)]
    counts[0] |= {"count": PIXELS, "x": DEPTH, "address": DEPTH}
    back = 4 - (PIXELS - 1) * DEPTH
    counts[3] |= {"count": 2, "x": back, "address": back}
    counts[6] |= {"count": CHANNELS // 4, "x": back - 8, "address": back - 8}
    fields |= {"dynamic": 1, "weight_signed": 1, "weight_stride": 4, "x_limit": PIXELS * DEPTH}
    return compute(levels=counts, **fields)


def drain(mode: VectorMode, pitch: int, **fields: int) -> np.ndarray:
    """Return a VECTOR over both column tiles of all pixels."""
    whole = {"channels": CHANNELS, "tiles": 1, "tile_entries": PIXELS, "pixels": PIXELS}
    return vector(mode=mode, pixel_pitch=pitch, **whole | fields)


def every_mode(rng: np.random.Generator) -> Job:
    """Return a program: a dynamic layer, then its raw sums and blocks with the slot it settled."""
    dynamic = {"slot": 1, "target": 2, "low": 0, "high": 255}
    half = CONFIG.accumulator_depth // 2
    words = program(
        load(target=LoadTarget.DYNAMIC, address=SLOTS_AT),
        load(target=LoadTarget.ACTIVATION, address=ACTIVATIONS),
        load(target=LoadTarget.WEIGHT, address=WEIGHTS),
        load(target=LoadTarget.PARAMETER, address=PARAMETERS, length=256, signal=TO_COMPUTE),
        product(slot=1, wait=FROM_LOAD, signal=TO_VECTOR),
        # Measured in two instructions.
        drain(VectorMode.MEASURE, 8, **dynamic, pixels=2, begin=1, wait=FROM_COMPUTE),
        drain(VectorMode.MEASURE, 8, **dynamic, pixels=4, accumulator=2, settle=1,
              signal=TO_COMPUTE),
        drain(VectorMode.QUANTIZE, 8, **dynamic, local=QUANTIZED),
        product(slot=2, accumulator=half, wait=TO_VECTOR, signal=TO_VECTOR),
        drain(VectorMode.RAW, 32, local=RAW, accumulator=half, parameter=8, wait=FROM_COMPUTE),
        drain(VectorMode.BLOCK, 8, local=BLOCKS, scales=SCALES, accumulator=half, parameter=8,
              signal=TO_STORE),
        store(address=WINDOW[0], length=USED, wait=TO_VECTOR),
        store(source=StoreSource.DYNAMIC, address=WINDOW[0] + 0x200, length=64),
        store(source=StoreSource.DYNAMIC, address=WINDOW[0] + 0x248, local=40, length=5),
    )
    made = job(words)
    image = rng.integers(0, 256, WINDOW[1] + 64, np.uint8)
    image[: len(made.image)] = made.image
    slots = image[SLOTS_AT : SLOTS_AT + 64].view(SLOT_RECORD)
    slots["scale"] = rng.uniform(0.001, 0.1, SLOTS)
    records = image[PARAMETERS : PARAMETERS + 256].view("<u4").reshape(16, 4)
    records[:8, 0] = rng.normal(0, 2, 8).astype("<f4").view("<u4")
    records[:8, 1] = rng.uniform(0.0002, 0.01, 8).astype("<f4").view("<u4")
    records[8:, 0] = rng.integers(-5000, 5000, 8).astype("<i4").view("<u4")
    return made.but(image=image, read_window=(0, len(image)), write_window=WINDOW)


def expected(asked: Job) -> np.ndarray:
    """Return what the golden machine makes of the memory."""
    memory = asked.image.copy()
    begin, size = asked.program
    Machine(CONFIG, memory, asked.read_window, asked.write_window).run(
        memory[begin : begin + size].view("<u8")
    )
    return memory


def test_every_mode_and_faults() -> None:
    rng = np.random.default_rng(8)
    jobs = [every_mode(rng).but(stall=60 * index) for index in range(3)]
    mode, dynamic = VectorMode.RAW, {"mode": VectorMode.QUANTIZE}
    made: list[tuple[str, ErrorCode, int, Job]] = [
        *illegal(Engine.VECTOR, vector(mode=15), vector(mode=mode, relu=1),
                 vector(**dynamic, begin=1), vector(**dynamic, scales=8),
                 vector(statistics=1), vector(tiles=1)),
        *beyond(Engine.VECTOR, vector(mode=mode, local=CONFIG.output_bytes - 15),
                vector(mode=VectorMode.BLOCK, scales=CONFIG.output_bytes)),
        *beyond(Engine.LOAD, load(target=LoadTarget.DYNAMIC, local=64)),
        *beyond(Engine.STORE, store(source=StoreSource.DYNAMIC, local=56)),
    ]
    overflown = jobs[0].but(image=jobs[0].image.copy())
    overflown.image[SLOTS_AT : SLOTS_AT + 64].view(SLOT_RECORD)["scale"] = 3e38
    made.append(("overflown", ErrorCode.DYNAMIC_RANGE, Engine.VECTOR, overflown))
    with pytest.raises(MachineError, match="VECTOR: its range, .* is not finite in binary32"):
        expected(overflown)
    jobs += [each for *_, asked in made for each in (asked, jobs[0])]
    results = board(CONFIG).run(jobs)
    for index, (asked, done) in enumerate(zip(jobs[:3], results, strict=False)):
        memory = expected(asked)
        quantized = memory[WINDOW[0] : WINDOW[0] + PIXELS * CHANNELS]
        assert quantized.min() == 0
        assert quantized.max() == 255
        assert len(np.unique(quantized)) > 20
        assert done.error == ErrorCode.NONE
        outside(f"job {index}", asked, done)
        wrong = np.flatnonzero(done.memory != memory)
        assert not len(wrong), f"job {index}: bytes {wrong[:8]} of {len(wrong)}"
    for case, refused, after in zip(made, results[3::2], results[4::2], strict=True):
        check_fault(*case, refused)
        assert np.array_equal(after.memory, expected(jobs[0])), f"after {case[0]}"
