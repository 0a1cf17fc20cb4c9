# SPDX-License-Identifier: Apache-2.0
"""The super-accumulator against its golden model, over all exponents and products."""

import random

import cocotb
import numpy as np
import pytest

from kiwicha.golden.block_accumulate import accumulate_exact
from kiwicha.hw.compute.block_accumulate import BlockAccumulate
from kiwicha.machine.blocks import WINDOW

from ..support.bench import bench_params, run_cocotb
from ..support.streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset

LOW, HIGH = -(1 << 31), (1 << 31) - 1
CORNERS = (LOW, LOW + 1, -3, -2, -1, 0, 1, 2, 3, HIGH - 1, HIGH)


def sums(window, blocks, seed):
    """Words for the unit, and what comes out: sums of one product to as many as there may be."""
    chooser = random.Random(seed)
    words, expected = [], []
    for number in range(160):
        count = blocks if number == 0 else chooser.randint(1, min(blocks, 9))
        low = chooser.choice((-256, -9, 0, 255 - window, chooser.randint(-40, 40)))
        exponents = [
            max(-256, min(255, low + chooser.choice((
                0, window - 1, -1, window, chooser.randint(0, window - 1),
                chooser.randint(-36, window + 35), chooser.randint(-300, 300),
            ))))
            for _ in range(count)
        ]
        products = [
            HIGH if number == 0 else chooser.choice((
                *CORNERS, chooser.randint(LOW, HIGH), chooser.randint(-300, 300),
                chooser.choice((-1, 1)) << chooser.randint(0, 30),
            ))
            for _ in range(count)
        ]
        found = accumulate_exact(np.array(products), np.array(exponents), low, window)
        expected.append({"sum": int(found.sums), "outside": found.clamped})
        words += [
            {
                "product": product, "exponent": exponent, "low": low, "first": k == 0,
                "last": k == count - 1,
            }
            for k, (product, exponent) in enumerate(zip(products, exponents, strict=True))
        ]
    return words, expected


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def matches_golden(dut):
    params = bench_params()
    unit = BlockAccumulate(params["window"], params["blocks"])
    words, expected = sums(params["window"], params["blocks"], params["seed"])
    await start_clock_and_reset(dut)
    policy = params["policy"]
    source = StreamSource(
        dut, "i", unit.i.payload.shape(),
        policy="always" if policy == "after_valid" else policy, seed=params["seed"],
    )
    sink = StreamSink(dut, "o", unit.o.payload.shape(), policy=policy, seed=params["seed"])
    source.put(words)
    for number, wanted in enumerate(expected):
        assert (await sink.receive(1))[0] == wanted, f"sum {number}"


@pytest.mark.parametrize("policy", READY_POLICIES)
@pytest.mark.parametrize(("window", "blocks"), [(WINDOW, 512), (1, 1), (24, 200)])
def test(policy: str, window: int, blocks: int) -> None:
    params = {"window": window, "blocks": blocks, "policy": policy, "seed": window}
    run_cocotb(BlockAccumulate(window, blocks), __name__, params=params)


def test_width() -> None:
    assert BlockAccumulate().width == 56
    assert BlockAccumulate(3, 2, 4).width == 4 + 2 + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((16, 512, 1), "product_bits is 1; legal: 2 to 32"),
        ((0, 4), "4 blocks, a window of 0; legal: from 1, 64 bits together"),
        ((24, 513), "513 blocks, a window of 24; legal: from 1, 64 bits together"),
    ],
)
def test_refusals(arguments, message) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        BlockAccumulate(*arguments)
