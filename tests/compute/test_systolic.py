# SPDX-License-Identifier: Apache-2.0
"""The array against the golden product: many shapes, tiles at the tightest legal schedule."""

import json
import random
from typing import Any

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.golden.systolic import OPERAND_MIN, column_filter, matmul
from kiwicha.hw.compute.systolic import SystolicArray
from kiwicha.machine.modes import CellFamily

from ..support.bench import bench_params, run_cocotb
from ..support.slow import slow
from ..support.streams import pack, start_clock_and_reset
from .operands import operand

SHAPES = [(1, 1), (1, 4), (5, 1), (3, 5), (4, 4), (8, 16), (7, 2), (2, 8), (3, 23)]


def schedule(
    rows: int,
    columns: int,
    timing: dict[str, int],
    *,
    seed: int,
    tiles: int = 6,
    gaps: float = 0.0,
    weight_gaps: float = 0.0,
    early_switch: int = 0,
    early_reload: int = 0,
    depthwise: bool = False,
) -> dict[str, Any]:
    """Return {weight, vector: {cycle: word}, expected: {cycle: [(column, sum)]}}.

    Every tile comes at the first legal cycle, less ``early_switch`` or ``early_reload``. With
    ``depthwise`` some tiles filter, without gaps.
    """
    chooser = random.Random(f"{seed} {rows} {columns}")
    words: dict[int, tuple[list[int], int]] = {}
    vectors: dict[int, tuple[list[int], int]] = {}
    expected: dict[int, list[tuple[int, int]]] = {}
    weight_free = vector_free = reload_from = 0
    for tile in range(tiles):
        # Rows that only later tiles load hold the zeros of reset in the first one.
        live = chooser.randint(1, rows) if tile == 0 else rows
        weights = [[operand(chooser) for _ in range(columns)] for _ in range(live)]
        if tile == 1:
            weights = [[OPERAND_MIN] * columns for _ in range(live)]
        cycle = max(weight_free, reload_from)
        switch_from = 0
        for row, lanes in enumerate(weights):
            while row and chooser.random() < weight_gaps:
                cycle += 1
            words[cycle] = (lanes, int(row == 0))
            switch_from = max(switch_from, cycle - row + timing["switch_after"])
            cycle += 1
        weight_free = cycle
        cycle = max(vector_free, switch_from - early_switch)
        reload_from = cycle + timing["reload_after"] - early_reload
        padded = weights + [[0] * columns] * (rows - live)
        taps = chooser.randint(1, live) if depthwise and chooser.random() < 0.7 else 0
        mode = (int(taps > 0), (1 << taps) - 1) if depthwise else ()
        begin, entered = cycle, []
        for index in range(chooser.choice([1, 2, columns, rows + 3]) + max(0, taps - 1)):
            while index and not taps and chooser.random() < gaps:
                cycle += 1
            lanes = [OPERAND_MIN if tile == 1 else operand(chooser) for _ in range(rows)]
            vectors[cycle] = (lanes, int(index == 0), *mode)
            entered.append(lanes)
            for column, value in enumerate(matmul([lanes], padded)[0].tolist() if not taps else ()):
                expected.setdefault(cycle + timing["latency"] + column, []).append((column, value))
            cycle += 1
        for index, sums in enumerate(column_filter(entered, weights[:taps]) if taps else ()):
            for column, value in enumerate(sums.tolist()):
                place = begin + index + timing["latency"] + column
                expected.setdefault(place, []).append((column, value))
        vector_free = cycle
    return {"weight": words, "vector": vectors, "expected": expected}


def present(dut, port, shape, word, names, chooser):
    """Drive a valid-only port: ``word``, or noise while there is none."""
    getattr(dut, f"{port}__valid").value = int(word is not None)
    payload = getattr(dut, f"{port}__payload")
    if word is None:
        payload.value = chooser.getrandbits(len(payload))
    else:
        payload.value = pack(shape, dict(zip(names, word, strict=True)))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def multiplies(dut):
    params = bench_params()
    rows, columns = params["rows"], params["columns"]
    depthwise = params["schedule"].get("depthwise", False)
    unit = SystolicArray(rows, columns, depthwise=depthwise)
    names = ("lanes", "switch", *(("filter", "down") if depthwise else ()))
    shapes = [port.payload.shape() for port in (unit.i, unit.weight)]
    plan = schedule(rows, columns, params["timing"], **params["schedule"])
    chooser = random.Random(rows + columns)
    await start_clock_and_reset(dut)
    checked = 0
    for cycle in range(max(plan["expected"]) + 1):
        for column, value in plan["expected"].get(cycle, ()):
            bits = dut.psum.value[32 * column + 31 : 32 * column]
            assert bits.is_resolvable, f"cycle {cycle} column {column}: {bits}"
            seen = bits.to_signed()
            assert seen == value, f"cycle {cycle} column {column}: {seen}, not {value}"
            checked += 1
        present(dut, "i", shapes[0], plan["vector"].get(cycle), names, chooser)
        present(dut, "weight", shapes[1], plan["weight"].get(cycle), ("lanes", "first"), chooser)
        await FallingEdge(dut.clk)
    if not depthwise:
        assert checked == columns * len(plan["vector"])
    assert checked


def run(
    rows: int,
    columns: int,
    *,
    multiplier: CellFamily = CellFamily.GENERIC,
    uninitialized: bool = False,
    simulator: str | None = None,
    **options: Any,
) -> None:
    depthwise = options.get("depthwise", False)
    unit = SystolicArray(rows, columns, multiplier=multiplier, depthwise=depthwise)
    timing = {name: getattr(unit, name) for name in ("latency", "switch_after", "reload_after")}
    run_cocotb(
        unit,
        __name__,
        testcase="multiplies",
        params={"rows": rows, "columns": columns, "timing": timing, "schedule": options},
        uninitialized=uninitialized,
        simulator=simulator,
    )


@slow("1-4", "5-1", "4-4", "7-2")
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_tightest_schedule(rows, columns):
    run(rows, columns, seed=1)


@slow("2-4-4", "3-3-5", "3-4-15")
@pytest.mark.parametrize(("rows", "columns"), [*SHAPES[3:5], (4, 15)])
@pytest.mark.parametrize("seed", [2, 3])
def test_gaps(rows, columns, seed):
    run(rows, columns, seed=seed, gaps=0.4, weight_gaps=0.4, tiles=10)


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (5, 1), (2, 15)])
def test_nothing_undefined_reaches_a_result(rows, columns, icarus):
    run(rows, columns, seed=4, gaps=0.2, weight_gaps=0.2, uninitialized=True, simulator=icarus)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 5), (5, 3), (8, 8), (2, 9)])
def test_columns_filter(rows, columns):
    run(rows, columns, seed=7, tiles=12, gaps=0.2, depthwise=True)


def test_columns_filter_with_slower_multiplier():
    run(4, 3, multiplier=CellFamily.ECP5, seed=8, tiles=12, depthwise=True)


def test_slower_multiplier():
    # All timing follows from the multiplier's latency.
    run(3, 5, multiplier=CellFamily.ECP5, seed=6, gaps=0.2, weight_gaps=0.2)


def test_verilator():
    run(4, 4, seed=5, gaps=0.2, weight_gaps=0.2, simulator="verilator")


@pytest.mark.parametrize("columns", [5, 15])
@pytest.mark.parametrize("early", ["early_switch", "early_reload"])
def test_one_cycle_earlier_is_wrong(early, columns):
    with pytest.raises(pytest.fail.Exception, match="column"):
        run(3, columns, seed=1, **{early: 1})


def test_attributes():
    unit = SystolicArray(3, 5)
    assert (unit.latency, unit.switch_after, unit.reload_after) == (5, 2, 3)
    assert SystolicArray(3, 5, multiplier=CellFamily.ECP5).latency == 7
    assert SystolicArray(5, 1).reload_after == 0
    # Wider arrays do not wait longer.
    assert SystolicArray(3, 7).reload_after == SystolicArray(3, 128).reload_after == 5
    assert json.dumps(unit.multiplier) == '"generic"'


@pytest.mark.parametrize(("rows", "columns", "text"), [
    (0, 4, "rows is 0; legal: 1 to 128"),
    (4, 129, "columns is 129; legal: 1 to 128"),
])
def test_illegal_shapes(rows, columns, text):
    with pytest.raises(ValueError, match=f"^{text}$"):
        SystolicArray(rows, columns)
