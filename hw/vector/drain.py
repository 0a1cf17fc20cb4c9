# SPDX-License-Identifier: Apache-2.0
"""The loops of VECTOR: lines, pixels and groups of channels, checked step by step."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.hw.vector.drain_check import illegal_fields, places_outside
from kiwicha.hw.vector.drain_place import DrainPlace
from kiwicha.hw.vector.entry_walk import EntryWalk
from kiwicha.hw.vector.modes import asks_words, ends_pixels, vector_modes
from kiwicha.hw.vector.operand_walk import walk_operands
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
    ``statistics.elements`` or ``blocks.random``: ``final`` ends a pixel. Only with ``functions``:
    whether and in which ``table`` results are looked up. Only with ``pooling``: whether the step
    ``opens`` and ``closes`` the window of a result; all of a window's steps go to the same place.
    Only with ``real.bytes``: which second ``operand`` is lane 0's.
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
        **({"function": 1, "table": range(cfg.functions.tables)} if cfg.functions else {}),
        **({"opens": 1, "closes": 1} if cfg.pooling else {}),
        **({"operand": range(cfg.real.bytes // 4)} if cfg.real else {}),
    })


class DrainWalker(Component):
    """Walks lines, pixels and groups of VECTOR instructions, a step a cycle without gaps.

    Fields are checked before the first step, the places of a pixel before its first step, those of
    a group before its own: nothing outside the accumulators, the parameter memory or the output
    buffer is ever named. Latency: two cycles from an instruction to its first step. The next
    instruction's first step follows the last one directly, unless that instruction had fewer steps
    than ``interval``, or one. A step of RAW or REAL takes four cycles, for as many bytes are
    written; blocks of mode BLOCK have pauses between them as ``block_pauses`` says.

    A pixel's channels lie in ``tiles`` + 1 column tiles (only with ``blocks.channels``; all but the
    last are full), a tile's entries ``tile_entries`` behind those of the one before. MEASURE
    writes nothing, but its places are checked like those of QUANTIZE.

    With ``pooling`` a result may have a window of entries (`machine.window.WINDOW`): a step each,
    one after the other, innermost, row by row.

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
        now = DrainPlace(self.cfg, self.interval)
        self._make_steps(m, now)
        self._walk(m, now)
        self._judge(m, now)
        self._begin(m, now)
        if self.cfg.blocks.channels:
            self._walk_tiles(m, now)
        else:
            m.d.comb += now.group_parameter.eq(now.parameter + now.group)
        if now.several:
            self._walk_entries(m, now)
        if ends_pixels(self.cfg):
            m.d.sync += self.o.payload.final.eq(now.last_group)
        if self.cfg.functions:
            self._name_tables(m, now)
        if VectorMode.RAW in vector_modes(self.cfg):
            self._keep_pace(m, now)
        if self.cfg.real:
            places = now.pixel_base[:-1], now.end[:-1], now.pixel_base[:-1] + now.offset
            operand, outside = walk_operands(m, self.cfg, self.i.payload, now.taking, places)
            m.d.comb += now.no_operand.eq(outside)
            m.d.sync += self.o.payload.operand.eq(operand)
        self._stop_at_faults(m, now)
        return m

    def _make_steps(self, m: Module, now: DrainPlace) -> None:
        """Make a step of where the walk is, unless that is beyond a memory."""
        place_bits, lanes, step = len(now.end) - 1, self.cfg.requantize_lanes, self.o.payload
        live = Signal.like(step.live)
        span = Signal.like(now.offset)  # bytes of a pixel, less one
        outside = [now.pixel_base[-1], now.end[-1], now.walked_entry[-1], now.group_parameter[-1]]
        outside += [now.no_scale, *([now.no_operand] if self.cfg.real else [])]
        m.d.comb += [
            live.eq(Mux(now.last_group, now.channels_left, lanes - 1)),
            span.eq(Mux(now.wide, Cat(Const(3, 2), now.channels), now.channels)),
            now.end.eq(now.pixel_base[:-1] + span[:place_bits]),
            now.beyond.eq(reduce(or_, outside)),
            now.move.eq(now.active & ~now.paused),
            now.ending.eq(now.last_group & now.last_pixel & now.last_line & now.closes),
        ]
        m.d.sync += [
            self.o.valid.eq(now.move & ~now.beyond),
            step.entry.eq(now.walked_entry),
            step.group.eq(now.group),
            step.parameter.eq(now.group_parameter),
            step.address.eq(now.pixel_base + now.offset),
            step.live.eq(live),
            step.first.eq(now.first),
            step.last.eq(now.ending),
            step.signal.eq(now.signal),
        ]

    def _walk(self, m: Module, now: DrainPlace) -> None:
        """Go on: to the next group, and after the last one to the next pixel or line."""
        lanes = self.cfg.requantize_lanes
        following = Signal.like(now.end)
        m.d.comb += following.eq(
            Mux(now.last_pixel, now.line_base, now.pixel_base)
            + Mux(now.last_pixel, now.line_pitch, now.pixel_pitch)
        )
        with m.If(now.move):
            m.d.sync += [now.active.eq(~now.ending), now.first.eq(0)]
        with m.If(now.advance):
            m.d.sync += [
                now.offset.eq(now.offset + Mux(now.wide, lanes << 2, lanes)),
                now.channels_left.eq(now.channels_left - lanes),
                now.last_group.eq(now.channels_left < 2 * lanes),
                now.group.eq(now.group + 1),
            ]
            with m.If(now.last_group):
                m.d.sync += [
                    now.entry.eq(now.entry + 1),
                    now.pixel_base.eq(following),
                    now.offset.eq(0),
                    now.channels_left.eq(now.channels),
                    now.last_group.eq(now.only_group),
                    now.group.eq(0),
                    now.pixels_left.eq(now.pixels_left - 1),
                    now.last_pixel.eq(now.pixels_left == 2),
                ]
            with m.If(now.last_group & now.last_pixel):
                m.d.sync += [
                    now.line_base.eq(following),
                    now.pixels_left.eq(now.pixels),
                    now.last_pixel.eq(now.only_pixel),
                    now.lines_left.eq(now.lines_left - 1),
                    now.last_line.eq(now.lines_left == 2),
                ]

    def _judge(self, m: Module, now: DrainPlace) -> None:
        """Judge an instruction while it waits, for a cycle at least: that is no part of a step."""
        m.d.comb += [
            now.taking.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(
                now.judged
                & ~now.failed
                & (~now.active | (now.move & now.ending))
                & (now.rest == 0)
            ),
        ]
        m.d.sync += [
            now.judged.eq(self.i.valid & ~now.taking),
            now.illegal.eq(illegal_fields(self.cfg, self.i.payload)),
            now.outside.eq(places_outside(self.cfg, self.i.payload)),
            now.wrong.eq(now.taking & (now.illegal.any() | now.outside.any())),
            now.forbidden.eq(now.illegal.any()),
        ]

    def _begin(self, m: Module, now: DrainPlace) -> None:
        """Take an instruction: all loops at their start, and a pause before the one after it."""
        asked, lanes = self.i.payload, self.cfg.requantize_lanes
        raw = VectorMode.RAW in vector_modes(self.cfg)
        with m.If(now.rest != 0):
            m.d.sync += now.rest.eq(now.rest - 1)
        with m.If(now.taking):
            m.d.sync += [
                now.active.eq(~now.illegal.any() & ~now.outside.any()),
                now.first.eq(1),
                now.rest.eq(self.interval - 1),
                now.offset.eq(0),
                now.pixel_base.eq(asked.local),
                now.line_base.eq(asked.local),
                now.pixel_pitch.eq(asked.pixel_pitch),
                now.line_pitch.eq(asked.line_pitch),
                now.entry.eq(asked.accumulator),
                now.parameter.eq(asked.parameter),
                now.group.eq(0),
                now.channels.eq(asked.channels - 1),
                now.channels_left.eq(asked.channels - 1),
                now.last_group.eq(asked.channels <= lanes),
                now.only_group.eq(asked.channels <= lanes),
                now.wide.eq(asks_words(self.cfg, asked) if raw else 0),
                now.pixels.eq(asked.pixels),
                now.pixels_left.eq(asked.pixels),
                now.lines_left.eq(asked.lines),
                now.last_pixel.eq(asked.pixels == 1),
                now.only_pixel.eq(asked.pixels == 1),
                now.last_line.eq(asked.lines == 1),
                now.signal.eq(asked.signal),
                *(self.constants[name].eq(asked[name]) for name, _ in CONSTANTS),
            ]

    def _walk_tiles(self, m: Module, now: DrainPlace) -> None:
        """Let a pixel's groups go on in the next column tile, and the parameters with them."""
        walked_parameter = Signal.like(now.group_parameter)
        last = now.group == self.cfg.columns // self.cfg.requantize_lanes - 1
        m.d.comb += [
            now.group_parameter.eq(walked_parameter),
            now.next_tile.eq(last & ~now.last_group),
        ]
        with m.If(now.advance):
            m.d.sync += walked_parameter.eq(walked_parameter + 1)
            with m.If(now.last_group):
                m.d.sync += walked_parameter.eq(now.parameter)
            with m.Elif(now.next_tile):
                m.d.sync += now.group.eq(0)
        with m.If(now.taking):
            m.d.sync += walked_parameter.eq(self.i.payload.parameter)

    def _walk_entries(self, m: Module, now: DrainPlace) -> None:
        """Let a pixel have entries in several column tiles, or in a window."""
        m.submodules.entries = entries = EntryWalk(self.cfg)
        m.d.comb += [
            entries.take.eq(now.taking),
            entries.instruction.eq(self.i.payload),
            entries.move.eq(now.move),
            entries.last_group.eq(now.last_group),
            entries.last_pixel.eq(now.last_pixel),
            entries.next_tile.eq(now.next_tile),
            now.walked_entry.eq(entries.entry),
            now.closes.eq(entries.closes),
            now.advance.eq(now.move & entries.closes),
        ]
        if self.cfg.pooling:
            step = self.o.payload
            m.d.sync += [step.opens.eq(entries.opens), step.closes.eq(entries.closes)]

    def _keep_pace(self, m: Module, now: DrainPlace) -> None:
        """Pause where results take longer than steps."""
        step = self.o.payload
        m.submodules.pace = pace = Pace(self.cfg)
        m.d.comb += [
            pace.take.eq(now.taking),
            pace.instruction.eq(self.i.payload),
            pace.move.eq(now.move),
            pace.wide.eq(now.wide),
            pace.last.eq(now.last_group),
            now.paused.eq(pace.paused),
        ]
        if self.cfg.blocks.channels:
            m.d.comb += [pace.hold.eq(self.hold), now.no_scale.eq(pace.outside)]
            m.d.sync += [step.ended.eq(pace.ended), step.scale.eq(pace.scale)]

    def _name_tables(self, m: Module, now: DrainPlace) -> None:
        """Let an instruction's table go along with its steps."""
        asked, step = self.i.payload, self.o.payload
        function, table = Signal.like(step.function), Signal.like(step.table)
        with m.If(now.taking):
            m.d.sync += [function.eq(asked.function), table.eq(asked.table)]
        m.d.sync += [step.function.eq(function), step.table.eq(table)]

    def _stop_at_faults(self, m: Module, now: DrainPlace) -> None:
        """Report the first instruction that was wrong, or step that was beyond, and stop."""
        m.d.sync += self.error.valid.eq(0)
        with m.If((now.wrong & ~now.failed) | (now.active & now.beyond)):
            m.d.sync += [
                now.active.eq(0),
                now.failed.eq(1),
                self.error.valid.eq(1),
                self.error.payload.address.eq(Engine.VECTOR),
                self.error.payload.code.eq(
                    Mux(
                        now.wrong & now.forbidden,
                        ErrorCode.ILLEGAL_FIELD,
                        ErrorCode.SCRATCHPAD_RANGE,
                    )
                ),
            ]
