# SPDX-License-Identifier: Apache-2.0
"""The loops of VECTOR: lines, pixels and groups of channels, checked step by step."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.hw.vector.drain_check import illegal_fields, places_outside
from kiwicha.hw.vector.modes import ends_pixels, vector_modes
from kiwicha.hw.vector.pace import Pace
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES, VECTOR, Engine, ErrorCode, VectorMode

__all__ = ["CONSTANTS", "DrainWalker", "step_layout"]

CONSTANTS = data.StructLayout({"zero_point": signed(9), "low": signed(9), "high": signed(9)})
"""What all results of an instruction have in common."""


def step_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return one step: what the requantizer lanes take in one cycle, and where it goes.

    Columns ``group * requantize_lanes`` on of accumulator ``entry``, with the parameters of group
    ``parameter``, become output bytes from ``address`` on; lanes 0 to ``live`` count. ``first`` and
    ``last`` bound an instruction, to be answered with ``signal``. Only with ``blocks.channels``:
    ``ended`` bounds the blocks of mode BLOCK, whose scale goes to ``scale``. Only with
    ``statistics.elements`` or ``blocks.random``: ``final`` ends a pixel.
    """
    blocks = {"ended": 1, "scale": range(cfg.output_bytes)} if cfg.blocks.channels else {}
    return data.StructLayout({
        "entry": range(cfg.accumulator_depth),
        "group": range(-(-cfg.columns // cfg.requantize_lanes)),
        "parameter": range(cfg.parameter_channels // cfg.parameter_lanes),
        "address": range(cfg.output_bytes),
        "live": range(cfg.requantize_lanes),
        "first": 1,
        "last": 1,
        "signal": ENGINES,
        **blocks,
        **({"final": 1} if ends_pixels(cfg) else {}),
    })


class DrainWalker(Component):
    """Walks lines, pixels and groups of VECTOR instructions, a step a cycle without gaps.

    Fields are checked before the first step, the places of a pixel before its first step, those of
    a group before its own: nothing outside the accumulators, the parameter memory or the output
    buffer is ever named. Latency: two cycles from an instruction to its first step. The next
    instruction's first step follows the last one directly, unless that instruction had fewer steps
    than ``interval``, or one. A step of mode RAW takes four cycles, for as many bytes are written;
    blocks of mode BLOCK have pauses between them as ``block_pauses`` says.

    A pixel's channels lie in ``tiles`` + 1 column tiles (only with ``blocks.channels``; all but the
    last are full), a tile's entries ``tile_entries`` behind those of the one before. MEASURE
    writes nothing, but its places are checked like those of QUANTIZE.

    Parameters
    ----------
    cfg : sizes of the memories, ``columns``, ``requantize_lanes`` and what modes there are.
    interval : least number of cycles from one instruction to the next, at least 1; it takes two in
        any case, since an instruction is judged before it is taken.

    Members
    -------
    i : In(stream.Signature(VECTOR))
        Instructions; ``opcode`` and ``wait`` are not looked at.
    o : Out(stream.Signature(step_layout(cfg), always_ready=True))
        The steps, from registers.
    hold : In(1)
        Make no step but for the one that is made just now. Only with ``blocks.channels``.
    constants : Out(CONSTANTS)
        Those of the instruction, from one cycle before its first step, for at least ``interval``
        cycles and until the next instruction's.
    error : Out(FaultSignature)
        ILLEGAL_FIELD or SCRATCHPAD_RANGE with this engine's number; nothing more is walked or taken
        until reset.

    Raises
    ------
    ValueError
        For an ``interval`` below 1.
    """

    def __init__(self, cfg: AcceleratorConfig, interval: int = 1) -> None:
        if interval < 1:
            raise ValueError(f"interval is {interval}; legal: at least 1")
        self.cfg = cfg
        self.interval = interval
        super().__init__({
            "i": In(stream.Signature(VECTOR)),
            "o": Out(stream.Signature(step_layout(cfg), always_ready=True)),
            "constants": Out(CONSTANTS),
            "error": Out(FaultSignature),
            **({"hold": In(1)} if cfg.blocks.channels else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        lanes = cfg.requantize_lanes
        tiled, raw = cfg.blocks.channels > 0, VectorMode.RAW in vector_modes(cfg)
        entry_bits = exact_log2(cfg.accumulator_depth)
        place_bits = exact_log2(cfg.output_bytes)
        parameter_bits = exact_log2(cfg.parameter_channels // cfg.parameter_lanes)
        asked, step = self.i.payload, self.o.payload

        # One bit more than a place has: from a place inside, a pitch that fits leads to a place
        # inside or sets that bit, whether it went below or above.
        pixel_base, line_base, pixel_pitch, line_pitch = (
            Signal(place_bits + 1) for _ in range(4)
        )
        most = cfg.columns << 8 if tiled else cfg.columns  # channels of a pixel
        offset = Signal(range(most << 2 if raw else most))
        entry = Signal(entry_bits + 1)
        walked_entry = Signal(entry_bits + 1) if tiled else entry  # that of the column tile
        parameter = Signal(parameter_bits)
        group = Signal.like(step.group)
        channels, channels_left = Signal(range(most)), Signal(range(most))  # less one
        pixels, pixels_left, lines_left = (Signal(entry_bits + 1) for _ in range(3))
        last_pixel, only_pixel, last_line, first = Signal(), Signal(), Signal(), Signal()
        signal = Signal(ENGINES)

        active, failed, beyond, move, ending = (Signal() for _ in range(5))
        illegal, outside = Signal(3), Signal(3)  # parts of one verdict each
        judged, wrong, forbidden, taking = (Signal() for _ in range(4))
        last_group, only_group, paused, wide, no_scale = (Signal() for _ in range(5))
        live = Signal.like(step.live)
        group_parameter = Signal(parameter_bits + 1)
        end = Signal(place_bits + 1)
        span = Signal(range(most << 2 if raw else most))  # bytes of a pixel, less one
        m.d.comb += [
            live.eq(Mux(last_group, channels_left, lanes - 1)),
            span.eq(Mux(wide, Cat(Const(3, 2), channels), channels)),
            end.eq(pixel_base[:-1] + span[:place_bits]),
            beyond.eq(
                pixel_base[-1] | end[-1] | walked_entry[-1] | group_parameter[-1] | no_scale
            ),
            move.eq(active & ~paused),
            ending.eq(last_group & last_pixel & last_line),
        ]
        m.d.sync += [
            self.o.valid.eq(move & ~beyond),
            step.entry.eq(walked_entry),
            step.group.eq(group),
            step.parameter.eq(group_parameter),
            step.address.eq(pixel_base + offset),
            step.live.eq(live),
            step.first.eq(first),
            step.last.eq(ending),
            step.signal.eq(signal),
        ]

        following = Signal(place_bits + 1)
        m.d.comb += following.eq(
            Mux(last_pixel, line_base, pixel_base) + Mux(last_pixel, line_pitch, pixel_pitch)
        )
        with m.If(move):
            m.d.sync += [
                active.eq(~ending),
                first.eq(0),
                offset.eq(offset + Mux(wide, lanes << 2, lanes)),
                channels_left.eq(channels_left - lanes),
                last_group.eq(channels_left < 2 * lanes),
                group.eq(group + 1),
            ]
            with m.If(last_group):
                m.d.sync += [
                    entry.eq(entry + 1),
                    pixel_base.eq(following),
                    offset.eq(0),
                    channels_left.eq(channels),
                    last_group.eq(only_group),
                    group.eq(0),
                    pixels_left.eq(pixels_left - 1),
                    last_pixel.eq(pixels_left == 2),
                ]
            with m.If(last_group & last_pixel):
                m.d.sync += [
                    line_base.eq(following),
                    pixels_left.eq(pixels),
                    last_pixel.eq(only_pixel),
                    lines_left.eq(lines_left - 1),
                    last_line.eq(lines_left == 2),
                ]

        rest = Signal(range(self.interval))
        # An instruction is judged while it waits, for a cycle at least: that is no part of a step.
        m.d.comb += [
            taking.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(judged & ~failed & (~active | (move & ending)) & (rest == 0)),
        ]
        m.d.sync += [
            judged.eq(self.i.valid & ~taking),
            illegal.eq(illegal_fields(cfg, asked)),
            outside.eq(places_outside(cfg, asked)),
            wrong.eq(taking & (illegal.any() | outside.any())),
            forbidden.eq(illegal.any()),
        ]
        with m.If(rest != 0):
            m.d.sync += rest.eq(rest - 1)
        with m.If(taking):
            m.d.sync += [
                active.eq(~illegal.any() & ~outside.any()),
                first.eq(1),
                rest.eq(self.interval - 1),
                offset.eq(0),
                pixel_base.eq(asked.local),
                line_base.eq(asked.local),
                pixel_pitch.eq(asked.pixel_pitch),
                line_pitch.eq(asked.line_pitch),
                entry.eq(asked.accumulator),
                parameter.eq(asked.parameter),
                group.eq(0),
                channels.eq(asked.channels - 1),
                channels_left.eq(asked.channels - 1),
                last_group.eq(asked.channels <= lanes),
                only_group.eq(asked.channels <= lanes),
                wide.eq(asked.mode == VectorMode.RAW if raw else 0),
                pixels.eq(asked.pixels),
                pixels_left.eq(asked.pixels),
                lines_left.eq(asked.lines),
                last_pixel.eq(asked.pixels == 1),
                only_pixel.eq(asked.pixels == 1),
                last_line.eq(asked.lines == 1),
                signal.eq(asked.signal),
                *(self.constants[name].eq(asked[name]) for name, _ in CONSTANTS),
            ]

        if tiled:
            following_entry = Signal(entry_bits + 1)
            m.d.comb += following_entry.eq(entry + 1)
            tile_entries = Signal(entry_bits)
            walked_parameter = Signal(parameter_bits + 1)
            m.d.comb += group_parameter.eq(walked_parameter)
            with m.If(move):
                m.d.sync += walked_parameter.eq(walked_parameter + 1)
                with m.If(last_group):
                    m.d.sync += [walked_entry.eq(following_entry), walked_parameter.eq(parameter)]
                with m.Elif(group == cfg.columns // lanes - 1):
                    m.d.sync += [group.eq(0), walked_entry.eq(walked_entry + tile_entries)]
            with m.If(taking):
                m.d.sync += [
                    walked_entry.eq(asked.accumulator),
                    walked_parameter.eq(asked.parameter),
                    tile_entries.eq(asked.tile_entries),
                ]
        else:
            m.d.comb += group_parameter.eq(parameter + group)
        if ends_pixels(cfg):
            m.d.sync += step.final.eq(last_group)
        if raw:
            m.submodules.pace = pace = Pace(cfg)
            m.d.comb += [
                pace.take.eq(taking),
                pace.instruction.eq(asked),
                pace.move.eq(move),
                pace.wide.eq(wide),
                pace.last.eq(last_group),
                paused.eq(pace.paused),
            ]
            if cfg.blocks.channels:
                m.d.comb += [pace.hold.eq(self.hold), no_scale.eq(pace.outside)]
                m.d.sync += [step.ended.eq(pace.ended), step.scale.eq(pace.scale)]

        m.d.sync += self.error.valid.eq(0)
        with m.If((wrong & ~failed) | (active & beyond)):
            m.d.sync += [
                active.eq(0),
                failed.eq(1),
                self.error.valid.eq(1),
                self.error.payload.address.eq(Engine.VECTOR),
                self.error.payload.code.eq(
                    Mux(wrong & forbidden, ErrorCode.ILLEGAL_FIELD, ErrorCode.SCRATCHPAD_RANGE)
                ),
            ]
        return m
