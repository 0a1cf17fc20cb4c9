# SPDX-License-Identifier: Apache-2.0
"""Every error that stops the machine: its code and address, what it leaves alone, and recovery."""

import numpy as np

from kiwicha.hw.control.dispatch import DISPATCH_NUMBER
from kiwicha.hw.control.fetch import FETCH_NUMBER
from kiwicha.machine.encoding import encode
from kiwicha.machine.isa import (
    COUNTER_WORDS,
    Engine,
    ErrorCode,
    LoadTarget,
    Opcode,
    StoreSource,
    WeightFormat,
)
from kiwicha.machine.presets import preset

from ..compiler.test_emit import CASES, random_work
from .board import MEMORY_BYTES, Done, Job, board
from .layers import check, compile_layer
from .programs import (
    END,
    PROGRAM,
    WINDOW,
    compute,
    job,
    levels,
    load,
    program,
    store,
    vector,
)

TINY = preset("tiny")
SPARSE = TINY.replace(name="sparse", sparse={"formats": ("run-length",)})
_SPECIAL = 1 << Engine.SPECIAL  # an engine that this machine has not
ERROR, DONE, IDLE, DRAINING = 1 << 4, 1 << 3, 1 << 0, 1 << 2
WIDE = {
    "read_window": (0, 2 * MEMORY_BYTES),
    "write_window": (MEMORY_BYTES, 2 * MEMORY_BYTES),
}
FOREVER = compute(levels=levels(1, 1, 1, 65535, 65535, 65535))


def good(config=TINY):
    """Return a layer that must run after whatever happened."""
    work = random_work(np.random.default_rng(1), 1, 5, 5, 3, 6, *CASES["conv3x3"][5:])
    return compile_layer("good", *work, config)


def illegal(engine, *programs):
    return [(f"{engine.name} field {i}", ErrorCode.ILLEGAL_FIELD, engine, job(program(p)))
            for i, p in enumerate(programs)]


def beyond(engine, *programs):
    return [(f"{engine.name} range {i}", ErrorCode.SCRATCHPAD_RANGE, engine, job(program(p)))
            for i, p in enumerate(programs)]


def changed(words, index, value):
    """Return a program with one word replaced."""
    words = words.copy()
    words[index] = value
    return words


def cases() -> list[tuple[str, ErrorCode, int, Job]]:
    """Return (name, code, address, job): all codes of `tiny`, every engine where it matters."""
    opcode, field = ErrorCode.ILLEGAL_OPCODE, ErrorCode.ILLEGAL_FIELD
    three = program(load(), store())
    end_at = PROGRAM + 8 * len(load())
    return [
        ("opcode 0", opcode, PROGRAM, job(changed(three, 0, 0))),
        ("opcode 15", opcode, end_at, job(changed(three, len(load()), 0xF))),
        ("no such engine", opcode, PROGRAM, job(program(encode(Opcode.SPECIAL, rows=1)))),
        ("END field", field, DISPATCH_NUMBER, job(changed(END, 0, int(END[0]) | 1 << 40))),
        ("END waits", field, DISPATCH_NUMBER, job(changed(END, 0, int(END[0]) | 1 << 4))),
        ("program misaligned", field, FETCH_NUMBER, job(END, program=(PROGRAM + 4, 8))),
        ("program length", field, FETCH_NUMBER, job(END, program=(PROGRAM, 12))),
        *illegal(
            Engine.LOAD, load(length=0), load(segments=0), load(target=7), load(target=5),
            load(format=1), load(reserved0=1), load(extent=1 << 15), load(local=1),
            load(segments=2, pitch=8, local_pitch=4), load(wait=_SPECIAL), load(signal=_SPECIAL),
        ),
        *illegal(
            Engine.COMPUTE, compute(rows=0), compute(rows=5), compute(reserved0=1),
            compute(reserved1=1 << 23), compute(aligned=1), compute(unit=-128), compute(filter=1),
            compute(tail=1), compute(line_tail=1),
            compute(levels=levels(1, 1, 0)), compute(wait=_SPECIAL), compute(dynamic=1),
            compute(slot=1),
        ),
        *illegal(
            Engine.VECTOR, vector(channels=0), vector(channels=5), vector(pixels=0),
            vector(lines=0), vector(zero_point=256), vector(low=-257), vector(high=300),
            vector(low=1, high=0), vector(residual=1), vector(sums=1), vector(function=1),
            vector(signal=_SPECIAL), vector(mode=1), vector(mode=8), vector(slot=2),
            vector(target=2), vector(begin=1), vector(settle=1), vector(relu=1),
            vector(statistics=1), vector(scales=1 << 31), vector(tiles=128),
            vector(tile_entries=1 << 15), vector(only=1), vector(channel=64),
        ),
        *illegal(
            Engine.STORE, store(length=0), store(segments=0), store(source=2), store(source=3),
            store(format=1), store(extent=1), store(local=4), store(wait=_SPECIAL),
            store(signal=_SPECIAL),
            store(source=StoreSource.COUNTERS, length=8 * COUNTER_WORDS - 8),
        ),
        ("no END", ErrorCode.PROGRAM_END, PROGRAM + 8 * len(load()), job(load())),
        ("half a COMPUTE", ErrorCode.PROGRAM_END, PROGRAM + 40, job(compute()[:5])),
        ("no program", ErrorCode.PROGRAM_END, PROGRAM, job(END, program=(PROGRAM, 0))),
        ("read above", ErrorCode.READ_WINDOW, 0x1000,
         job(program(load(address=0x1000)), read_window=(0, 0x1038))),
        ("read below", ErrorCode.READ_WINDOW, 0x3F8,
         job(program(load(address=0x3F8)), read_window=(0x400, 0x1000))),
        ("read nowhere", ErrorCode.READ_WINDOW, 0, job(program(load(address=1 << 40)))),
        ("program outside", ErrorCode.READ_WINDOW, PROGRAM, job(END, read_window=(0, PROGRAM))),
        ("write above", ErrorCode.WRITE_WINDOW, WINDOW[1] - 8,
         job(program(store(address=WINDOW[1] - 8)))),
        ("write below", ErrorCode.WRITE_WINDOW, WINDOW[0] - 8,
         job(program(store(address=WINDOW[0] - 8)))),
        ("second segment", ErrorCode.WRITE_WINDOW, WINDOW[1],
         job(program(store(address=WINDOW[1] - 16, segments=2, pitch=16)))),
        ("read response", ErrorCode.READ_RESPONSE, MEMORY_BYTES,
         job(program(load(address=MEMORY_BYTES)), **WIDE)),
        ("fetch response", ErrorCode.READ_RESPONSE, MEMORY_BYTES,
         job(END, program=(MEMORY_BYTES, 8), **WIDE)),
        ("write response", ErrorCode.WRITE_RESPONSE, MEMORY_BYTES,
         job(program(store(address=MEMORY_BYTES)), **WIDE)),
        *beyond(Engine.LOAD, load(local=TINY.activation_bytes),
                load(local=TINY.activation_bytes - 8), load(target=2, local=1 << 31),
                load(segments=2, local_pitch=-64, pitch=64)),
        *beyond(Engine.COMPUTE, compute(weight=TINY.weight_bytes // 4 - 3),
                compute(accumulator=TINY.accumulator_depth),
                compute(accumulator=TINY.accumulator_depth - 1, levels=levels(2))),
        *beyond(Engine.VECTOR, vector(accumulator=TINY.accumulator_depth), vector(pixels=257),
                vector(parameter=TINY.parameter_channels - 3), vector(local=TINY.output_bytes - 3),
                vector(pixels=2, pixel_pitch=-1)),
        *beyond(Engine.STORE, store(local=TINY.output_bytes), store(local=TINY.output_bytes - 8)),
        ("tokens", ErrorCode.TOKEN_OVERFLOW, Engine.LOAD,
         job(program(*[load(length=8, signal=1 << Engine.COMPUTE)] * (1 << TINY.token_bits)))),
        ("token that never comes", ErrorCode.WATCHDOG, 0,
         job(program(compute(wait=1 << Engine.LOAD)))),
        ("aborted", ErrorCode.ABORTED, 0, job(program(FOREVER), abort=400)),
    ]


def check_fault(name: str, code: ErrorCode, address: int, asked: Job, done: Done) -> None:
    found = (ErrorCode(done.error).name, hex(done.address))
    assert found == (code.name, hex(address)), f"{name}: {found}"
    status = done.registers["status"]
    assert status & (ERROR | DONE | IDLE | DRAINING) == ERROR, f"{name}: status {status:#x}"
    assert done.registers["interrupt_status"] == 2, name
    outside(name, asked, done)


def outside(name: str, asked: Job, done: Done) -> None:
    """Fail if a byte outside the write window changed."""
    differ = done.memory != asked.image
    differ[asked.write_window[0] : asked.write_window[1]] = False
    assert not differ.any(), f"{name}: byte {np.flatnonzero(differ)[0]:#x} changed"


def test_every_error_and_recovery():
    made, layer = cases(), good()
    assert {code for _, code, *_ in made} == set(ErrorCode) - {
        ErrorCode.NONE,
        ErrorCode.MALFORMED_STREAM,
        ErrorCode.DYNAMIC_RANGE,
    }
    jobs = [each for *_, asked in made for each in (asked, layer.job)]
    results = iter(board(TINY).run(jobs))
    for case in made:
        check_fault(*case, next(results))
        check(layer, next(results), f"after {case[0]}")


def test_malformed_weights():
    """A run of zeros that leaves its column, of four elements; byte 1 is where it begins."""
    run = load(target=LoadTarget.WEIGHT, format=WeightFormat.RUN_LENGTH, address=0x400, length=8,
               pitch=1 << 16 | 1)
    asked, layer = job(program(run)), good(SPARSE)
    asked.image[0x400:0x402] = (0x10, 0x51)  # no zeros and a 17, then five zeros
    result, after = board(SPARSE).run([asked, layer.job])
    check_fault("malformed", ErrorCode.MALFORMED_STREAM, 1, asked, result)
    check(layer, after, "after malformed weights")


def test_the_watchdog_knows_work_from_standstill():
    """A long VECTOR and a long COMPUTE move nothing on the bus; neither is a standstill."""
    busy = [vector(pixels=256), compute(levels=levels(1, 1, 1, 2000))]
    jobs = [job(program(each), watchdog=100) for each in busy]
    jobs.append(job(program(compute(wait=1)), watchdog=0, abort=3000))
    *worked, waited = board(TINY).run(jobs)
    for done in worked:
        assert done.error == ErrorCode.NONE
        assert done.cycles > 1000
    assert waited.error == ErrorCode.ABORTED
    # The cycles of clearing, before the first one counted, are among the 3000.
    assert waited.cycles >= 3000 - 16


def test_abort_and_reset_at_any_time():
    layer = good()
    times = [1, 3, 7, 20, 60, *range(100, 1600, 93)]
    jobs = []
    for cycles in times:
        slow = layer.job.but(stall=80, latency=5 + cycles % 60)
        jobs += [slow.but(abort=cycles), layer.job, slow.but(reset=cycles), layer.job]
    results = board(TINY).run(jobs)
    aborted = 0
    for index, cycles in enumerate(times):
        first, after, reset, last = results[4 * index : 4 * index + 4]
        assert first.error in (ErrorCode.ABORTED, ErrorCode.NONE)
        aborted += first.error == ErrorCode.ABORTED
        # No program of this length ends so soon, not even before its first instruction.
        assert cycles > 700 or first.error == ErrorCode.ABORTED, f"abort at {cycles} is lost"
        outside(f"abort at {cycles}", layer.job, first)
        check(layer, after, f"after abort at {cycles}")
        assert reset.registers["status"] == IDLE
        assert reset.error == ErrorCode.NONE
        outside(f"reset at {cycles}", layer.job, reset)
        check(layer, last, f"after reset at {cycles}")
    assert aborted > len(times) // 2
