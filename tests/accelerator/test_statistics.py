# SPDX-License-Identifier: Apache-2.0
"""Programs that keep statistics of a tensor, its rows, its blocks and one channel, and store them;
and blocks quantized in the best of several ways."""

import numpy as np

from kiwicha.golden.machine import Machine
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import (
    STATISTICS_RECORD,
    Engine,
    ErrorCode,
    LoadTarget,
    StoreSource,
    VectorMode,
)
from kiwicha.machine.presets import preset

from .board import Job, board
from .programs import compute, job, load, program, store, vector
from .test_faults import beyond, check_fault, illegal, outside

CONFIG = preset("tiny").replace(
    name="statistics", requantize_lanes=2, statistics={"elements": 256},
    blocks={
        "channels": 8, "scale": "multiway", "rounding": "pseudo", "ways": ((4, 0), (8, 0), (4, 2)),
    },
)
ACTIVATIONS, WEIGHTS, PARAMETERS = 0x1100, 0x1180, 0x1200
WINDOW = (0x1400, 0x4000)
PIXELS, COLUMNS, RECORD = 9, 4, STATISTICS_RECORD.size // 8
TO_COMPUTE, TO_VECTOR, TO_STORE = (1 << e for e in (Engine.COMPUTE, Engine.VECTOR, Engine.STORE))
FROM_LOAD, FROM_COMPUTE, FROM_VECTOR, FROM_STORE = (
    1 << e for e in (Engine.LOAD, Engine.COMPUTE, Engine.VECTOR, Engine.STORE)
)
RAW, BLOCK = VectorMode.RAW, VectorMode.BLOCK
ODD, EXTREME, ZERO = 0, 2, 4
"""Parameter groups: noise, a bias that makes 0 to -2^31, and one that makes it 0."""


def statistics(rng: np.random.Generator) -> Job:
    """Return a program that stores a record behind every set of VECTORs."""
    counted, anew = {"statistics": 1}, {"statistics": 1, "begin": 1}
    whole = {"channels": COLUMNS, "pixels": PIXELS, "pixel_pitch": COLUMNS}
    raw = {**whole, "mode": RAW, "pixel_pitch": 4 * COLUMNS}
    row = {**whole, "pixels": 3}
    last = {"accumulator": PIXELS}  # the pixel that is all zeros
    sets = [
        # Nothing yet, a tensor as int8 and uint8, its int32, one channel of them.
        [],
        [{**whole, **counted}],
        [{**whole, **anew, "low": 0, "high": 255, "zero_point": 99}],
        [{**raw, **anew}],
        [{**raw, **anew, "only": 1, "channel": 3}],
        # Row by row, then three at once, of which one does not count.
        *([{**row, **anew, "accumulator": 3 * k}] for k in range(3)),
        [{**row, **anew}, {**row, "accumulator": 3}, {**row, **counted, "accumulator": 6}],
        # A block: channels 1 to 3 of two pixels; one element; nothing but zeros; -2^31.
        [{**row, **anew, "channels": 3, "pixels": 2}],
        [{**raw, **anew, "channels": 1, "pixels": 1}],
        [{**raw, **anew, **last, "pixels": 1, "parameter": ZERO}],
        [{**raw, **anew, **last, "pixels": 1, "parameter": EXTREME}],
        # The blocks' own values, the last block of each pixel short; one of its channels.
        [{**whole, **anew, "mode": BLOCK, "channels": 13, "tiles": 3, "tile_entries": 1,
          "pixels": 6, "pixel_pitch": 16, "scales": 512}],
        [{**whole, **anew, "mode": BLOCK, "channels": 13, "tiles": 3, "tile_entries": 1,
          "pixels": 6, "pixel_pitch": 16, "scales": 512, "only": 1, "channel": 10}],
        # 252 and 4 elements fit, one more does not; then anew.
        [*([{**whole, **anew}] + [{**whole, **counted}] * 6), {**row, **counted, "pixels": 1}],
        [{**row, **counted, "pixels": 1, "channels": 1}],
        [{**row, **counted}],
        [{**row, **anew}],
    ]
    words = []
    for index, parts in enumerate(sets):
        for place, part in enumerate(parts):
            # What STORE reads must not change meanwhile.
            wait = 0 if place else FROM_STORE | (FROM_COMPUTE if index == 1 else 0)
            signal = TO_STORE if place == len(parts) - 1 else 0
            words.append(vector(**part, wait=wait, signal=signal))
        at = {"source": StoreSource.STATISTICS, "address": WINDOW[0] + index * RECORD}
        wait = FROM_VECTOR if parts else 0
        words.append(store(**at, length=RECORD, wait=wait, signal=TO_VECTOR))
    end = WINDOW[0] + len(sets) * RECORD
    words += [
        store(address=end, length=1024),
        # A piece of a record: the count and some of the histogram.
        store(source=StoreSource.STATISTICS, address=end + 1024 + 3, local=59, length=30),
    ]
    levels = [{"count": 1, "y": 0, "x": 0, "address": 0} for _ in range(7)]
    levels[0] |= {"count": PIXELS, "x": COLUMNS, "address": COLUMNS}
    made = job(
        program(
            load(target=LoadTarget.ACTIVATION, address=ACTIVATIONS),
            load(target=LoadTarget.WEIGHT, address=WEIGHTS, length=16),
            load(target=LoadTarget.PARAMETER, address=PARAMETERS, length=256, signal=TO_COMPUTE),
            compute(levels=levels, activation_signed=1, weight_signed=1, wait=FROM_LOAD,
                    x_limit=PIXELS * COLUMNS),
            compute(activation_signed=1, weight_signed=1, accumulator=PIXELS, x=1 << 20,
                    signal=TO_VECTOR),
            *words,
        )
    )
    image = rng.integers(0, 256, WINDOW[1] + 64, np.uint8)
    image[: len(made.image)] = made.image
    records = image[PARAMETERS : PARAMETERS + 256].view("<u4").reshape(16, 4)
    records[:, 0] = rng.integers(-5000, 5000, 16).astype("<i4").view("<u4")
    records[:, 1] = rng.uniform(0.0002, 0.01, 16).astype("<f4").view("<u4")
    records[2 * EXTREME : 2 * ZERO, 0] = 1 << 31
    records[2 * ZERO :, 0] = 0
    return made.but(image=image, read_window=(0, len(image)), write_window=WINDOW, limit=60_000)


def expected(asked: Job, config: AcceleratorConfig) -> np.ndarray:
    """Return what the golden machine makes of the memory."""
    memory = asked.image.copy()
    begin, size = asked.program
    Machine(config, memory, asked.read_window, asked.write_window).run(
        memory[begin : begin + size].view("<u8")
    )
    return memory


def fields(memory: np.ndarray, index: int) -> dict[str, int]:
    """Return the scalars of a record, read from memory by hand."""
    record = memory[WINDOW[0] + index * RECORD :][:RECORD]
    names = ("minimum", "maximum", "magnitude", "total")
    made = {name: int(record.view("<i8")[place]) for place, name in enumerate(names)}
    overflow = int(record[196])
    return made | {"count": int(record.view("<i8")[7]), "overflow": overflow}


def test_statistics_and_faults() -> None:
    good = statistics(np.random.default_rng(8))
    memory = expected(good, CONFIG)
    seen = [fields(memory, index) for index in range(19)]
    counts = [0, 36, 36, 36, 9, 12, 12, 12, 24, 6, 1, 4, 4, 78, 6, 256, 0, 0, 12]
    assert [record["count"] for record in seen] == counts
    assert [record["overflow"] for record in seen] == [*[0] * 16, 1, 1, 0]
    assert seen[1]["minimum"] < 0 <= seen[2]["minimum"] < 128 <= seen[2]["maximum"]
    assert seen[11] | {"count": 0} == dict.fromkeys(seen[11], 0)
    assert seen[12]["magnitude"] == -seen[12]["minimum"] == 1 << 31
    made: list[tuple[str, ErrorCode, int, Job]] = [
        *illegal(
            Engine.VECTOR, vector(begin=1), vector(only=1), vector(statistics=1, channel=1),
            vector(statistics=1, only=1, channel=4),
            vector(statistics=1, only=1, channels=3, channel=3),
        ),
        *beyond(Engine.STORE, store(source=StoreSource.STATISTICS, local=RECORD),
                store(source=StoreSource.STATISTICS, local=RECORD - 8, length=16)),
    ]
    jobs = [good, good.but(stall=60)]
    jobs += [asked for *_, asked in made] + [good]
    results = board(CONFIG).run(jobs)
    # The last one begins with a record that must be empty again.
    for index, done in ((0, results[0]), (1, results[1]), (len(jobs) - 1, results[-1])):
        assert done.error == ErrorCode.NONE
        outside(f"job {index}", jobs[index], done)
        wrong = np.flatnonzero(done.memory != memory)
        assert not len(wrong), f"job {index}: bytes {wrong[:8]} of {len(wrong)}"
    for case, refused in zip(made, results[2:-1], strict=True):
        check_fault(*case, refused)
