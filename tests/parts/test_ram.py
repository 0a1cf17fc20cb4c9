# SPDX-License-Identifier: Apache-2.0
"""Block RAM against a list of words: plain arrays, and the cells of the ECP5; all with stalls."""

import random
from pathlib import Path

import cocotb
import pytest
from cocotb.triggers import FallingEdge

from kiwicha.hw.parts.dp16kd import cell_width
from kiwicha.hw.parts.ram import Ecp5Ram, Ram, ram_class
from kiwicha.hw.verilog.emit import emit_verilog
from kiwicha.machine.modes import CellFamily

from ..support.bench import bench_params, build_verilog, run_build, run_cocotb
from ..support.slow import slow
from ..support.streams import start_clock_and_reset

#: Width, depth, granularity: every shape of a cell, alone and several, with a part left over.
SHAPES = [
    (36, 512, None), (64, 512, None), (64, 32, None), (32, 64, 8), (40, 300, 8), (18, 1024, None),
    (24, 1024, 8), (9, 2048, None), (8, 2048, None), (32, 2048, 8), (64, 2048, 32), (8, 4096, None),
    (64, 4096, 8), (3, 8192, None), (2, 16384, None),
]
#: No cells: too deep, and pieces narrower than a cell that are no bytes.
LEFT = [(2, 32768, None), (16, 512, 4), (12, 1024, 6)]


def ecp5_model() -> str:
    """Return a model of DP16KD and PDPW16KD, of which Yosys has no more than the ports."""
    return (Path(__file__).parent / "dp16kd.v").read_text()


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def keeps_words(dut):
    width, depth, granularity = bench_params()["shape"]
    granularity = granularity or width
    chooser = random.Random(width * depth)
    dut.write.value = dut.read.value = dut.take.value = 0
    dut.write_address.value = dut.read_address.value = dut.write_data.value = 0
    await start_clock_and_reset(dut)
    # Few places, in all corners, so that they are met again and again.
    places = [0, 1, depth // 2 - 1, depth // 2, depth - 2, depth - 1]
    places += [chooser.randrange(depth) for _ in range(10)]
    words: dict[int, int] = {}
    latch = taken = None
    registered = bench_params().get("registered", True)
    compared = 0
    for cycle in range(1500):
        writes = chooser.random() < 0.7
        pieces = chooser.getrandbits(width // granularity) if writes else 0
        if cycle < len(places):  # all of them are written before anything is read
            pieces = (1 << width // granularity) - 1
        at = places[cycle % len(places)] if cycle < len(places) else chooser.choice(places)
        data = chooser.getrandbits(width)
        read = cycle >= len(places) and chooser.random() < 0.7
        take = read and chooser.random() < 0.8
        wanted = chooser.choice([place for place in places if place != at])
        dut.write.value, dut.write_address.value, dut.write_data.value = pieces, at, data
        dut.read.value, dut.read_address.value, dut.take.value = int(read), wanted, int(take)
        if take:
            taken = latch
        if read:
            latch = words[wanted]
        mask = sum(
            (1 << granularity) - 1 << granularity * piece
            for piece in range(width // granularity)
            if pieces >> piece & 1
        )
        words[at] = words.get(at, 0) & ~mask | data & mask
        await FallingEdge(dut.clk)
        shown = taken if registered else latch
        if shown is not None:
            assert int(dut.read_data.value) == shown, cycle
            compared += 1
    assert compared > 1000


def run_cells(text: str, shape) -> None:
    build = build_verilog(text + ecp5_model(), name="ecp5ram")
    run_build(build, __name__, params={"shape": shape})


def ecp5(shape) -> Ram:
    return Ecp5Ram(*shape[:2], granularity=shape[2])


@slow("(64, 512, None)", "(40, 300, 8)", "(24, 1024, 8)", "(8, 2048, None)", "(64, 4096, 8)")
@pytest.mark.parametrize("shape", [*SHAPES, *LEFT], ids=str)
def test_plain_logic(shape):
    run_cocotb(Ram(*shape[:2], granularity=shape[2]), __name__, params={"shape": shape})


@pytest.mark.parametrize("shape", [(64, 512, None), (32, 64, 8), (2, 32768, None)], ids=str)
def test_without_a_register(shape):
    unit = Ecp5Ram(*shape[:2], granularity=shape[2], registered=False)
    assert (unit.latency, Ecp5Ram(8, 16).latency) == (1, 2)
    assert "DP16KD" not in emit_verilog(unit)
    run_cocotb(unit, __name__, params={"shape": shape, "registered": False})


@slow(
    "(64, 32, None)", "(40, 300, 8)", "(24, 1024, 8)", "(8, 2048, None)", "(32, 2048, 8)",
    "(64, 4096, 8)",
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cells(shape):
    text = emit_verilog(ecp5(shape), "top")
    width = cell_width(shape[1])
    name = "PDPW16KD" if width == 36 else "DP16KD"
    count = text.count(f"  {name} #(")
    bits = shape[0] * 9 // 8 if shape[2] == 8 and width >= 9 else shape[0]
    assert count == -(-bits // width)
    run_cells(text, shape)


@pytest.mark.parametrize("shape", LEFT, ids=str)
def test_left_to_the_synthesis_tool(shape):
    assert emit_verilog(ecp5(shape)) == emit_verilog(Ram(*shape[:2], granularity=shape[2]))


@pytest.mark.parametrize(("shape", "right", "wrong"), [
    ((64, 32, None), '.REGMODE("OUTREG")', '.REGMODE("NOREG")'),
    ((64, 32, None), ".OCER(take)", ".OCER(1'h1)"),
    ((64, 32, None), ".CER(read)", ".CER(1'h1)"),
    ((32, 64, 8), ".BE2(write[2])", ".BE2(write[0])"),
    ((18, 1024, None), ".ADA1(write)", ".ADA1(1'h0)"),
    ((24, 1024, 8), ".ADA0(write[0])", ".ADA0(write[1])"),
    ((8, 4096, None), ".ADB13(read_address[11])", ".ADB13(1'h0)"),
    ((9, 2048, None), ".OCEB(take)", ".OCEB(1'h1)"),
])
def test_broken_cell_is_found(shape, right, wrong):
    text = emit_verilog(ecp5(shape), "top")
    assert right in text
    with pytest.raises(pytest.fail.Exception, match="keeps_words"):
        run_cells(text.replace(right, wrong), shape)


def test_choice():
    assert ram_class(CellFamily.ECP5) is Ecp5Ram
    assert ram_class(CellFamily.ICE40) is Ram
    assert ram_class(CellFamily.GENERIC) is Ram
    assert "DP16KD" not in emit_verilog(Ecp5Ram(8, 2048), cells=False)
    with pytest.raises(ValueError, match="^granularity is 5; legal: a divisor of 8$"):
        Ram(8, 16, granularity=5)
