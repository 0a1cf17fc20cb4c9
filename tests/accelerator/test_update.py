# SPDX-License-Identifier: Apache-2.0
"""A machine that trains: programs of UPDATE for every optimizer, byte by byte as the golden one."""

from typing import Any

import numpy as np

from kiwicha.golden.machine import Machine
from kiwicha.machine.encoding import encode
from kiwicha.machine.isa import Engine, ErrorCode, Opcode, StoreSource
from kiwicha.machine.optimizer import (
    OPTIMIZERS,
    optimizer_fields,
    rate_word,
    split_state,
    state_bytes,
)
from kiwicha.machine.presets import preset

from .board import Done, Job, board
from .programs import END, job, load, program, store
from .test_faults import check_fault

CONFIG = preset("tiny").replace(
    name="update", axi_data_width=128, update={"lanes": 2}, special={"lanes": 1, "bytes": 256}
)
COUNT, STEPS = 75, 3
RATE = rate_word(0.01)
STATE, GRADIENTS, CODES, RECORD, PROGRAM = 0x1000, 0x2000, 0x3000, 0x3800, 0x4000
TO_STORE, TO_LOAD = 1 << Engine.STORE, 1 << Engine.LOAD


def update(**fields: Any) -> np.ndarray:
    """Return a legal UPDATE of the tensor below, with some fields changed."""
    legal = {"count": COUNT, "state": STATE, "gradients": GRADIENTS, "codes": CODES}
    return encode(Opcode.UPDATE, **{**legal, **fields})


def training(words: np.ndarray, rng: np.random.Generator, wide: bool = False) -> Job:
    """Return the job for a program, with noise in the state and beside it, and gradients."""
    octets = words.astype("<u8").view(np.uint8)
    image = rng.integers(0, 256, PROGRAM + len(octets) + 64).astype(np.uint8)
    image[PROGRAM : PROGRAM + len(octets)] = octets
    # Weights of any size, small moments.
    state = rng.integers(-(1 << 31), 1 << 31, 0x1000 // 4).astype("<i4")
    state >>= rng.integers(0, 20, state.size).astype("<i4")
    image[STATE:GRADIENTS] = state.view(np.uint8)
    if wide:
        gradients = rng.integers(-(1 << 20), 1 << 20, 0x400).astype("<i4")
        image[GRADIENTS : GRADIENTS + 0x1000] = gradients.view(np.uint8)
    return Job(
        image=image, program=(PROGRAM, len(octets)), read_window=(0, len(image) // 16 * 16),
        write_window=(STATE, 0x3C00), stall=1,
    )


def counters(**fields: Any) -> np.ndarray:
    """Return a STORE of the counters, which waits for the last UPDATE."""
    return store(source=StoreSource.COUNTERS, address=RECORD, length=64, wait=1 << Engine.UPDATE,
                 **fields)


def programs(rng: np.random.Generator) -> dict[str, Job]:
    """Return the jobs by name."""
    jobs = {}
    for name in OPTIMIZERS:
        steps = []
        for step in range(1, STEPS + 1):
            fields = optimizer_fields(
                name, rate=0.02, epsilon=2.0**-20, decay=1e-3, step=step
            ) | {"gradient_shift": -14, "code_shift": 24}
            last = TO_STORE if step == STEPS else 0
            steps.append(update(**fields, gradients=GRADIENTS + 0x80 * (step - 1), signal=last))
        jobs[name] = training(program(*steps, counters()), rng)
    # Sums over three batches, then one step with them; a LOAD waits for its int8 weights.
    sums = [
        update(accumulate=1, begin=int(n == 0), wide=1, state=CODES + 0x100,
               gradients=GRADIENTS + 0x200 * n)
        for n in range(3)
    ]
    step = update(**optimizer_fields("momentum", rate=0.1), wide=1, gradients=CODES + 0x100,
                  gradient_shift=1, code_shift=24, signal=TO_STORE | TO_LOAD)
    # A learning rate of the register.
    fields = optimizer_fields("sgd", rate=0) | {"rate_shift": 1, "code_shift": 24}
    fields |= {"scheduled": 1, "gradient_shift": -14, "signal": TO_STORE}
    jobs["scheduled"] = training(program(update(**fields), counters()), rng).but(rate=RATE)
    jobs["accumulated"] = training(
        program(*sums, step, load(address=CODES, length=64, wait=1 << Engine.UPDATE), counters()),
        rng, wide=True,
    )
    return jobs


def check(name: str, given: Job, done: Done) -> int:
    """Compare memory and the register with the golden machine; return what saturated."""
    assert done.error == ErrorCode.NONE, f"{name}: {done.error}"
    memory = given.image.copy()
    golden = Machine(CONFIG, memory, given.read_window, given.write_window, rate=given.rate)
    start, size = given.program
    golden.run(given.image[start : start + size].view("<u8"))
    memory[RECORD : RECORD + 64] = done.memory[RECORD : RECORD + 64]  # cycles
    wrong = np.flatnonzero(memory != done.memory)
    assert wrong.size == 0, f"{name}: {wrong.size} bytes from {wrong[0]:#x} on"
    assert (memory != given.image).sum() > COUNT
    assert done.registers["update_saturated"] == golden.saturated
    assert 0 < done.registers["update_busy"] < done.registers["cycles_low"]
    return golden.saturated


def faults() -> list[tuple[str, ErrorCode, int, Job]]:
    """Return (name, code, address, job)."""
    field = ErrorCode.ILLEGAL_FIELD
    return [
        ("no weights", field, Engine.UPDATE, job(program(update(count=0)))),
        ("constant", field, Engine.UPDATE, job(program(update(c3=65537)))),
        ("state", ErrorCode.WRITE_WINDOW, 0x100, job(program(update(state=0x100, gradients=0)))),
        ("gradients", ErrorCode.READ_WINDOW, 0x8000, job(program(update(gradients=0x8000)))),
        ("waits for ever", ErrorCode.WATCHDOG, 0,
         job(program(update(wait=1 << Engine.COMPUTE)))),
    ]


def test_trains_as_the_golden_machine() -> None:
    rng = np.random.default_rng(210)
    jobs = programs(rng)
    cases = faults()
    results = board(CONFIG).run([*jobs.values(), *(case for *_, case in cases), jobs["adam"]])
    saturated = sum(
        check(name, given, done)
        for (name, given), done in zip(jobs.items(), results, strict=False)
    )
    assert saturated > 0
    for (name, code, address, given), done in zip(cases, results[len(jobs) :], strict=False):
        check_fault(name, code, address, given, done)
    # After faults it works as before.
    check("adam again", jobs["adam"], results[-1])
    momentum, root = OPTIMIZERS["adam"]
    place = slice(STATE, STATE + state_bytes(COUNT, momentum, root, CONFIG.beat_bytes))
    before, after = (
        split_state(memory[place], COUNT, momentum, root, CONFIG.beat_bytes)
        for memory in (jobs["adam"].image, results[-1].memory)
    )
    assert all((old != new).mean() > 0.9 for old, new in zip(before, after, strict=True))


def test_other_machines_have_none() -> None:
    config = preset("tiny")
    words = program(update())
    found = board(config).run([job(words), job(program(load(signal=1 << Engine.UPDATE), END))])
    assert [done.error for done in found] == [ErrorCode.ILLEGAL_OPCODE, ErrorCode.ILLEGAL_FIELD]
    assert "update_busy" not in found[0].registers
