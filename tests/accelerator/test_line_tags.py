# SPDX-License-Identifier: Apache-2.0
"""Lines with exponents of their own through the whole machine: runs across every border."""

import numpy as np
import pytest

from kiwicha.golden.line_align import aligned_lanes
from kiwicha.golden.machine import Machine, MachineError
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Engine, ErrorCode, LoadTarget, VectorMode
from kiwicha.machine.presets import preset

from .board import Job, board
from .programs import compute, job, levels, load, program, store, vector
from .test_faults import check_fault, illegal

TINY = preset("tiny")
CONFIGS = {
    "tiny": TINY.replace(name="tags", tags={"lines": True}, statistics={"elements": 256}),
    "plain": TINY.replace(
        name="tags-plain", rows=9, columns=3, tags={"lines": True}, depthwise=True, dynamic=True,
        pipeline=(),
    ),
}
DATA, TAGS, WEIGHTS, PARAMETERS = 0x1400, 0x1600, 0x1700, 0x1800
WINDOW = (0x2C00, 0x3C00)
LENGTH = 128
TO_COMPUTE, TO_VECTOR, TO_STORE = (1 << e for e in (Engine.COMPUTE, Engine.VECTOR, Engine.STORE))
FROM_LOAD, FROM_COMPUTE, FROM_VECTOR = (
    1 << e for e in (Engine.LOAD, Engine.COMPUTE, Engine.VECTOR)
)


def runs(config: AcceleratorConfig, units: tuple[int | None, ...], rng) -> Job:
    """Return a program that multiplies the run at every byte of some lines by the identity, in
    each unit, None for codes as they are; sums of them go to memory as int32."""
    rows, columns = config.rows, config.columns
    count = 64  # places in turn
    steps = []
    for number, unit in enumerate(units):
        loops = levels(count)
        loops[0] |= {"address": 1}
        asked = {"aligned": 1, "unit": unit} if unit is not None else {}
        half = number % 2 * (config.accumulator_depth // 2)
        size = 4 * columns * count
        steps += [
            compute(
                levels=loops, rows=rows, x_limit=rows, activation_signed=1, weight_signed=1,
                accumulator=half, address=LENGTH - 40, wait=FROM_VECTOR if number else FROM_LOAD,
                signal=TO_VECTOR, **asked,
            ),
            vector(
                mode=VectorMode.RAW, channels=columns, pixels=count, pixel_pitch=4 * columns,
                accumulator=half, local=0, wait=FROM_COMPUTE | (1 << Engine.STORE if number else 0),
                signal=TO_STORE | (TO_COMPUTE if number + 1 < len(units) else 0),
            ),
            store(
                address=WINDOW[0] + number * size, length=size, wait=FROM_VECTOR,
                signal=TO_VECTOR if number + 1 < len(units) else 0,
            ),
        ]
    lines = config.activation_bytes // config.beat_bytes
    words = program(
        load(target=LoadTarget.ACTIVATION, address=DATA, length=2 * LENGTH),
        load(target=LoadTarget.TAGS, address=TAGS, length=min(64, lines)),
        load(target=LoadTarget.WEIGHT, address=WEIGHTS, length=rows * config.weight_pitch),
        load(target=LoadTarget.PARAMETER, address=PARAMETERS, length=16 * 16, signal=TO_COMPUTE),
        *steps,
    )
    made = job(words)
    image = rng.integers(0, 256, WINDOW[1] + 64, np.uint8)
    assert len(made.image) <= DATA
    image[: len(made.image)] = made.image
    image[TAGS : TAGS + 64] = rng.integers(-4, 5, 64).astype(np.int8).view(np.uint8)
    image[TAGS + 11], image[TAGS + 14] = 0x80, 0x7F
    image[PARAMETERS : PARAMETERS + 256] = 0
    # Each lane of the run is a digit of some column.
    weights = np.zeros((rows, config.weight_pitch), np.int8)
    for row in range(rows):
        weights[row, row % columns] = (1, 11, -101)[row // columns % 3]
    image[WEIGHTS : WEIGHTS + weights.size] = weights.reshape(-1).view(np.uint8)
    return made.but(
        image=image, read_window=(0, len(image)), write_window=WINDOW, watchdog=4000, limit=80_000
    )


def golden(config: AcceleratorConfig, asked: Job) -> np.ndarray:
    """Return what the golden machine makes of the memory."""
    memory = asked.image.copy()
    begin, size = asked.program
    machine = Machine(config, memory, asked.read_window, asked.write_window)
    machine.run(memory[begin : begin + size].view("<u8"))
    return memory


@pytest.mark.parametrize("name", CONFIGS)
def test_every_offset(name: str) -> None:
    config, rng = CONFIGS[name], np.random.default_rng(len(name))
    units = (0, None, -3, 4)
    asked = runs(config, units, rng)
    memory = golden(config, asked)
    # What the sums are, without COMPUTE's golden model.
    beat, rows, columns = config.beat_bytes, config.rows, config.columns
    weights = asked.image[WEIGHTS:][: rows * config.weight_pitch].view(np.int8)
    weights = weights.reshape(rows, -1)[:, :columns].astype(int)
    tags = asked.image[TAGS : TAGS + 64].view(np.int8)
    for number, unit in enumerate(units):
        found = memory[WINDOW[0] + number * 4 * columns * 64 :][: 4 * columns * 64].view("<i4")
        for place, sums in enumerate(found.reshape(64, columns)):
            at = LENGTH - 40 + place + np.arange(rows)
            codes = asked.image[DATA + at]
            if unit is not None:
                codes = aligned_lanes(codes, tags[at // beat], unit)
            assert sums.tolist() == (codes.view(np.int8).astype(int) @ weights).tolist()
    bad = illegal(Engine.COMPUTE, compute(aligned=1, reserved1=1), compute(reserved0=1))
    jobs = [asked, asked.but(stall=60), *(each for *_, wrong in bad for each in (wrong, asked))]
    results = board(config).run(jobs)
    for done in (*results[:2], *results[3::2]):
        assert done.error == ErrorCode.NONE
        wrong = np.flatnonzero(done.memory != memory)
        assert not len(wrong), f"bytes {wrong[:8]} of {len(wrong)}"
    for case, refused in zip(bad, results[2::2], strict=True):
        check_fault(*case, refused)


def test_a_machine_without_refuses_the_fields() -> None:
    memory = np.zeros(4096, np.uint8)
    for fields in ({"aligned": 1}, {"unit": -1}):
        with pytest.raises(MachineError, match="no lines with exponents"):
            Machine(TINY, memory, (0, 4096), (0, 4096)).run(program(compute(**fields)))
    with pytest.raises(MachineError, match="no target TAGS"):
        Machine(TINY, memory, (0, 4096), (0, 4096)).run(program(load(target=LoadTarget.TAGS)))
