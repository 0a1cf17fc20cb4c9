# SPDX-License-Identifier: Apache-2.0
"""The core of the loss against the golden model: rows in a row, with pauses or without."""

import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.golden.niti import cross_entropy_errors
from kiwicha.hw.special.cross_entropy import LOGIT, CrossEntropyCore, Pass

from ..support.bench import bench_params, run_cocotb
from ..support.streams import pack, start_clock_and_reset

#: Of logits: those that make a difference, and what is taken for the nearest of them.
EXPONENTS = [-127, *range(-20, 13), 128]
KINDS = ("least", "greatest", "one", "other", "near", "uniform", "normal")


def row_of(kind, rng, n):
    """One row of ``n`` logits."""
    if kind in ("least", "greatest"):
        return np.full(n, -128 if kind == "least" else 127)
    if kind in ("one", "other"):
        high, low = (127, -128) if kind == "one" else (-128, 127)
        return np.where(np.arange(n) == rng.integers(n), high, low)
    if kind == "near":
        return rng.integers(-128, 120) + rng.integers(0, 8, n)
    if kind == "normal":
        return np.clip(np.rint(rng.normal(rng.integers(-90, 90), 25, n)), -127, 127).astype(int)
    return rng.integers(-128, 128, n)


class Driver:
    """Shows rows to the core and collects what it answers, each in its cycle."""

    def __init__(self, dut, chooser, pauses):
        self.dut, self.chooser, self.pauses = dut, chooser, pauses
        self.found, self.due, self.cycle = [], [], 0

    async def tick(self):
        dut = self.dut
        await FallingEdge(dut.clk)
        self.cycle += 1
        if dut.o__valid.value:
            assert self.due.pop(0) == self.cycle
            self.found.append(dut.o__payload.value.to_signed())
        dut.i__valid.value = 0

    async def show(self, look, row, label):
        rng = self.chooser
        for place, x in enumerate(row):
            while self.pauses and rng.random() < 0.3:
                await self.tick()
            results = look == Pass.RESULT
            fields = {
                "look": look, "first": place == 0,
                "x": rng.randrange(-128, 128) if results else int(x),
                "label": int(label) if results else rng.randrange(256),
            }
            self.dut.i__payload.value = pack(LOGIT, fields)
            self.dut.i__valid.value = 1
            if results:
                self.due.append(self.cycle + CrossEntropyCore.latency)
            await self.tick()
            for _ in range(CrossEntropyCore.spacing - 1 if look == Pass.DIVIDE else 0):
                await self.tick()


@cocotb.test()
async def equals_golden(dut):
    params = bench_params()
    rng, most = np.random.default_rng(params["seed"]), params["classes"]
    await start_clock_and_reset(dut)
    driver = Driver(dut, random.Random(params["seed"]), params["pauses"])
    for exponent in params["exponents"]:
        dut.exponent.value = 127 + exponent
        for _ in range(3):
            await driver.tick()
        expected, begun = [], driver.cycle
        for length in params["lengths"]:
            for kind in params["kinds"]:
                row = row_of(kind, rng, length)
                label = rng.choice([rng.integers(length), length - 1, 0, length, 255])
                label = min(255, int(label))
                errors = cross_entropy_errors(row.astype(np.int8)[None], exponent, [label])
                expected += errors.ravel().tolist()
                for look in Pass:
                    await driver.show(look, row, label)
        elements = sum(params["lengths"]) * len(params["kinds"])
        assert driver.pauses or driver.cycle - begun == elements * (3 + CrossEntropyCore.spacing)
        for _ in range(CrossEntropyCore.latency):
            await driver.tick()
        assert driver.found == expected, f"classes {most}, exponent {exponent}"
        driver.found.clear()


def simulate(classes, lengths, *, exponents=None, kinds=KINDS, pauses=False):
    run_cocotb(
        CrossEntropyCore(classes), __name__,
        params={
            "classes": classes, "lengths": lengths, "exponents": exponents or EXPONENTS,
            "kinds": kinds, "pauses": pauses, "seed": classes,
        },
    )


def test_all_exponents():
    simulate(16, [1, 2, 10, 16])


@pytest.mark.parametrize("classes", [64, 1024])
def test_longest_row(classes):
    """Where e to the x is greatest, too: the sum has all its bits."""
    simulate(classes, [37, classes], exponents=[-16, 8], kinds=["greatest", "uniform"])


def test_pauses():
    simulate(16, [1, 3, 10], exponents=[-9, -4, 2], pauses=True)
