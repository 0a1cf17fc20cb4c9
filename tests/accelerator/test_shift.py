# SPDX-License-Identifier: Apache-2.0
"""A machine that learns: results shifted by their own range, masked errors, weights less gradients.
"""

import numpy as np

from kiwicha.golden.machine import Machine
from kiwicha.machine.isa import SUM_BEATS, Engine, ErrorCode, LoadTarget, StoreSource, VectorMode
from kiwicha.machine.presets import preset
from kiwicha.machine.records import SLOT_RECORD
from kiwicha.machine.shifts import exponent_of
from kiwicha.machine.sum_tables import FRACTION

from ..vector.shift_cases import TRAINING
from .board import Job, board
from .programs import compute, job, load, program, store, vector
from .test_faults import beyond, check_fault, illegal, outside

CONFIG = preset("tiny").replace(name="training", **TRAINING)
SLOTS_AT, ACTIVATIONS, WEIGHTS, PARAMETERS = 0x1400, 0x1440, 0x1500, 0x1600
ADDENDS, SUMS = 0x1800, 0x1A00
WINDOW = (0x2C00, 0x2E00)
PIXELS, DEPTH, CHANNELS, COLUMNS = 6, 8, 8, 4
FORWARD, ERRORS, UPDATED, USED = 0, 64, 128, 192  # in the output buffer
TO_COMPUTE, TO_VECTOR, TO_STORE = (1 << e for e in (Engine.COMPUTE, Engine.VECTOR, Engine.STORE))
FROM_LOAD, FROM_COMPUTE, FROM_VECTOR = (
    1 << e for e in (Engine.LOAD, Engine.COMPUTE, Engine.VECTOR)
)


def product() -> np.ndarray:
    """Return a COMPUTE of all pixels and channels: two passes for each of two column tiles."""
    counts = [{"count": 1, "y": 0, "x": 0, "address": 0} for _ in range(7)]
    counts[0] |= {"count": PIXELS, "x": DEPTH, "address": DEPTH}
    back = 4 - (PIXELS - 1) * DEPTH
    counts[3] |= {"count": 2, "x": back, "address": back}
    counts[6] |= {"count": CHANNELS // COLUMNS, "x": back - 8, "address": back - 8}
    return compute(
        levels=counts, activation_signed=1, weight_signed=1, weight_stride=4,
        x_limit=PIXELS * DEPTH, wait=FROM_LOAD, signal=TO_VECTOR,
    )


def both(mode: VectorMode, local: int, parameter: int, **fields: int) -> list[np.ndarray]:
    """Return a VECTOR for each column tile: the first begins a range, the last one settles it."""
    ranges, made = mode == VectorMode.RANGE, []
    wait, relu, signal = (fields.pop(name, 0) for name in ("wait", "relu", "signal"))
    for tile in range(CHANNELS // COLUMNS):
        last = (tile + 1) * COLUMNS == CHANNELS
        own = {"begin": ranges and not tile, "settle": ranges and last}
        own["relu"] = relu if last or not ranges else 0
        made.append(vector(
            mode=mode, pixels=PIXELS, pixel_pitch=CHANNELS, local=local + tile * COLUMNS,
            accumulator=tile * PIXELS, parameter=parameter + tile * COLUMNS, **fields, **own,
            wait=0 if tile else wait, signal=signal if last else 0,
        ))
    return made


def learn(rng: np.random.Generator) -> Job:
    """Return a program: a layer with relu's bounds, errors behind it, and weights less gradients,
    all of one product with other biases."""
    ranges = {"mode": VectorMode.RANGE, "low": 0, "slot": 0, "zero_point": -6}
    shifts = {"mode": VectorMode.SHIFT}
    steps = [
        *both(**ranges, local=FORWARD, parameter=0, high=7, target=1, wait=FROM_COMPUTE),
        *both(**shifts, local=FORWARD, parameter=0, low=0, high=127, target=1),
        *both(**ranges, local=ERRORS, parameter=8, high=7, target=2),
        *both(**shifts, local=ERRORS, parameter=8, low=-127, target=2, residual=1, relu=1),
        *both(**ranges, local=UPDATED, parameter=0, high=4, target=3, relu=1),
        *both(**shifts, local=UPDATED, parameter=0, low=-127, target=3, residual=1, sums=1,
              zero_point=1, signal=TO_STORE),
    ]
    pair = SUM_BEATS * CONFIG.beat_bytes
    words = program(
        load(target=LoadTarget.DYNAMIC, address=SLOTS_AT),
        load(target=LoadTarget.ACTIVATION, address=ACTIVATIONS),
        load(target=LoadTarget.WEIGHT, address=WEIGHTS),
        load(target=LoadTarget.ADDEND, address=ADDENDS, length=USED),
        load(target=LoadTarget.SUMS, address=SUMS, local=pair, length=257 * CONFIG.beat_bytes),
        load(target=LoadTarget.PARAMETER, address=PARAMETERS, length=256, signal=TO_COMPUTE),
        product(),
        *steps,
        store(address=WINDOW[0], length=USED, wait=FROM_VECTOR),
        store(source=StoreSource.DYNAMIC, address=WINDOW[0] + USED, length=64),
    )
    made = job(words)
    image = rng.integers(0, 256, WINDOW[1] + 64, np.uint8)
    assert len(made.image) <= SLOTS_AT
    image[: len(made.image)] = made.image
    slots = image[SLOTS_AT : SLOTS_AT + 64].view(SLOT_RECORD)
    slots["scale"] = 2.0 ** rng.integers(-9, 3)
    records = image[PARAMETERS : PARAMETERS + 256].view("<i4").reshape(16, 4)
    records[:, 0] = rng.integers(-9000, 9000, 16) << rng.integers(0, 5)
    table = np.zeros((257, CONFIG.beat_bytes), np.uint8)
    numbers = np.arange(256).astype(np.uint8).view(np.int8).astype("<i4")
    table[:256, :8] = np.stack([-numbers << FRACTION, numbers << FRACTION], 1).view(np.uint8)
    table[256, :4] = np.array([-127, 127], "<i2").view(np.uint8)
    image[SUMS : SUMS + table.size] = table.reshape(-1)
    return made.but(image=image, read_window=(0, len(image)), write_window=WINDOW)


def expected(asked: Job) -> np.ndarray:
    """Return what the golden machine makes of the memory."""
    memory = asked.image.copy()
    begin, size = asked.program
    Machine(CONFIG, memory, asked.read_window, asked.write_window).run(
        memory[begin : begin + size].view("<u8")
    )
    return memory


def look_at(memory: np.ndarray) -> None:
    """See that the program's results are what it is about."""
    image = memory[WINDOW[0] : WINDOW[0] + USED].view(np.int8)
    forward, errors = image[FORWARD:ERRORS], image[ERRORS:UPDATED]
    size = PIXELS * CHANNELS
    assert forward[:size].min() == 0
    assert forward[:size].max() > 30
    masked = memory[ADDENDS + ERRORS : ADDENDS + UPDATED].view(np.int8) <= 0
    assert not errors[:size][masked[:size]].any()
    assert np.count_nonzero(errors[:size]) > size // 4
    before = memory[ADDENDS + UPDATED : ADDENDS + USED].view(np.int8)[:size].astype(int)
    moved = np.abs(image[UPDATED:][:size] - before)
    assert 8 <= moved[before > -112].max() <= 16
    slots = memory[WINDOW[0] + USED :][:64].view(SLOT_RECORD)
    shift, scale = slots["zero_point"].astype(int), slots["scale"]
    exponents = [exponent_of(each) for each in scale]
    assert shift[3] == shift[1] + 3
    assert exponents[1] == exponents[0] - 6 + shift[1]


def test_learns() -> None:
    rng = np.random.default_rng(8)
    jobs = [learn(rng).but(stall=60 * index) for index in range(3)]
    ranges, shifts = {"mode": VectorMode.RANGE}, {"mode": VectorMode.SHIFT}
    made: list[tuple[str, ErrorCode, int, Job]] = [
        *illegal(Engine.VECTOR, vector(mode=VectorMode.MEASURE), vector(**ranges, residual=1),
                 vector(**ranges, settle=1, high=8), vector(**ranges, settle=1, low=0, high=0),
                 vector(**ranges, relu=1), vector(**shifts, zero_point=2), vector(**shifts, slot=1),
                 vector(**shifts, relu=1), vector(**shifts, residual=1, relu=1, sums=1),
                 vector(**shifts, begin=1), vector(**shifts, settle=1), vector(target=1)),
        *beyond(Engine.VECTOR, vector(**shifts, local=CONFIG.output_bytes - 3),
                vector(**ranges, local=CONFIG.output_bytes - 3)),
        *beyond(Engine.LOAD, load(target=LoadTarget.DYNAMIC, local=64)),
        *beyond(Engine.STORE, store(source=StoreSource.DYNAMIC, local=56)),
    ]
    jobs += [each for *_, asked in made for each in (asked, jobs[0])]
    results = board(CONFIG).run(jobs)
    for index, (asked, done) in enumerate(zip(jobs[:3], results, strict=False)):
        memory = expected(asked)
        look_at(memory)
        assert done.error == ErrorCode.NONE
        outside(f"job {index}", asked, done)
        wrong = np.flatnonzero(done.memory != memory)
        assert not len(wrong), f"job {index}: bytes {wrong[:8]} of {len(wrong)}"
    for case, refused, after in zip(made, results[3::2], results[4::2], strict=True):
        check_fault(*case, refused)
        assert np.array_equal(after.memory, expected(jobs[0])), f"after {case[0]}"
