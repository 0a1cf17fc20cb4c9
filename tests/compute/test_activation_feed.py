# SPDX-License-Identifier: Apache-2.0
"""Vectors at all corners of the image and of the fields, against the golden model."""

import random

import cocotb
import numpy as np
import pytest
from amaranth.hdl import signed
from amaranth.lib import data
from cocotb.triggers import FallingEdge

from kiwicha.golden.address_generator import activation_lanes, compute_steps
from kiwicha.hw.compute.activation_feed import FEED_OPERAND, FEED_POSITION, ActivationFeed
from kiwicha.machine.isa import LEVELS

from ..support.bench import bench_params, run_cocotb
from ..support.slow import slow
from ..support.streams import pack, start_clock_and_reset, unpack

FAR = 1 << 23


def random_operand(chooser, rows):
    corner = (-256, -1, 0, 1, 255, chooser.randrange(-256, 256))
    return {
        "activation_signed": chooser.randrange(2),
        "activation_zero": chooser.choice(corner),
        "pad": chooser.choice(corner),
        "rows": chooser.choice((1, rows, chooser.randint(1, rows))),
    }


def random_position(chooser, rows):
    near = chooser.randint(-rows - 1, rows + 1)
    x_limit = chooser.choice((0, 1, rows - 1, rows, rows + 1, 3 * rows, FAR, 2 * FAR - 1))
    y_limit = chooser.choice((0, 1, 7, 65535))
    return {
        "x": chooser.choice((-FAR, FAR - 1, 0, near, near, min(x_limit + near, FAR - 1))),
        "y": chooser.choice((-32768, -1, 0, 1, 6, 7, 32767)),
        "x_limit": x_limit,
        "y_limit": y_limit,
    }


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def feeds(dut):
    rows = bench_params()["rows"]
    depthwise = bench_params()["depthwise"]
    unit = ActivationFeed(rows, bench_params()["bytes_after"], depthwise=depthwise)
    chooser = random.Random(rows)
    single = {"count": 1, "y": 0, "x": 0, "address": 0}
    names = "tail line_tail accumulate weight weight_stride accumulator address"
    rest = dict.fromkeys(names.split(), 0)
    await start_clock_and_reset(dut)
    before, after, expected = [], [], []
    begins = [0]
    while begins[-1] < 800:
        begins.append(begins[-1] + chooser.choice((4, 5, 20)))
    operand, filtered = {}, 0
    for cycle in range(800):
        begin = cycle in begins
        if begin:
            operand = random_operand(chooser, rows)
            filtered = chooser.randrange(2) if depthwise else 0
        position = random_position(chooser, rows)
        scratchpad = np.frombuffer(chooser.randbytes(128), np.uint8)
        fields = {**operand, **position, **rest, "filter": filtered, "levels": [single] * LEVELS}
        lanes = activation_lanes(fields, compute_steps(fields), scratchpad, rows)[0]
        down = (1 << operand["rows"]) - 1 if filtered else 0
        expected.append((lanes.tolist(), filtered, down))
        before.append((operand, filtered))
        after.append(scratchpad)

        dut.position.value = pack(FEED_POSITION, position)
        dut.begin.value = int(begin)
        # Elsewhere than where they count, operand and bytes are noise.
        late = cycle - unit.operand_after
        live = late == 0 or (late > 0 and before[late][0] is not before[late - 1][0])
        dut.operand.value = (
            pack(FEED_OPERAND, before[late][0]) if live else chooser.getrandbits(FEED_OPERAND.size)
        )
        if depthwise:
            dut.filter.value = before[late][1] if live else chooser.randrange(2)
        late = max(0, cycle - unit.bytes_after)
        dut.bytes.value = int.from_bytes(after[late][:rows].tobytes(), "little")
        await FallingEdge(dut.clk)
        if cycle >= unit.latency - 1:
            layout = data.ArrayLayout(signed(9), rows)
            found = unpack(layout, dut.lanes.value.to_unsigned()), 0, 0
            if depthwise:
                found = found[0], int(dut.filtered.value), dut.down.value.to_unsigned()
            index = cycle - unit.latency + 1
            gaps = (index + near for near in range(1, unit.gap))
            assert any(gap in begins for gap in gaps) or found == expected[index]


@slow("2-5", "16-5", "64-5", "3-4")
@pytest.mark.parametrize(("rows", "bytes_after"), [
    *((rows, 5) for rows in (1, 2, 3, 8, 16, 33, 64, 128)), *((rows, 4) for rows in (1, 3, 33)),
])
def test_feeds(rows, bytes_after):
    unit = ActivationFeed(rows, bytes_after)
    assert unit.latency == bytes_after + 1
    params = {"rows": rows, "bytes_after": bytes_after, "depthwise": False}
    run_cocotb(unit, __name__, params=params)


@pytest.mark.parametrize(("rows", "bytes_after"), [(2, 4), (3, 5), (8, 4), (16, 5)])
def test_feeds_columns(rows, bytes_after):
    params = {"rows": rows, "bytes_after": bytes_after, "depthwise": True}
    run_cocotb(ActivationFeed(rows, bytes_after, depthwise=True), __name__, params=params)


def test_illegal_parameters():
    with pytest.raises(ValueError, match=r"^rows is 129; legal: 1 to 128$"):
        ActivationFeed(129, 5)
    with pytest.raises(ValueError, match=r"^bytes_after is 3; legal: at least 4$"):
        ActivationFeed(8, 3)
