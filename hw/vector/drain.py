# SPDX-License-Identifier: Apache-2.0
"""The loops of VECTOR: lines, pixels and groups of channels, checked step by step."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from hw.config import AcceleratorConfig
from hw.control.fault import FaultSignature
from hw.isa import ENGINES, VECTOR, Engine, ErrorCode

__all__ = ["CONSTANTS", "DrainWalker", "step_layout"]

CONSTANTS = data.StructLayout({"zero_point": signed(9), "low": signed(9), "high": signed(9)})
"""What all results of an instruction have in common."""


def step_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return one step: what the requantizer lanes take in one cycle, and where it goes.

    Columns ``group * requantize_lanes`` on of accumulator ``entry``, with the parameters of group
    ``parameter``, become output bytes from ``address`` on; lanes 0 to ``live`` count. ``first`` and
    ``last`` bound an instruction, to be answered with ``signal``.
    """
    return data.StructLayout({
        "entry": range(cfg.accumulator_depth),
        "group": range(-(-cfg.columns // cfg.requantize_lanes)),
        "parameter": range(cfg.parameter_channels // cfg.parameter_lanes),
        "address": range(cfg.output_bytes),
        "live": range(cfg.requantize_lanes),
        "first": 1,
        "last": 1,
        "signal": ENGINES,
    })


class DrainWalker(Component):
    """Walks lines, pixels and groups of VECTOR instructions, a step a cycle without gaps.

    Fields are checked before the first step, the places of a pixel before its first step, those of
    a group before its own: nothing outside the accumulators, the parameter memory or the output
    buffer is ever named. Latency: two cycles from an instruction to its first step. The next
    instruction's first step follows the last one directly, unless that instruction had fewer than
    ``interval`` steps.

    Parameters
    ----------
    cfg : sizes of the memories, ``columns`` and ``requantize_lanes``.
    interval : least number of cycles from one instruction to the next.

    Members
    -------
    i : In(stream.Signature(VECTOR))
        Instructions; ``opcode`` and ``wait`` are not looked at.
    o : Out(stream.Signature(step_layout(cfg), always_ready=True))
        The steps, from registers.
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
        })  # fmt: skip

    def _illegal(self) -> Value:
        """Return whether a field is illegal whatever it leads to."""
        asked = self.i.payload
        bounds = [asked.zero_point, asked.low, asked.high]
        return Cat(
            asked.reserved0,
            asked.reserved1,
            asked.channels == 0,
            asked.channels > self.cfg.columns,
            asked.pixels == 0,
            asked.lines == 0,
            *(_exceeds(value, 9) for value in bounds),
            asked.low[:9].as_signed() > asked.high[:9].as_signed(),
        ).any()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        lanes = cfg.requantize_lanes
        entry_bits = exact_log2(cfg.accumulator_depth)
        place_bits = exact_log2(cfg.output_bytes)
        parameter_bits = exact_log2(cfg.parameter_channels // cfg.parameter_lanes)
        asked, step = self.i.payload, self.o.payload

        # One bit more than a place has: from a place inside, a pitch that fits leads to a place
        # inside or sets that bit, whether it went below or above.
        pixel_base, line_base, pixel_pitch, line_pitch = (
            Signal(place_bits + 1) for _ in range(4)
        )
        offset = Signal(range(cfg.columns))
        entry = Signal(entry_bits + 1)
        parameter = Signal(parameter_bits)
        group = Signal.like(step.group)
        channels, channels_left = Signal(range(cfg.columns)), Signal(range(cfg.columns))  # less one
        pixels, pixels_left, lines_left = (Signal(entry_bits + 1) for _ in range(3))
        last_pixel, only_pixel, last_line, first = Signal(), Signal(), Signal(), Signal()
        signal = Signal(ENGINES)

        active, illegal, outside, failed, beyond, move, ending = (Signal() for _ in range(7))
        last_group = Signal()
        live = Signal.like(step.live)
        group_parameter = Signal(parameter_bits + 1)
        end = Signal(place_bits + 1)
        m.d.comb += [
            last_group.eq(channels_left < lanes),
            live.eq(Mux(last_group, channels_left, lanes - 1)),
            group_parameter.eq(parameter + group),
            end.eq(pixel_base[:-1] + channels),
            beyond.eq(pixel_base[-1] | end[-1] | entry[-1] | group_parameter[-1]),
            move.eq(active & ~illegal & ~outside & ~failed),
            ending.eq(last_group & last_pixel & last_line),
        ]
        m.d.sync += [
            self.o.valid.eq(move & ~beyond),
            step.entry.eq(entry),
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
                offset.eq(offset + lanes),
                channels_left.eq(channels_left - lanes),
                group.eq(group + 1),
            ]
            with m.If(last_group):
                m.d.sync += [
                    entry.eq(entry + 1),
                    pixel_base.eq(following),
                    offset.eq(0),
                    channels_left.eq(channels),
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
        m.d.comb += self.i.ready.eq(~failed & (~active | (move & ending)) & (rest == 0))
        with m.If(rest != 0):
            m.d.sync += rest.eq(rest - 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                active.eq(1),
                first.eq(1),
                rest.eq(self.interval - 1),
                illegal.eq(self._illegal()),
                outside.eq(
                    Cat(
                        asked.accumulator[entry_bits:],
                        asked.pixels[entry_bits + 1 :],
                        asked.lines[entry_bits + 1 :],
                        asked.parameter[parameter_bits:],
                        asked.local[place_bits:],
                        (asked.pixels != 1) & _exceeds(asked.pixel_pitch, place_bits + 1),
                        (asked.lines != 1) & _exceeds(asked.line_pitch, place_bits + 1),
                    ).any()
                ),
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
                pixels.eq(asked.pixels),
                pixels_left.eq(asked.pixels),
                lines_left.eq(asked.lines),
                last_pixel.eq(asked.pixels == 1),
                only_pixel.eq(asked.pixels == 1),
                last_line.eq(asked.lines == 1),
                signal.eq(asked.signal),
                *(self.constants[name].eq(asked[name]) for name, _ in CONSTANTS),
            ]

        m.d.sync += self.error.valid.eq(0)
        with m.If(~failed & active & (illegal | outside | beyond)):
            m.d.sync += [
                failed.eq(1),
                self.error.valid.eq(1),
                self.error.payload.address.eq(Engine.VECTOR),
                self.error.payload.code.eq(
                    Mux(illegal, ErrorCode.ILLEGAL_FIELD, ErrorCode.SCRATCHPAD_RANGE)
                ),
            ]
        return m


def _exceeds(value: Value, width: int) -> Value:
    """Return whether a signed value needs more than ``width`` bits."""
    return (value[width - 1 :] != 0) & ~value[width - 1 :].all()
