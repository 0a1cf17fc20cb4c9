# SPDX-License-Identifier: Apache-2.0
"""The softmax cores against the golden model, and the reciprocals against the integers' own."""

import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from kiwicha.golden import softmax as golden
from kiwicha.hw.special.softmax import softmax_core
from kiwicha.hw.special.softmax_common import ADD, DIVIDE, SLOTS
from kiwicha.hw.special.softmax_reciprocal import IntegerReciprocal, NewtonReciprocal
from kiwicha.machine.modes import SoftmaxMode
from kiwicha.machine.tables import softmax_tables

from ..support.bench import bench_params, run_cocotb
from ..support.streams import (
    READY_POLICIES,
    StreamSink,
    StreamSource,
    pack,
    start_clock_and_reset,
)

MODES = [mode.value for mode in SoftmaxMode]

#: Most cycles for which a close holds idle low.
CLOSE = {"onnx": 5, "tflite": 45, "integer": 22}


def rows_of(mode, rng, count, length):
    """Rows below their maximum: (terms to add, dividends, expected quotients), all [count][n]."""
    x_scale, y_scale = float(rng.choice([0.005, 0.02, 0.11, 0.5])), 1 / 256
    below = rng.integers(0, 256, (count, length)) >> rng.integers(0, 8, (count, 1))
    below[np.arange(count), rng.integers(0, length, count)] = 0
    if mode == "onnx":
        y_scale = float(rng.choice([1 / 256, 0.01, 0.004]))
        expected = golden.softmax_onnx(below, np.float32(x_scale), np.float32(y_scale))
    elif mode == "tflite":
        expected = golden.softmax_tflite(below, float(np.float32(x_scale)))
    else:
        expected = golden.softmax_integer(below, float(np.float32(x_scale)))
    summed, divided = (
        table.astype(np.int64) for table in softmax_tables(mode, x_scale, length, y_scale)
    )
    if mode != "onnx":
        # The exponentials in full, wherever they are, and for TFLite's sum 12 bits shorter.
        divided = np.maximum(summed, divided)
        summed = divided if mode == "integer" else (divided + (1 << 11)) >> 12
    return summed[below].tolist(), divided[below].tolist(), expected.tolist()


class Driver:
    """Sets the core's inputs cycle by cycle, just after a falling edge, and collects quotients."""

    def __init__(self, dut, core):
        self.dut, self.core = dut, core
        self.quotients, self.due = [], []
        self.cycle = 0

    async def step(self, *, add=None, divide=None, close=None):
        """One cycle; return whether the close was taken."""
        dut = self.dut
        dut.add__valid.value, dut.divide__valid.value = add is not None, divide is not None
        dut.add__payload.value = random.getrandbits(37) if add is None else pack(ADD, add)
        dut.divide__payload.value = (
            random.getrandbits(36) if divide is None else pack(DIVIDE, divide)
        )
        dut.close__valid.value = close is not None
        dut.close__payload.value = random.getrandbits(4) if close is None else close
        if divide is not None:
            self.due.append(self.cycle + self.core.latency)
        await RisingEdge(dut.clk)
        ready = getattr(dut, "close__ready", None)
        taken = close is not None and (ready is None or bool(ready.value))
        assert bool(dut.o__valid.value) == (self.cycle in self.due[-self.core.latency - 1 :])
        if dut.o__valid.value:
            self.quotients.append(dut.o__payload.value.to_signed())
        self.cycle += 1
        await FallingEdge(dut.clk)
        return taken


@cocotb.test()
async def sets_of_rows(dut):
    """One set of rows is summed as fast as ``spacing`` allows while the other is divided."""
    mode, seed = bench_params()["mode"], bench_params()["seed"]
    rng, chooser = np.random.default_rng(seed), random.Random(str(seed))
    core = softmax_core(mode)
    await start_clock_and_reset(dut)
    driver = Driver(dut, core)
    before, expected, closing = [], [], []
    for turn in range(8):
        # As many rows as the spacing asks for, or more, or fewer with pauses.
        count = [core.spacing, SLOTS // 2, 1][turn % 3]
        # ONNX Runtime overflows in rows of one element.
        length = [2 if mode == "onnx" else 1, 3, 40, 17][turn % 4]
        slots = chooser.sample(range(SLOTS // 2), count)
        slots = [slot + SLOTS // 2 * (turn % 2) for slot in slots]
        terms, dividends, quotients = rows_of(mode, rng, count, length)
        period = max(count, core.spacing)
        adds = [
            {"slot": slots[row], "first": place == 0, "value": terms[row][place]}
            if row < count
            else None
            for place in range(length)
            for row in range(period)
        ]
        while adds[-1] is None:
            adds.pop()
        for k in range(max(len(adds), len(before))):
            # The last row is closed in the cycle of its last addition, at the earliest.
            add = adds[k] if k < len(adds) else None
            divide = before[k] if k < len(before) else None
            await driver.step(add=add, divide=divide)
        for slot in chooser.sample(slots, count):
            while not await driver.step(close=slot):
                pass
        begin = driver.cycle
        while not dut.idle.value:
            await driver.step()
        closing.append(driver.cycle - begin)
        places = [(row, place) for row in range(count) for place in range(length)]
        if chooser.random() < 0.5:
            chooser.shuffle(places)
        before = [{"slot": slots[r], "value": dividends[r][p]} for r, p in places]
        expected += [quotients[r][p] for r, p in places]
    for divide in before:
        await driver.step(divide=divide)
    for _ in range(core.latency + 2):
        await driver.step()
    assert driver.quotients == expected
    assert max(closing) == CLOSE[mode], f"closes took {closing}"


@cocotb.test()
async def close_with_the_last_addition(dut):
    """A row is added, closed in its last cycle and divided by as soon as the core is idle."""
    mode = bench_params()["mode"]
    core = softmax_core(mode)
    await start_clock_and_reset(dut)
    driver, expected = Driver(dut, core), []
    terms, dividends, quotients = rows_of(mode, np.random.default_rng(42), 40, 4)
    for row in range(40):
        slot = row % SLOTS
        for place, value in enumerate(terms[row]):
            last = place == 3
            add = {"slot": slot, "first": place == 0, "value": value}
            assert await driver.step(add=add, close=slot if last else None) == last
            for _ in range(0 if last else core.spacing - 1):
                await driver.step()
        while not dut.idle.value:
            await driver.step()
        for place in range(4):
            await driver.step(divide={"slot": slot, "value": dividends[row][place]})
        expected += quotients[row]
    for _ in range(core.latency + 2):
        await driver.step()
    assert driver.quotients == expected


def on_the_edge(mode, rng):
    """A sum, dividends around those where the quotient changes, and the quotients."""
    if mode == "tflite":
        total = int(rng.integers(1 << 19, 1 << 28)) >> int(rng.integers(0, 9)) | 1 << 19
        factor, exponent = (int(part) for part in golden.reciprocal(np.array(total)))
        # Least dividends of a product, before its own rounding, half a unit below a threshold.
        steps = rng.integers(0, max(factor >> exponent, 1), 8).tolist()
        least = [-(-(((2 * k + 1 << exponent) - 1) << 30) // factor) for k in steps]
        values = [min(max(v + d, 0), (1 << 31) - 1) for v in least for d in (-1, 0, 1)]
        high = [(factor * v + (1 << 30)) >> 31 for v in values]
        return total, values, [(h + (1 << exponent - 1)) >> exponent for h in high]
    total = int(rng.integers(1 << 15, 1 << 32)) >> int(rng.integers(0, 17)) | 1 << 15
    factor = (1 << 32) // total
    least = [-(-(k << 24) // factor) for k in rng.integers(0, 256, 8).tolist()]
    values = [min(v + d, 65535, total) for v in least for d in (-1, 0, 1) if v + d >= 0]
    return total, values, [factor * v >> 24 for v in values]


@cocotb.test()
async def thresholds(dut):
    """Fixed point: what the last bit of a sum, a factor or a product decides."""
    mode = bench_params()["mode"]
    core, rng = softmax_core(mode), np.random.default_rng(45)
    await start_clock_and_reset(dut)
    driver, expected = Driver(dut, core), []
    for row in range(60):
        total, values, quotients = on_the_edge(mode, rng)
        add = {"slot": row % SLOTS, "first": 1, "value": total}
        await driver.step(add=add, close=row % SLOTS)
        while not dut.idle.value:
            await driver.step()
        for value in values:
            await driver.step(divide={"slot": row % SLOTS, "value": value})
        expected += quotients
    for _ in range(core.latency + 2):
        await driver.step()
    assert driver.quotients == expected
    assert len(set(expected)) > 100


@cocotb.test()
async def reciprocals(dut):
    params = bench_params()
    unit = {"newton": NewtonReciprocal, "integer": IntegerReciprocal}[params["unit"]]
    await start_clock_and_reset(dut)
    rng = np.random.default_rng(43)
    bits = (19, 31) if params["unit"] == "newton" else (15, 32)
    size = rng.integers(*bits, params["count"])
    totals = (1 << size) + rng.integers(0, 1 << size)
    edges = [(1 << k) + d for k in range(*bits) for d in (0, 1)] + [(1 << bits[1]) - 1]
    totals = np.append(totals, edges + ([32767] if params["unit"] == "integer" else []))
    sink = StreamSink(dut, "o", unit.factor, policy=params["ready"])
    StreamSource(dut, "i", policy=params["offer"]).put(totals.tolist())
    got = await sink.receive(totals.size)
    if params["unit"] == "newton":
        factor, exponent = golden.reciprocal(totals)
        assert [word["factor"] for word in got] == factor.tolist()
        assert [word["shift"] + 23 for word in got] == exponent.tolist()
    else:
        assert [word["factor"] for word in got] == ((1 << 32) // totals).tolist()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_sets(mode, seed):
    params = {"mode": mode, "seed": seed}
    run_cocotb(softmax_core(mode)(), __name__, params=params, testcase="sets_of_rows")


@pytest.mark.parametrize("mode", MODES)
def test_close_at_once(mode):
    core = softmax_core(mode)()
    run_cocotb(core, __name__, params={"mode": mode}, testcase="close_with_the_last_addition")


@pytest.mark.parametrize("mode", ["tflite", "integer"])
def test_thresholds(mode):
    run_cocotb(softmax_core(mode)(), __name__, params={"mode": mode}, testcase="thresholds")


@pytest.mark.parametrize("ready", READY_POLICIES)
@pytest.mark.parametrize("unit", ["newton", "integer"])
def test_reciprocals(unit, ready):
    reciprocal = {"newton": NewtonReciprocal, "integer": IntegerReciprocal}[unit]()
    count = 400 if ready == "always" else 60
    offer = "always" if ready == "always" else "random"
    params = {"unit": unit, "count": count, "ready": ready, "offer": offer}
    run_cocotb(reciprocal, __name__, params=params, testcase="reciprocals")


def test_newton_is_a_reciprocal():
    """gemmlowp's iteration is right to 27 bits."""
    rng = np.random.default_rng(44)
    totals = np.append(rng.integers(1 << 19, 1 << 31, 100_000), 1 << np.arange(19, 31))
    factor, exponent = golden.reciprocal(totals)
    assert factor.min() >= 1 << 30
    assert factor.max() < 1 << 31
    assert abs(factor * 2.0**23 / 2.0**exponent * (totals / 2.0**50) - 1).max() < 2.0**-27


def test_modes():
    assert {softmax_core(mode).spacing for mode in SoftmaxMode} == {2, 6}
    with pytest.raises(ValueError, match="float"):
        softmax_core("float")
