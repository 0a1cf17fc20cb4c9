# SPDX-License-Identifier: Apache-2.0
"""Errors of logits on the whole machine: slots, labels, lanes, pace, and what is refused."""

import numpy as np

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.layer_steps import layer_steps
from kiwicha.golden.machine import Machine
from kiwicha.golden.niti import cross_entropy_errors
from kiwicha.machine.encoding import encode
from kiwicha.machine.isa import (
    SLOTS,
    Engine,
    ErrorCode,
    LoadTarget,
    Opcode,
    SpecialOperation,
    StoreSource,
)
from kiwicha.machine.presets import preset
from kiwicha.machine.records import SLOT_RECORD

from ..compiler.test_loss import loss_node
from .board import Job, board
from .programs import job, load, program, store
from .test_faults import check_fault, outside

CONFIG = preset("tiny").replace(
    name="learns", special={"lanes": 2, "bytes": 512, "entries": 256}, transposer=True,
    residual={"tables": 2}, training={"classes": 16},
)
SLOTS_AT, LOGITS, LABELS = 0x1000, 0x1040, 0x1400
WINDOW = (0x1800, 0x1C00)
CLASSES, ROWS = 10, 13  # rows of all lanes, eight of them in the first
LANE = CONFIG.special.bytes
X, Z, Y = 3, 304, 11  # in each lane's memory
TO_SPECIAL, TO_STORE = 1 << Engine.SPECIAL, 1 << Engine.STORE
EXPONENTS = (-4, -9, 1, -40)  # of the slots


def loss(**fields: int) -> np.ndarray:
    """Return a legal CROSS_ENTROPY of the rows below, with some fields changed."""
    legal = {
        "operation": SpecialOperation.CROSS_ENTROPY, "z_byte": 1, "rows": 8, "total": ROWS,
        "length": CLASSES, "x": X, "z": Z, "y": Y,
    }
    return encode(Opcode.SPECIAL, **{**legal, **fields})


def given(words: np.ndarray, rng: np.random.Generator) -> Job:
    """Return the job of a program that finds slots, logits and labels in memory."""
    made = job(words, watchdog=1000)
    image = rng.integers(0, 256, WINDOW[1] + 64, np.uint8)
    image[: len(made.image)] = made.image
    slots = image[SLOTS_AT : SLOTS_AT + 16 * SLOTS].view(SLOT_RECORD)
    slots["scale"] = np.ldexp(np.float32(1), EXPONENTS)
    image[LABELS : LABELS + 256] = rng.integers(0, CLASSES + 1, 256)
    return made.but(image=image, read_window=(0, len(image)), write_window=WINDOW)


def by_hand(rng: np.random.Generator) -> tuple[Job, np.ndarray]:
    """Return a program of two instructions back to back, and what must be in the window."""
    first, second = slots = rng.permutation(SLOTS)[:2].tolist()
    parts = ((0, 8), (8, ROWS - 8))  # first row and rows of each lane
    words = program(
        load(target=LoadTarget.DYNAMIC, address=SLOTS_AT, length=16 * SLOTS),
        *(
            load(target=LoadTarget.OPERAND, address=LOGITS + X + start * CLASSES,
                 local=lane * LANE + X, length=count * CLASSES)
            for lane, (start, count) in enumerate(parts)
        ),
        *(
            load(target=LoadTarget.OPERAND, address=LABELS + start, local=lane * LANE + Z,
                 length=count, signal=lane * TO_SPECIAL)
            for lane, (start, count) in enumerate(parts)
        ),
        loss(table=first, wait=1 << Engine.LOAD),
        loss(table=second, y=Y + 160, signal=TO_STORE),
        *(
            store(source=StoreSource.RESULT, address=WINDOW[0] + Y + 256 * turn + 8 * start * 10,
                  local=lane * LANE + Y + 160 * turn, length=count * CLASSES,
                  wait=0 if turn or lane else TO_SPECIAL)
            for turn in range(2) for lane, (start, count) in enumerate(parts)
        ),
    )
    asked = given(words, rng)
    expected = asked.image[WINDOW[0] : WINDOW[1]].copy()
    logits = asked.image[LOGITS + X :][: ROWS * CLASSES].view(np.int8).reshape(ROWS, CLASSES)
    labels = asked.image[LABELS : LABELS + ROWS]
    for turn, slot in enumerate(slots):
        errors = cross_entropy_errors(logits, EXPONENTS[slot], labels).view(np.uint8)
        for start, count in parts:
            place = Y + 256 * turn + 8 * start * 10
            expected[place : place + count * CLASSES] = errors[start : start + count].reshape(-1)
    return asked, expected


def faults() -> list[tuple[str, ErrorCode, int, Job]]:
    """Return (name, code, address, job)."""
    field, beyond, engine = ErrorCode.ILLEGAL_FIELD, ErrorCode.SCRATCHPAD_RANGE, Engine.SPECIAL
    return [
        ("row too long", field, engine, job(program(loss(length=17)))),
        ("no label", field, engine, job(program(loss(z_byte=0)))),
        ("one label for all rows", field, engine, job(program(loss(z_row=1)))),
        ("no such slot", field, engine, job(program(loss(table=SLOTS)))),
        ("labels end outside", beyond, engine, job(program(loss(z=LANE - 7)))),
        ("logits end outside", beyond, engine, job(program(loss(x=LANE - 79)))),
        ("errors end outside", beyond, engine, job(program(loss(y=LANE - 79)))),
    ]


def compiled(rows: int, rng: np.random.Generator) -> tuple[Job, np.ndarray, int]:
    """Return a compiled program, the memory that it leaves and the cycles of its SPECIALs."""
    builder = ProgramBuilder(CONFIG)
    builder.load_slots(SLOTS_AT)
    places = {"x": LOGITS, "labels": LABELS, "y": WINDOW[0]}
    for step in layer_steps(loss_node(rows, CLASSES, 1), places, builder, lambda _: 0):
        step.emit()
    asked = given(builder.words(), rng)
    machine = Machine(CONFIG, asked.image.copy(), asked.read_window, asked.write_window)
    machine.run(builder.words())
    return asked, machine.memory, builder.timeline().total


def test_rows_through_the_lanes_and_faults() -> None:
    rng = np.random.default_rng(17)
    plain = [by_hand(rng) for _ in range(3)]
    jobs = [asked.but(stall=60 * index) for index, (asked, _) in enumerate(plain)]
    again, expected_again = by_hand(rng)
    jobs += [each for *_, asked in faults() for each in (asked, again)]
    made = [compiled(rows, rng) for rows in (96, 9)]
    results = iter(board(CONFIG).run(jobs + [asked for asked, *_ in made]))

    def right(asked: Job, expected: np.ndarray, name: str) -> None:
        done = next(results)
        assert done.error == ErrorCode.NONE, name
        outside(name, asked, done)
        np.testing.assert_array_equal(done.memory[WINDOW[0] : WINDOW[1]], expected, name)

    for asked, expected in plain:
        right(asked, expected, "by hand")
    for case in faults():
        check_fault(*case, next(results))
        right(again, expected_again, f"after {case[0]}")
    for _, memory, predicted in made:
        done = next(results)
        assert done.error == ErrorCode.NONE
        np.testing.assert_array_equal(done.memory, memory)
        print(f"{done.cycles} cycles, {predicted} predicted")
        assert abs(done.cycles - predicted) <= 0.02 * predicted + 20
