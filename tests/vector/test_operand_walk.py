# SPDX-License-Identifier: Apache-2.0
"""Second operands in binary32: which one a step reads, and what is refused, as the golden model."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles

from kiwicha.golden.vector import VectorState, vector
from kiwicha.hw.vector.drain import DrainWalker
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import PARAMETER_BYTES, VECTOR, Engine, ErrorCode, VectorMode

from ..support.bench import bench_params, run_cocotb
from ..support.streams import StreamSource, start_clock_and_reset
from .test_drain import BASE, Watch, machine
from .vector_model import instructions, steps

CONFIG = machine(dynamic=True, real={"bytes": 512})
MEASURE, QUANTIZE, REAL = VectorMode.MEASURE, VectorMode.QUANTIZE, VectorMode.REAL
ADDS = BASE | {"mode": QUANTIZE, "residual": 1, "scales": 64}
WRITES = ADDS | {"mode": REAL, "pixel_pitch": 20, "line_pitch": 64}

ILLEGAL = [
    ADDS | {"scales": 66}, ADDS | {"scales": 65}, ADDS | {"residual": 0},
    ADDS | {"residual": 0, "scales": 0, "sums": 1}, ADDS | {"table": 1},
    ADDS | {"function": 1, "table": 4}, ADDS | {"mode": VectorMode.RAW},
    ADDS | {"mode": VectorMode.REQUANTIZE}, BASE | {"residual": 1}, BASE | {"function": 1},
    WRITES | {"statistics": 1}, WRITES | {"begin": 1}, WRITES | {"settle": 1},
    WRITES | {"tiles": 1}, WRITES | {"mode": 6},
]
OUTSIDE = [
    ADDS | {"scales": 512}, ADDS | {"scales": 1 << 20}, ADDS | {"scales": 1 << 31},
    ADDS | {"scales": 412}, ADDS | {"scales": 64, "line_pitch": 110}, ADDS | {"line_pitch": 140},
    ADDS | {"local": 40, "line_pitch": -20}, ADDS | {"local": 40, "pixel_pitch": -17},
    WRITES | {"scales": 412}, WRITES | {"local": 100, "line_pitch": -68},
    WRITES | {"local": 153},
]
LEGAL = [
    ADDS | {"scales": 408}, ADDS | {"scales": 0}, ADDS | {"mode": MEASURE, "begin": 1},
    ADDS | {"sums": 1, "relu": 1}, ADDS | {"function": 1}, ADDS | {"local": 40, "line_pitch": -16},
    ADDS | {"local": 40, "pixel_pitch": -16, "lines": 1}, WRITES | {"scales": 408},
    WRITES | {"residual": 0, "scales": 0}, WRITES | {"local": 100, "line_pitch": -64},
    WRITES | {"local": 152}, BASE | {"mode": QUANTIZE, "function": 1},
]

FUNCTIONS = CONFIG.replace(real={"functions": True})
ALONE, PLAIN = ADDS | {"sums": 1}, BASE | {"mode": QUANTIZE}
ILLEGAL_FUNCTIONS = [
    ADDS | {"table": 2}, ADDS | {"table": 3}, PLAIN | {"function": 1, "table": 2},
    PLAIN | {"table": 4}, ALONE | {"table": 4}, ADDS | {"table": 6}, PLAIN | {"table": 6},
    ADDS | {"function": 1, "table": 4}, BASE | {"table": 1}, BASE | {"function": 1, "table": 1},
    BASE | {"mode": VectorMode.RAW, "table": 1},
]
LEGAL_FUNCTIONS = [
    *LEGAL, ADDS | {"table": 1}, PLAIN | {"table": 1}, PLAIN | {"table": 2}, PLAIN | {"table": 3},
    ALONE | {"table": 3}, ADDS | {"table": 4}, ADDS | {"table": 5}, WRITES | {"table": 5},
    ADDS | {"mode": MEASURE, "table": 5, "relu": 1}, PLAIN | {"function": 1, "table": 1},
]


def operands(cfg, fields):
    """Return the operand of each step of a legal instruction."""
    step = 1 if fields["mode"] == REAL else 4
    return [
        (fields.get("scales", 0) + step * (place - fields["local"])) // 4 % (cfg.real.bytes // 4)
        for *_, place, _ in steps(cfg, fields)
    ]


@cocotb.test()
async def walks(dut):
    cfg = AcceleratorConfig(**bench_params()["config"])
    await start_clock_and_reset(dut)
    rng = np.random.default_rng(6)
    program = instructions(cfg, rng, 60, modes=(MEASURE, QUANTIZE, REAL))
    watch = Watch(dut, cfg)
    await StreamSource(dut, "i", VECTOR).send(program)
    await ClockCycles(dut.clk, 400)
    assert not watch.errors
    wanted = [
        (address, operand)
        for fields in program
        for (*_, address, _), operand in zip(
            steps(cfg, fields), operands(cfg, fields), strict=True)
    ]
    assert [(step["address"], step["operand"]) for _, step in watch.steps] == wanted


@cocotb.test()
async def refuses(dut):
    await start_clock_and_reset(dut)
    cfg = AcceleratorConfig(**bench_params()["config"])
    watch, source = Watch(dut, cfg), StreamSource(dut, "i", VECTOR)
    illegal, legal = (
        (ILLEGAL_FUNCTIONS, LEGAL_FUNCTIONS) if cfg.real.functions else (ILLEGAL, LEGAL)
    )
    for code, cases in (
        (ErrorCode.ILLEGAL_FIELD, illegal), (ErrorCode.SCRATCHPAD_RANGE, OUTSIDE),
        (ErrorCode.NONE, legal),
    ):
        for fields in cases:
            watch.steps, watch.errors = [], []
            await source.send([fields])
            await ClockCycles(dut.clk, 80)
            if code == ErrorCode.NONE:
                assert not watch.errors, f"{fields} refused"
                found = [step["operand"] for _, step in watch.steps]
                assert found == operands(cfg, fields) or not fields["residual"]
                continue
            assert watch.errors == [code | Engine.VECTOR << 8], f"{fields}: {watch.errors}"
            dut.rst.value = 1
            await ClockCycles(dut.clk, 1)
            dut.rst.value = 0


def test_walks():
    cfg = machine(columns=8, lanes=3, dynamic=True, real={"bytes": 1024}, accumulator_depth=64)
    run_cocotb(DrainWalker(cfg), __name__, testcase="walks", params={"config": cfg.to_dict()})


@pytest.mark.parametrize("cfg", [CONFIG, FUNCTIONS], ids=["plain", "functions"])
def test_refuses(cfg):
    run_cocotb(
        DrainWalker(cfg), __name__, testcase="refuses", params={"config": cfg.to_dict()}
    )


@pytest.mark.parametrize(("cfg", "cases", "error"), [
    (CONFIG, ILLEGAL, ValueError), (CONFIG, OUTSIDE, IndexError), (CONFIG, LEGAL, None),
    (FUNCTIONS, ILLEGAL_FUNCTIONS, ValueError), (FUNCTIONS, LEGAL_FUNCTIONS, None),
], ids=["illegal", "outside", "legal", "illegal-functions", "legal-functions"])
def test_golden_refuses_the_same(cfg, cases, error):
    unset = dict.fromkeys((name for name, _ in VECTOR), 0)
    parameter = np.zeros(CONFIG.parameter_channels * PARAMETER_BYTES, np.uint8)
    for fields in cases:
        state = VectorState(operands=np.zeros(CONFIG.real.bytes, np.uint8))
        given = (
            cfg, unset | fields, np.zeros((16, 5), np.int32), parameter,
            np.zeros(CONFIG.output_bytes, np.uint8), state,
        )
        if error is None:
            vector(*given)
            continue
        with pytest.raises(error):
            vector(*given)
            pytest.fail(f"{fields} is taken")
