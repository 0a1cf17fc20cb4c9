# SPDX-License-Identifier: Apache-2.0
"""What the performance model believes of formats, special functions and modes."""

import numpy as np
import pytest

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.forwarding import Block, ForwardingBuilder, Plan, stored
from kiwicha.compiler.emit.instruction import Transfer
from kiwicha.cost import fetch, performance, timing
from kiwicha.cost.fetch import ProgramFetch, Read
from kiwicha.cost.timing import format_cycles, softmax_cycles, special_cycles, special_gap
from kiwicha.hw.special.softmax_fixed import TfliteSoftmax
from kiwicha.hw.special.softmax_float import FloatSoftmax
from kiwicha.hw.vector.modes import block_pauses
from kiwicha.machine import blocks
from kiwicha.machine.isa import (
    Engine,
    LoadTarget,
    SpecialOperation,
    VectorMode,
    WeightFormat,
)
from kiwicha.machine.latency import (
    ADD_LATENCY,
    FIXED_PAIR_LATENCY,
    compute_latency,
    instruction_gap,
    requests_ahead,
    residual_latency,
)
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
        passes = timing._SOFTMAX_MEASURED + timing._SOFTMAX_APPLIED
        assert alone == 10 + (159 * core.spacing + 1) + 1 + 160 + passes


def test_a_softmax_is_measured_while_the_one_before_is_computed():
    for rows, length in ((4, 16), (8, 12), (20, 33)):
        builder, place = ProgramBuilder(CONFIG), Range(Space.RESULT, 0, 9)
        fields = {"operation": SpecialOperation.SOFTMAX, "length": length}
        for _ in range(4):
            builder.special(fields, rows, [], place)
        builder.special({**fields, "operation": SpecialOperation.ADD}, rows, [], place)
        line, measured = builder.timeline(), softmax_cycles(CONFIG, rows, length)[0]
        done = line.end - builder.instructions[0].latency
        assert line.start[1] == line.start[0] + measured
        # The third one is not taken before the first one is through.
        assert line.start[2] == max(line.start[1] + measured, done[0])
        assert np.all(np.diff(done[:4]) >= rows * length)
        assert line.start[4] == done[3]


def test_a_sum_waits_for_the_lanes_that_are_counted():
    """Its check takes a cycle for each bit of the rows, or for each lane."""
    latencies = []
    for rows, total in ((1, 1), (2, 4), (8, 16), (2, 16)):
        builder = ProgramBuilder(CONFIG)
        fields = {"operation": SpecialOperation.ADD, "length": 16, "total": total}
        builder.special(fields, rows, [], Range(Space.RESULT, 0, 9))
        latencies.append(builder.instructions[0].latency)
    assert [each - latencies[0] for each in latencies] == [0, 1, 3, 7]


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
    unit.hand_out(16, 0)
    # From the first cycle on: those in flight, and as many that are on their way to the bus.
    bursts = requests_ahead(config)
    assert bursts == 2 * config.axi_outstanding
    assert unit.handed == pytest.approx(bursts * config.axi_burst_beats + 1, abs=1)


def test_a_store_on_chip_takes_cycles_of_a_load():
    def ends(forwarded, reads):
        builder = ForwardingBuilder(CONFIG)
        if reads[0]:
            builder.load(LoadTarget.WEIGHT, Transfer(4096, 0, 4096))
        run = Transfer(0, 0, 512)
        if forwarded:
            block = Block(LoadTarget.ACTIVATION, "key", 512, 0, 0)
            block.cuts[stored(run)] = [run]
            builder.plan = Plan({stored(run): [block]})
        else:
            builder.store(run)
        builder.store(run)
        if reads[1]:
            builder.load(LoadTarget.WEIGHT, Transfer(65536, 0, 4096))
        instructions = builder.instructions
        at = [i for i, each in enumerate(instructions) if each.engine == Engine.LOAD]
        return builder.timeline().end[at]

    beats = 512 // CONFIG.beat_bytes
    for reads in ((True, False), (False, True)):  # which begin meanwhile
        assert 0 < ends(True, reads) - ends(False, reads) <= beats
    unit, read = ProgramFetch(CONFIG), Read(0, 0, 900, 0, 15)
    unit.make_way(910, 32)
    unit.read(read)
    assert unit.make_way(500, 32)
    assert read.after == 932
    later = Read(1, 932, 1000, 0, 1)
    unit.read(later)
    assert later.after == 1010  # of the first 32 beats, what it meets


def test_who_waits_for_a_load_waits_for_what_goes_before_it_too():
    """Words that are asked for later than the reader is played make the LOAD longer."""
    builder = ProgramBuilder(CONFIG)
    builder.load(LoadTarget.WEIGHT, Transfer(65536, 0, 16384))
    levels = [{"count": 16}] + [{"count": 1}] * 6
    fields = {"levels": levels, "rows": 16, "accumulate": 0}
    place, entry = Range(Space.WEIGHT, 0, 16384), Range(Space.ACCUMULATOR, 0, 1)
    builder.compute(fields, 16, [place], entry)
    alone = builder.timeline().end[0]
    builder = ProgramBuilder(CONFIG)
    builder.load(LoadTarget.WEIGHT, Transfer(65536, 0, 16384))
    builder.compute(fields, 16, [place], entry)
    builder.vector({"channels": 16, "pixels": 16, "lines": 1}, [entry], [])
    for _ in range(8):
        builder.store(Transfer(0, 0, 16))
    line = builder.timeline()
    assert line.end[0] > alone
    assert line.start[1] == line.end[0] + performance._TOKEN
    assert line.start[2] == line.end[1] + performance._TOKEN + 1


def test_the_last_pass_is_done_when_its_last_step_is():
    """It is stretched while weights come that the next one needs, which nobody waits for."""
    def timeline(steps):
        builder = ProgramBuilder(CONFIG)
        for _ in range(2):
            levels = [{"count": steps}] + [{"count": 1}] * 6
            fields = {"levels": levels, "rows": 16, "accumulate": 0}
            builder.compute(fields, max(16, steps), [], Range(Space.ACCUMULATOR, 0, 1))
        return builder.timeline()

    full, part = timeline(16), timeline(5)
    assert part.end[0] == full.end[0] - 11
    assert full.start[1] == full.start[0] + 16 + instruction_gap(CONFIG)
    assert part.start[1] == part.start[0] + 16
    assert full.end[0] - full.start[0] == 16 - 1 + compute_latency(CONFIG)


@pytest.mark.parametrize("operation", list(SpecialOperation))
def test_an_instruction_begins_when_the_last_result_is_written(operation):
    builder = ProgramBuilder(CONFIG)
    for _ in range(2):
        builder.special({"operation": operation, "length": 16}, 9, [], Range(Space.RESULT, 0, 9))
    line, elements = builder.timeline(), special_cycles(CONFIG, operation, 9, 16)
    elements += special_gap(CONFIG, operation)
    if operation == SpecialOperation.SOFTMAX:
        assert line.start[1] - line.start[0] == softmax_cycles(CONFIG, 9, 16)[0]
    else:
        assert line.start[1] - line.start[0] == elements
    check = 4  # the bits of 9
    assert line.end[0] - line.start[0] == elements + timing.SPECIAL_LATENCY + check
    fixed = CONFIG.replace(requantize_mode="tflite", special={"lanes": 8, "softmax": "tflite"})
    float_sum, sum_ = (special_gap(c, SpecialOperation.ADD) for c in (CONFIG, fixed))
    assert sum_ - float_sum == FIXED_PAIR_LATENCY - ADD_LATENCY


def test_a_row_is_measured_while_the_one_before_is_computed():
    one, nine = (
        special_cycles(CONFIG, SpecialOperation.NORMALIZE, rows, 32) for rows in (1, 9)
    )
    assert nine - one == 8 * (one - 32)
