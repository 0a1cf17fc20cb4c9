# SPDX-License-Identifier: Apache-2.0
"""A machine that rounds blocks by random words: one program, run with several seeds and steps."""

import numpy as np

from kiwicha.golden.machine import Machine
from kiwicha.machine.encoding import index_fields
from kiwicha.machine.isa import Engine, ErrorCode, LoadTarget, VectorMode
from kiwicha.machine.presets import preset
from kiwicha.sim.simulation import simulated_machine

from .board import Job, board
from .programs import compute, job, load, program, store, vector
from .test_faults import check_fault, illegal, outside

CONFIG = preset("tiny").replace(
    name="random-blocks", blocks={"channels": 8, "rounding": "lfsr"}, requantize_mode="shift",
)
ACTIVATIONS, WEIGHTS, PARAMETERS = 0x1000, 0x1080, 0x1100
WINDOW = (0x1400, 0x1800)
PIXELS, DEPTH, CHANNELS, TENSOR = 6, 4, 12, 20  # channels of the whole tensor
SIZE = PIXELS * CHANNELS
FIRST = 2**32 - 60
TO_COMPUTE, TO_VECTOR, TO_STORE = (1 << e for e in (Engine.COMPUTE, Engine.VECTOR, Engine.STORE))
FROM_LOAD, FROM_COMPUTE = 1 << Engine.LOAD, 1 << Engine.COMPUTE


def blocks(index: int, channels: int, **fields: int) -> np.ndarray:
    """Return a VECTOR whose first result lies ``index`` behind the tensor's part at FIRST."""
    fields |= index_fields((FIRST + index) % 2**32, TENSOR)
    tiles = -(-channels // CONFIG.columns) - 1
    more = {"tiles": tiles, "tile_entries": PIXELS, "pixel_pitch": CHANNELS}
    return vector(mode=VectorMode.BLOCK, channels=channels, **more | fields)


def whole_and_in_parts(rng: np.random.Generator) -> Job:
    """Return a program that quantizes the same sums at once, and pixels and channels apart."""
    levels = [{"count": 1, "y": 0, "x": 0, "address": 0} for _ in range(7)]
    levels[0] |= {"count": PIXELS, "x": DEPTH, "address": DEPTH}
    back = -(PIXELS - 1) * DEPTH
    levels[6] |= {"count": CHANNELS // CONFIG.columns, "x": back, "address": back}
    scales, second = 2 * SIZE, 3 * CHANNELS
    made = job(program(
        load(target=LoadTarget.ACTIVATION, address=ACTIVATIONS),
        load(target=LoadTarget.WEIGHT, address=WEIGHTS),
        load(target=LoadTarget.PARAMETER, address=PARAMETERS, length=256, signal=TO_COMPUTE),
        compute(levels=levels, activation_signed=1, weight_signed=1, weight_stride=4,
                wait=FROM_LOAD, x_limit=PIXELS * DEPTH, signal=TO_VECTOR),
        blocks(0, CHANNELS, pixels=3, lines=2, line_pitch=second, scales=scales,
               wait=FROM_COMPUTE),
        blocks(0, CHANNELS, pixels=3, local=SIZE, scales=scales + 12),
        blocks(3 * TENSOR, 8, pixels=3, local=SIZE + second, scales=scales + 18, accumulator=3),
        blocks(3 * TENSOR + 8, 4, pixels=3, local=SIZE + second + 8, scales=scales + 21,
               accumulator=3 + 2 * PIXELS, parameter=8, signal=TO_STORE),
        store(address=WINDOW[0], length=2 * SIZE + 24, wait=TO_VECTOR),
    ))
    image = rng.integers(0, 256, WINDOW[1] + 64, np.uint8)
    image[: len(made.image)] = made.image
    image[PARAMETERS : PARAMETERS + 256].view("<u4")[::4] = rng.integers(0, 9000, 16)
    return made.but(image=image, read_window=(0, len(image)), write_window=WINDOW)


def expected(asked: Job) -> np.ndarray:
    """Return what the golden machine makes of the memory."""
    memory, (seed, step) = asked.image.copy(), asked.random
    begin, size = asked.program
    windows = (asked.read_window, asked.write_window)
    Machine(CONFIG, memory, *windows, seed=seed, step=step).run(
        memory[begin : begin + size].view("<u8")
    )
    return memory


def test_seeds_and_steps_change_the_rounding_and_nothing_else_does() -> None:
    base = whole_and_in_parts(np.random.default_rng(8))
    draws = [(0, 0), (0, 1), (1 << 31, 1), (1 << 31, 1), (5, 2**32 - 1)]
    jobs = [base.but(random=draw, stall=40 * k) for k, draw in enumerate(draws)]
    refused = illegal(Engine.VECTOR, vector(low=5, high=4), vector(zero_point=256))
    jobs += [asked for *_, asked in refused]
    results = board(CONFIG).run(jobs)
    seen = []
    for index, (asked, done) in enumerate(zip(jobs[: len(draws)], results, strict=False)):
        memory = expected(asked)
        assert done.error == ErrorCode.NONE
        outside(f"job {index}", asked, done)
        wrong = np.flatnonzero(done.memory != memory)
        assert not len(wrong), f"job {index}: bytes {wrong[:8]} of {len(wrong)}"
        once, parts = memory[WINDOW[0] :][: 2 * SIZE].reshape(2, SIZE)
        assert np.array_equal(once, parts)
        seen.append(once.tobytes())
    assert len(set(seen)) == len(set(draws))
    for case, done in zip(refused, results[len(draws) :], strict=True):
        check_fault(*case, done)


def test_a_simulated_machine_takes_seed_and_step() -> None:
    asked = whole_and_in_parts(np.random.default_rng(9)).but(random=(2**32 - 7, 3))
    machine = simulated_machine(CONFIG, 0)
    windows = (asked.program, asked.read_window, asked.write_window)
    done = machine.run(asked.image, *windows, random=asked.random)
    assert np.array_equal(done.memory, expected(asked))
    assert not np.array_equal(done.memory, expected(asked.but(random=(3, 2**32 - 7))))
