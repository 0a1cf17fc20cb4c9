# SPDX-License-Identifier: Apache-2.0
"""The layer normalization core against the golden model, rows one after the other and overlapping.

The golden model clamps last; with bounds of 16 bits and zero point 0 it is what the core gives.
"""

import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from kiwicha.golden.normalize import normalize_rows
from kiwicha.hw.special.normalize import APPLY, NormalizeCore
from kiwicha.hw.special.normalize_measure import MEASURE
from kiwicha.machine.tables import normalize_epsilon, normalize_parameters

from ..support.bench import bench_params, run_cocotb
from ..support.slow import slow
from ..support.streams import pack, start_clock_and_reset

LOW, HIGH = -(1 << 15), (1 << 15) - 1

#: Kinds of rows; "near" has variance of about 1/4, "one" a single peak.
KINDS = ("equal", "extreme", "least", "greatest", "one", "near", "normal", "uniform")


def row_of(kind, rng, n):
    """One row of ``n`` elements of -128 to 127."""
    if kind == "equal":
        return np.full(n, rng.integers(-128, 128))
    if kind in ("least", "greatest"):
        return np.full(n, -128 if kind == "least" else 127)
    if kind == "extreme":
        return np.where(np.arange(n) % 2, 127, -128)
    if kind == "one":
        return np.where(np.arange(n) == rng.integers(n), 127, -128)
    if kind == "near":
        return rng.integers(-1, 1, n) + (np.arange(n) == n - 1)
    if kind == "normal":
        return np.clip(np.rint(rng.normal(rng.integers(-90, 90), 25, n)), -128, 127).astype(int)
    return rng.integers(-128, 128, n)


def parameters(kind, rng, n):
    """Gains, offsets, shift and epsilon: of a network's layer, or anything in range."""
    if kind == "layer":
        gamma, beta = rng.normal(1, 0.3, n), rng.normal(0, 0.5, n)
        epsilon = normalize_epsilon(n, 0.05, 1e-5)
        return *normalize_parameters(gamma, beta, 0.03), epsilon
    gains = rng.integers(-(1 << 23), 1 << 23, n)
    offsets = rng.integers(-(1 << 31), 1 << 31, n)
    if kind == "edges":
        gains = rng.choice([-(1 << 23), (1 << 23) - 1, 0, -1], n)
        offsets = rng.choice([-(1 << 31), (1 << 31) - 1, 0, 1 << 15], n)
    shift = int(rng.choice([0, 6, 7, 8, 15, 16, 17, 20, 24, 31]))
    epsilon = int(rng.choice([0, 1, 255, 256, (1 << 32) - 1, rng.integers(1 << 32)]))
    return gains.astype(np.int32), offsets.astype(np.int32), shift, epsilon


class Driver:
    """Sets the core's inputs cycle by cycle, just after a falling edge, and collects results.

    What is queued in ``measuring`` and ``applying`` goes in as ``pause`` lets it.
    """

    def __init__(self, dut, pause, chooser):
        self.dut, self.pause, self.chooser = dut, pause, chooser
        self.measuring, self.applying, self.results, self.due = [], [], [], set()
        self.cycle = self.last = 0
        #: When ``measured`` was first high after the row shown last.
        self.rose = None

    def show(self, row):
        top = len(row) - 1
        self.measuring = [{"x": x, "first": k == 0, "last": k == top} for k, x in enumerate(row)]

    def apply(self, row, gains, offsets):
        triples = zip(row, gains, offsets, strict=True)
        self.applying = [{"x": x, "gain": g, "offset": o} for x, g, o in triples]

    async def step(self):
        dut = self.dut
        for port, shape, queue in (
            ("measure", MEASURE, self.measuring),
            ("apply", APPLY, self.applying),
        ):
            offer = bool(queue) and self.chooser.random() >= self.pause
            word = pack(shape, queue.pop(0)) if offer else self.chooser.getrandbits(shape.size)
            getattr(dut, f"{port}__valid").value = offer
            getattr(dut, f"{port}__payload").value = word
            if offer and port == "apply":
                self.due.add(self.cycle + NormalizeCore.latency)
            elif offer:
                self.last, self.rose = self.cycle, None
        await RisingEdge(dut.clk)
        assert bool(dut.o__valid.value) == (self.cycle in self.due)
        if dut.o__valid.value:
            self.results.append(dut.o__payload.value.to_signed())
        if dut.measured.value and self.rose is None and self.cycle > self.last:
            self.rose = self.cycle
        self.cycle += 1
        await FallingEdge(dut.clk)

    async def settle(self):
        """Step until the row is shown and ``measured`` is high."""
        while self.measuring:
            await self.step()
        while self.rose is None:
            await self.step()


def duration(row, epsilon, uncentred, digits):
    """Cycles from a row's last element to ``measured``, from the golden model's s."""
    n, total = len(row), 0 if uncentred else int(row.sum())
    spread = (n * int((row * row).sum()) - total**2) * (64 if uncentred else 256) + epsilon
    places = (48 - spread.bit_length()) // 2
    return 73 + places if digits == 1 else 50 + places // 2


@cocotb.test()
async def rows(dut):
    """Each row is measured while the one before it is applied to, at once or as late as may be."""
    params = bench_params()
    n, late = params["length"], params["late"]
    rng, chooser = np.random.default_rng([52, n]), random.Random(str(n))
    await start_clock_and_reset(dut)
    assert dut.measured.value, "nothing to measure yet"
    for turn, kind in enumerate(params["parameters"]):
        gains, offsets, shift, epsilon = parameters(kind, rng, n)
        driver = Driver(dut, params["pause"], chooser)
        dut.length.value, dut.shift.value, dut.epsilon.value = n, shift, epsilon
        kinds = params["kinds"] or rng.choice(KINDS, params["count"])
        zero = int(rng.choice([-128, 127, rng.integers(-128, 128)])) if params["uncentred"] else 0
        dut.uncentred.value = params["uncentred"]
        codes = [row_of(name, rng, n) for name in kinds]
        if params["uncentred"]:  # one peak alone, whose root is a power of two
            codes[0] = np.where(np.arange(n) == n // 2, zero + (64 if zero < 0 else -64), zero)
        data = [row - zero for row in codes]
        driver.show(data[0].tolist())
        await driver.settle()
        for row, following in zip(data, [*data[1:], None], strict=True):
            if following is not None:
                driver.show(following.tolist())
            if late and following is not None:
                # Without pauses, the row's last element comes `hold` cycles after the other's last.
                for _ in range(NormalizeCore(params["digits"]).hold):
                    await driver.step()
            driver.apply(row.tolist(), gains.tolist(), offsets.tolist())
            while driver.applying:
                await driver.step()
            if following is not None:
                await driver.settle()
                due = duration(following, epsilon, params["uncentred"], params["digits"])
                assert driver.rose - driver.last == due
        for _ in range(NormalizeCore.latency + 1):
            await driver.step()
        expected = normalize_rows(
            np.array(codes), gains, offsets, shift, epsilon, 0, LOW, HIGH,
            zero if params["uncentred"] else None,
        )
        assert driver.results == expected.ravel().tolist(), f"{kind} {turn}, shift {shift}"


@slow("2-0.4-False", "3-0-False", "16-0-False", "64-0.4-False", "197-0-False", "1000-0.4-False",
      "1-0.4-True", "2-0-True", "2-0.4-True", "3-0-True", "16-0.4-True", "64-0-True",
      "197-0-True", "197-0.4-True", "1000-0-True", "1000-0.4-True")
@pytest.mark.parametrize("uncentred", [False, True])
@pytest.mark.parametrize("pause", [0, 0.4])
@pytest.mark.parametrize("length", [1, 2, 3, 16, 64, 197, 1000])
def test_rows(length, pause, uncentred, digits=1):
    kinds = ["layer", "edges", "random"] if length > 100 else ["layer", *["edges", "random"] * 3]
    params = {"length": length, "pause": pause, "late": False, "parameters": kinds}
    params |= {"kinds": list(KINDS) if length < 100 else None, "count": 3, "uncentred": uncentred}
    if pause:
        params["parameters"] = kinds[-2:] if length < 100 else ["random"]
    params["digits"] = digits
    run_cocotb(NormalizeCore(digits), __name__, params=params, testcase="rows")


@pytest.mark.parametrize(
    ("length", "pause", "uncentred"),
    [(1, 0, False), (2, 0, True), (3, 0.4, True), (32, 0, False), (64, 0, True)],
)
def test_rows_of_two_digits(length, pause, uncentred):
    test_rows(length, pause, uncentred, 2)


@pytest.mark.parametrize("uncentred", [False, True])
def test_longest_row(uncentred):
    """4096 elements: every width at its limit, and ``measured`` as early as ever."""
    params = {"length": 4096, "pause": 0, "late": True, "parameters": ["random"]}
    params |= {"kinds": ["one", "extreme", "least"], "uncentred": uncentred, "digits": 1}
    run_cocotb(NormalizeCore(), __name__, params=params, testcase="rows")


@slow("5-1", "1-2")
@pytest.mark.parametrize("digits", [1, 2])
@pytest.mark.parametrize("length", [1, 5, 60])
def test_as_late_as_hold_allows(length, digits):
    """The constants of a row last until ``hold`` cycles after the next row's last element."""
    params = {"length": length, "pause": 0, "late": True, "parameters": ["random"] * 2}
    params |= {"kinds": ["extreme", "near", "uniform", "extreme", "one", "normal"]}
    params |= {"uncentred": length == 60, "digits": digits}
    run_cocotb(NormalizeCore(digits), __name__, params=params, testcase="rows")


def test_results_saturate_both_ways():
    """The test's own rows reach both bounds, and mostly neither."""
    rng = np.random.default_rng(53)
    data = np.array([row_of(kind, rng, 64) for kind in KINDS])
    results = []
    for kind in ["layer", *["edges", "random"] * 6]:
        gains, offsets, shift, epsilon = parameters(kind, rng, 64)
        results.append(normalize_rows(data, gains, offsets, shift, epsilon, 0, LOW, HIGH))
    values = np.concatenate(results)
    assert (values == LOW).any()
    assert (values == HIGH).any()
    assert ((values > LOW) & (values < HIGH)).mean() > 0.5
