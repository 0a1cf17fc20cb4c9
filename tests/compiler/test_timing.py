# SPDX-License-Identifier: Apache-2.0
"""What the performance model believes of formats, special functions and modes."""

import pytest

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.cost import fetch, timing
from kiwicha.cost.fetch import ProgramFetch, Read
from kiwicha.cost.timing import format_cycles, special_cycles
from kiwicha.hw.special.softmax_fixed import TfliteSoftmax
from kiwicha.hw.special.softmax_float import FloatSoftmax
from kiwicha.hw.vector.modes import block_pauses
from kiwicha.machine import blocks
from kiwicha.machine.isa import SpecialOperation, VectorMode, WeightFormat
from kiwicha.machine.latency import MUL_LATENCY, residual_latency
from kiwicha.machine.modes import BlockCriterion, BlockScale, SoftmaxMode
from kiwicha.machine.presets import preset

CONFIG = preset("default").replace(special={"lanes": 8})


def written(name, extent, size, columns, beat):
    """Writes of a matrix, byte by byte: a new one at each line, tile and full beat."""
    count, held = 0, 0
    for number in range(size):
        place = number % extent
        new_tile = name == WeightFormat.ROWS and place % columns == 0
        if place == 0 or new_tile or held == beat:
            count, held = count + 1, 0
        held += 1
    return count


@pytest.mark.parametrize("name", [WeightFormat.ROWS, WeightFormat.COLUMNS])
def test_formats(name):
    for columns, width in ((16, 128), (5, 64), (33, 128)):
        config = CONFIG.replace(columns=columns, axi_data_width=width, requantize_lanes=1)
        for extent in (1, 7, 16, 40, 100):
            for size in (1, extent, 3 * extent, 3 * extent + 2):
                expected = written(name, extent, size, columns, config.beat_bytes)
                assert format_cycles(config, name, extent, size) == expected


def test_the_softmax_is_measured_as_the_hardware_does():
    for mode, core in ((SoftmaxMode.ONNX, FloatSoftmax), (SoftmaxMode.TFLITE, TfliteSoftmax)):
        config = CONFIG.replace(special={"softmax": mode})
        alone = special_cycles(config, SpecialOperation.SOFTMAX, 1, 160)
        # Beats for the maximum, the sum a byte every `spacing` cycles, the results.
        assert alone == 11 + 160 * core.spacing + 160 + timing._MEASURE


def test_an_element_a_cycle():
    for operation in (SpecialOperation.TABLE, SpecialOperation.ADD, SpecialOperation.MUL):
        assert special_cycles(CONFIG, operation, 9, 16) == 144
    many = special_cycles(CONFIG, SpecialOperation.SOFTMAX, 800, 160)
    assert 1.0 < many / (800 * 160) < 1.2


@pytest.mark.parametrize("lanes", [1, 2, 8])
@pytest.mark.parametrize("block", [8, 64, 1024])
@pytest.mark.parametrize("scale", BlockScale)
def test_blocks_are_spaced_as_the_hardware_does(scale, block, lanes):
    for criterion in BlockCriterion:
        for ways in ([(8, 0)], [(4, 0), (8, 0), (4, 2)], [(4, 0)] * 8):
            config = CONFIG.replace(
                requantize_lanes=lanes,
                blocks={"channels": block, "scale": scale, "criterion": criterion, "ways": ways},
            )
            assert blocks.block_pauses(config) == block_pauses(config)  # asserts its units' own


@pytest.mark.parametrize(("first", "second", "waits"), [
    (VectorMode.REQUANTIZE, VectorMode.REQUANTIZE, False),
    (VectorMode.RAW, VectorMode.RAW, False),
    (VectorMode.REQUANTIZE, VectorMode.RAW, True),
    (VectorMode.MEASURE, VectorMode.QUANTIZE, True),
    (VectorMode.QUANTIZE, VectorMode.QUANTIZE, True),
    (VectorMode.RANGE, VectorMode.RANGE, True),
    (VectorMode.RANGE, VectorMode.SHIFT, True),
    (VectorMode.SHIFT, VectorMode.SHIFT, False),
])
def test_a_mode_waits_for_the_one_before(first, second, waits):
    builder = ProgramBuilder(CONFIG.replace(dynamic=True))
    for mode in (first, second):
        builder.vector({"channels": 1, "pixels": 50, "lines": 1, "mode": mode}, [], [])
    line = builder.timeline()
    steps = builder.instructions[0].cycles
    begins = line.end[0] + 1 if waits else line.start[0] + steps
    assert line.start[1] == begins


@pytest.mark.parametrize(("first", "second", "waits"), [
    ({}, {"target": 1}, True), ({"residual": 1}, {"residual": 1, "relu": 1}, True),
    ({"residual": 1, "relu": 1}, {"residual": 1, "relu": 1}, False), ({"low": 0}, {}, False),
])
def test_a_shift_waits_for_another_one(first, second, waits):
    builder = ProgramBuilder(CONFIG.replace(residual={"tables": 2}))
    for more in (first, second):
        fields = {"channels": 1, "pixels": 50, "lines": 1, "mode": VectorMode.SHIFT, **more}
        builder.vector(fields, [], [])
    line = builder.timeline()
    steps = builder.instructions[0].cycles
    assert line.start[1] == (line.end[0] + 1 if waits else line.start[0] + steps)


def test_a_mask_takes_no_time():
    builder = ProgramBuilder(CONFIG.replace(residual={"tables": 2}))
    for more in ({}, {"residual": 1, "relu": 1}, {"residual": 1}):
        fields = {"channels": 1, "pixels": 1, "lines": 1, "mode": VectorMode.SHIFT, **more}
        builder.vector(fields, [], [])
    plain, masked, added = (each.latency for each in builder.instructions)
    assert plain == masked == added - residual_latency(CONFIG)


def test_a_program_comes_in_chunks():
    unit = ProgramFetch(preset("small"))  # 16 words a chunk
    unit.hand_out(32, 0)
    assert unit.handed == fetch._FIRST + 32
    # The third chunk was asked for when the first was used up.
    unit.hand_out(1, 0)
    assert unit.handed == fetch._FIRST + 16 + fetch._ROUND_TRIP + 1
    unit.hand_out(1, 1000)
    assert unit.handed == 1000


@pytest.mark.parametrize(("idle", "delay"), [(0, 16), (10, 6), (16, 0)])
def test_what_reads_the_bus_makes_way_for_the_program(idle, delay):
    unit = ProgramFetch(preset("small"))
    first, second = Read(0, 0, 900, idle, 12), Read(1, 900, 964, 0, 1)
    unit.read(first)
    unit.read(second)
    assert unit.hand_out(17, 0) == bool(delay)
    assert (first.after, second.first, second.after) == (900 + delay, 900 + delay, 964 + delay)


def test_a_program_waits_behind_the_bursts_that_were_asked_for():
    config = preset("small")
    unit = ProgramFetch(config)
    unit.read(Read(0, 0, 6400, 0, 100))
    unit.hand_out(17, 0)
    asked, bursts = fetch._FIRST + 16, config.axi_outstanding * config.axi_burst_beats
    unit.hand_out(16, 0)
    assert unit.handed == pytest.approx(asked + bursts + 1, abs=1)


@pytest.mark.parametrize("operation", list(SpecialOperation))
def test_an_instruction_begins_when_the_last_result_is_written(operation):
    builder = ProgramBuilder(CONFIG)
    for _ in range(2):
        builder.special({"operation": operation, "length": 16}, 9, [], Range(Space.RESULT, 0, 9))
    line, elements = builder.timeline(), special_cycles(CONFIG, operation, 9, 16)
    assert line.start[1] - line.start[0] == elements + timing.SPECIAL_GAP.get(operation, 0)
    late = MUL_LATENCY if operation == SpecialOperation.MUL else 0
    assert line.end[0] - line.start[0] == elements + timing.SPECIAL_LATENCY + late


def test_a_row_is_measured_while_the_one_before_is_computed():
    one, nine = (
        special_cycles(CONFIG, SpecialOperation.NORMALIZE, rows, 32) for rows in (1, 9)
    )
    assert nine - one == 8 * (one - 32)
