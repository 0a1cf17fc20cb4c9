# SPDX-License-Identifier: Apache-2.0
"""Programs that no compiler would write: the machine always stops, and stays inside its windows."""

import random

import numpy as np
import pytest

from kiwicha.hw.control.engines import machine_engines
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import encode
from kiwicha.machine.isa import (
    END,
    ENGINES,
    INSTRUCTIONS,
    LEVELS,
    ErrorCode,
    LoadTarget,
    Opcode,
    StoreSource,
)
from kiwicha.machine.presets import preset

from ..compiler.test_emit import CASES, random_work
from ..support.slow import slow
from .board import board
from .layers import check, compile_layer
from .programs import END as NOTHING
from .programs import WINDOW, job, program

TINY = preset("tiny")
SPECIAL = TINY.replace(name="special", special={"lanes": 2, "bytes": 256, "entries": 256})
TRAINING = SPECIAL.replace(
    name="fuzzed-training", training={"classes": 16}, residual={"tables": 2}, transposer=True,
)
PROGRAMS = 150  # of each kind

#: Fields that only one value, or few, make legal; noise everywhere would never get past them.
_SMALL = {
    "format": 1, "extent": 1, "reserved0": 1, "reserved1": 1, "only": 1, "channel": 1, "source": 1,
    "residual": 1, "sums": 1,
    "LOAD.target": 3, "LOAD.address": 0xC00, "rows": 5, "dynamic": 1, "slot": 1, "mode": 1,
    "VECTOR.target": 1, "begin": 1, "settle": 1, "relu": 1, "statistics": 1, "scales": 1,
    "tiles": 1, "tile_entries": 1, "channels": 5, "pixels": 9, "lines": 4, "length": 96,
    "segments": 4, "weight": 1100,
    "accumulator": 250, "parameter": 62, "weight_stride": 20, "address": 0x700, "local": 2048,
    "pitch": 128, "local_pitch": 128, "low": 200, "high": 200, "zero_point": 200,
    "pixel_pitch": 40, "line_pitch": 400, "operation": 5, "table": 2, "x_signed": 2,
    "SPECIAL.x": 1000, "z": 1000, "SPECIAL.y": 1000, "total": 12,
}
#: On machines that learn.
_LEARNING = {
    "mode": 7, "VECTOR.target": 2, "settle": 2, "relu": 2, "residual": 2, "zero_point": 2,
}
_EIGHTHS = ("address", "local", "pitch", "local_pitch")


def noise(chooser: random.Random, config: AcceleratorConfig) -> np.ndarray:
    """Return words of noise; half of them with a header that gets past dispatch."""
    words = []
    engines = machine_engines(config)
    absent = ((1 << ENGINES) - 1) & ~sum(1 << engine for engine in engines)
    opcodes = [Opcode.END, *(Opcode[engine.name] for engine in engines)]
    for _ in range(chooser.randrange(1, 48)):
        word = chooser.getrandbits(64)
        if chooser.random() < 0.5:
            word &= ~sum(absent << END[field].offset for field in ("wait", "signal"))
            word = word & ~0xF | chooser.choice(opcodes)
        words.append(word)
    return np.array(words, "<u8")


def near_miss(chooser: random.Random, config: AcceleratorConfig) -> np.ndarray:
    """Return instructions most of whose fields are legal, in no sensible order."""
    parts = []
    engines = machine_engines(config)
    mask = sum(1 << engine for engine in engines)
    few = _SMALL | (_LEARNING if config.training else {})
    for _ in range(chooser.randrange(1, 12)):
        opcode = Opcode[chooser.choice(engines).name]
        fields = {}
        for name, field in INSTRUCTIONS[opcode]:
            width = field.width
            if name == "levels":
                fields[name] = [
                    {"count": chooser.choice([1, 1, 2, 5]), "y": chooser.randrange(-3, 4),
                     "x": chooser.randrange(-9, 9), "address": chooser.randrange(-99, 99)}
                    for _ in range(LEVELS)
                ]
            elif name in ("wait", "signal"):
                fields[name] = chooser.choice([0, 0, 0, chooser.getrandbits(ENGINES) & mask])
            elif name == "target" and opcode == Opcode.LOAD and config.special.lanes:
                fields[name] = chooser.randrange(LoadTarget.TABLE + 1)
            elif name == "source" and config.special.lanes:
                fields[name] = chooser.choice([StoreSource.OUTPUT, StoreSource.RESULT])
            elif name != "opcode":
                small = few.get(f"{opcode.name}.{name}", few.get(name, 1 << width))
                limit = min(small, 1 << width)
                value = chooser.randrange(limit)
                if opcode in (Opcode.LOAD, Opcode.STORE) and name in _EIGHTHS:
                    value &= ~7
                signed = field.shape.signed if hasattr(field.shape, "signed") else False
                fields[name] = value - (limit >> 1) if signed and limit == 1 << width else value
        if chooser.random() < 0.1:
            name = chooser.choice([name for name in fields if name != "levels"])
            width = INSTRUCTIONS[opcode][name].width
            fields[name] = chooser.getrandbits(width - 1) if width > 1 else chooser.getrandbits(1)
        fields["low"] = -fields["low"] if "low" in fields else 0
        if "low" not in dict(INSTRUCTIONS[opcode]):
            del fields["low"]
        parts.append(encode(opcode, **fields))
    return program(*parts)


@slow("special", "training")
@pytest.mark.parametrize("config", [TINY, SPECIAL, TRAINING], ids=["tiny", "special", "training"])
def test_no_program_escapes(config):
    chooser = random.Random(1)
    work = random_work(np.random.default_rng(2), 1, 4, 4, 3, 6, *CASES["conv3x3"][5:])
    good = compile_layer("good", *work, config)
    programs = [make(chooser, config) for _ in range(PROGRAMS) for make in (noise, near_miss)]
    jobs = []
    for index, words in enumerate(programs):
        # A program may be long and legal: software gives up after a while.
        jobs.append(job(words, watchdog=200, abort=1500, stall=chooser.choice([0, 0, 60])))
        if index % 8 == 7:
            jobs.append(good.job)
    jobs += [job(NOTHING), good.job]
    codes: dict[str, int] = {}
    for index, (asked, done) in enumerate(zip(jobs, board(config).run(jobs), strict=True)):
        if asked is good.job:
            check(good, done, f"after program {index - 1}")
            continue
        assert done.interrupted
        name = ErrorCode(done.error).name
        codes[name] = codes.get(name, 0) + 1
        differ = done.memory != asked.image
        differ[WINDOW[0] : WINDOW[1]] = False
        assert not differ.any(), f"program {index}: byte {np.flatnonzero(differ)[0]:#x} changed"
    print(codes)
    assert len(codes) >= 8, f"the programs are not varied enough: {codes}"
