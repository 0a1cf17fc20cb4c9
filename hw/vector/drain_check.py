# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a VECTOR instruction whatever it leads to: fields, and places far outside."""

from amaranth.hdl import Cat, Const, Mux, Value
from amaranth.lib import data
from amaranth.utils import exact_log2

from kiwicha.hw.vector.entry_walk import asked_window
from kiwicha.hw.vector.modes import asks_words, vector_modes
from kiwicha.hw.vector.operand_walk import asks_operand, is_real
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SLOTS, RealFunction, VectorMode
from kiwicha.machine.shifts import ACTIVATION_BITS

__all__ = ["illegal_fields", "places_outside"]

_SCALED, _GATED = RealFunction.SCALED, RealFunction.GATED


def illegal_fields(cfg: AcceleratorConfig, asked: data.View) -> Value:
    """Return bits, all 0 if no field is illegal: a few, as one would take too many levels."""
    return Cat(
        Cat(
            *(() if cfg.residual or cfg.real else (asked.residual, asked.sums)),
            _foreign_fields(cfg, asked), *_wrong_window(cfg, asked),
        ).any(),
        Cat(asked.channels == 0, asked.pixels == 0, asked.lines == 0).any(),
        _channels_beyond(cfg, asked) | _wrong_bounds(cfg, asked).any(),
    )


def places_outside(cfg: AcceleratorConfig, asked: data.View) -> Value:
    """Return bits, all 0 unless a place is outside its memory by bits that a walker does not keep.

    Of a pitch it keeps one more than of a place.
    """
    entry_bits, place_bits = exact_log2(cfg.accumulator_depth), exact_log2(cfg.output_bytes)
    parameter_bits = exact_log2(cfg.parameter_channels // cfg.parameter_lanes)
    return Cat(
        Cat(
            asked.accumulator[entry_bits:],
            asked.pixels[entry_bits + 1 :],
            asked.lines[entry_bits + 1 :],
            asked.parameter[parameter_bits:],
            asked.local[place_bits:],
            *_foreign_places(cfg, asked, place_bits, entry_bits),
        ).any(),
        (asked.pixels != 1) & exceeds(asked.pixel_pitch, place_bits + 1),
        (asked.lines != 1) & exceeds(asked.line_pitch, place_bits + 1),
    )


def _foreign_places(
    cfg: AcceleratorConfig, asked: data.View, place_bits: int, entry_bits: int
) -> list[Value]:
    """Return what of scales and column tiles lies outside the memories in any case."""
    found, (window, windowed) = [], asked_window(cfg, asked)
    if cfg.pooling:
        steps = (asked.tile_entries, window.pixel_entries, window.line_entries)
        found = [windowed & Cat(step[entry_bits:] for step in steps).any()]
    if cfg.real:
        found.append(asks_operand(asked) & asked.scales[exact_log2(cfg.real.bytes) :].any())
    if not cfg.blocks.channels:
        return found
    wide = asks_words(cfg, asked)
    highest = (asked.channels - 1)[:16]
    scaled = asked.mode == VectorMode.BLOCK if cfg.pooling or cfg.real else Const(1)
    return [
        *found,
        scaled & asked.scales[place_bits:].any(),
        asked.tile_entries[entry_bits:].any() & asked.tiles.any(),
        highest[place_bits:].any() | (wide & highest[place_bits - 2 :].any()),
    ]


def _channels_beyond(cfg: AcceleratorConfig, asked: data.View) -> Value:
    """Return whether there are more channels than in the column tiles, or a tile without."""
    columns = cfg.columns
    if not cfg.blocks.channels:
        return asked.channels > columns
    full = asked.tiles * columns
    return (asked.channels <= full) | (asked.channels > full + columns)


def exceeds(value: Value, width: int) -> Value:
    """Return whether a signed value needs more than ``width`` bits."""
    return (value[width - 1 :] != 0) & ~value[width - 1 :].all()


def _wrong_window(cfg: AcceleratorConfig, asked: data.View) -> list[Value]:
    """Return bits that say what is wrong with windows: their size, or what goes with none."""
    if not cfg.pooling:
        return []
    window, windowed = asked_window(cfg, asked)
    sizes = window.rows, window.columns
    wrong = [size == 0 for size in sizes] + [size > cfg.pooling.window for size in sizes]
    if cfg.blocks.channels:
        wrong.append(asked.tiles.any())
    if cfg.statistics.elements:
        wrong.append(asked.statistics)
    return [windowed & Cat(wrong).any()]


def _wrong_bounds(cfg: AcceleratorConfig, asked: data.View) -> Value:
    """Return bits that say what is wrong with zero point and clamp, unless they are an index."""
    wrong = Cat(
        *(exceeds(value, 9) for value in (asked.zero_point, asked.low, asked.high)),
        asked.low[:9].as_signed() > asked.high[:9].as_signed(),
    )
    return Mux(asked.mode == VectorMode.BLOCK, 0, wrong) if cfg.blocks.random else wrong


def _foreign_fields(cfg: AcceleratorConfig, asked: data.View) -> Value:
    """Return bits of modes and fields that this machine, or this mode, has not: they must be 0.

    What a machine has nothing of stays as it is, for one OR of all such bits is smaller than one of
    their ORs.
    """
    modes, mode = vector_modes(cfg), asked.mode
    if cfg.real:
        dynamic, operand = is_real(mode), asks_operand(asked)
    else:
        dynamic, operand = (mode == VectorMode.MEASURE) | (mode == VectorMode.QUANTIZE), None
    measures = mode == VectorMode.MEASURE if cfg.dynamic else Const(0)
    uncounted = measures | (mode == VectorMode.REAL) if cfg.real else measures
    requantizes = mode == VectorMode.REQUANTIZE
    slotted = [unless(cfg.dynamic, dynamic, asked.slot, asked.target, asked.relu)]
    adds, sums = requantizes, asked.residual
    if cfg.training:
        ranges, shifts = mode == VectorMode.RANGE, mode == VectorMode.SHIFT
        slotted = _wrong_shifts(cfg, asked, dynamic)
        measures, uncounted, adds = measures | ranges, uncounted | ranges, adds | shifts
        sums = asked.residual & ~(shifts & asked.relu)
        floors = ranges & asked.settle & (asked.scales <= SLOTS)
    counts = asked.statistics if cfg.statistics.elements else Const(0)
    blocks, windows = cfg.blocks.channels, asked_window(cfg, asked)[1]
    scales = windows | (mode == VectorMode.BLOCK) if blocks else windows
    if cfg.training:
        scales |= floors
    looked_up: Value = asked.function & (asked.table < cfg.functions.tables)
    tabled = requantizes
    if operand is not None:
        scales |= operand & (asked.scales[:2] == 0)
        looked_up &= requantizes
        if cfg.real.functions:
            looked_up |= dynamic & _legal_functions(asked)
        adds = (adds & bool(cfg.residual)) | dynamic
        tabled = (requantizes & bool(cfg.functions)) | dynamic
    return Cat(
        # REQUANTIZE, which every machine has, is 0.
        ~Cat(mode == known for known in modes).any() if len(modes) > 1 else mode,
        unless(blocks or cfg.pooling or cfg.real or cfg.training, scales, asked.scales),
        *slotted,
        unless(cfg.slots, measures, asked.settle),
        unless(cfg.slots or cfg.statistics.elements, measures | counts, asked.begin),
        unless(cfg.statistics.elements, ~uncounted, asked.statistics),
        unless(cfg.statistics.elements, counts & (asked.channel < asked.channels), asked.only),
        unless(cfg.statistics.elements, asked.only, asked.channel),
        unless(cfg.functions or cfg.real, tabled, asked.function),
        unless(cfg.functions or cfg.real.functions, looked_up, asked.table),
        *(() if blocks else (asked.tiles, unless(cfg.pooling, windows, asked.tile_entries))),
        *((Mux(adds, 0, asked.residual), ~sums & asked.sums) if cfg.residual or cfg.real else ()),
    )


def _legal_functions(asked: data.View) -> Value:
    """Return whether a mode of binary32 values may have these functions together with the rest."""
    scaled, gated = (asked.table & bit != 0 for bit in (_SCALED, _GATED))
    alone = asked.sums | ~asked.residual
    return ~((scaled & (asked.function | ~alone | gated)) | (gated & (asked.function | alone)))


def unless(has: object, allowed: Value, *bits: Value) -> Value:
    """Return the bits that must be 0: all of them on a machine that has not what they are for."""
    return Mux(allowed, 0, Cat(bits)) if has else Cat(bits)


def _wrong_shifts(cfg: AcceleratorConfig, asked: data.View, real: Value) -> list[Value]:
    """Return bits that say what is wrong with slots, and with RANGE and SHIFT; ``real`` are modes
    whose values are binary32."""
    mode, dynamic = asked.mode, real if cfg.dynamic else Const(0)
    ranges, shifts = mode == VectorMode.RANGE, mode == VectorMode.SHIFT
    settles, masks = ranges & asked.settle, shifts & asked.residual
    return [
        Mux(dynamic | ranges, 0, asked.slot),
        Mux(dynamic | ranges | shifts, 0, asked.target),
        Mux(dynamic | settles | masks, 0, asked.relu),
        settles & ((asked.high < 1) | (asked.high > ACTIVATION_BITS)),
        shifts & asked.zero_point[1:].any(),
    ]
