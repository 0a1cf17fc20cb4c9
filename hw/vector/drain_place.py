# SPDX-License-Identifier: Apache-2.0
"""What VECTOR's walker remembers from step to step."""

from amaranth.hdl import Const, Signal, Value
from amaranth.utils import exact_log2

from kiwicha.hw.vector.modes import vector_modes
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES, VectorMode

__all__ = ["DrainPlace"]


class DrainPlace:
    """Where the walk is, and what it still has to do.

    Two groups of channels, A and B, of two pixels in one line::

        cycle       0      1      2      3      4      5
        i           valid  taken
        judged      0      1
        move                      A0     B0     A1     B1
        o                                A0     B0     A1
        last_group                0      1      0      1
        last_pixel                0      0      1      1      so B1 is ending
        pixel_base                p0     p0     p1     p1     then line_base + line_pitch
    """

    def __init__(self, cfg: AcceleratorConfig, interval: int) -> None:
        tiled, raw = cfg.blocks.channels > 0, VectorMode.RAW in vector_modes(cfg)
        entry_bits = exact_log2(cfg.accumulator_depth)
        place_bits = exact_log2(cfg.output_bytes)
        parameter_bits = exact_log2(cfg.parameter_channels // cfg.parameter_lanes)
        # One bit more than a place has: from a place inside, a pitch that fits leads to a place
        # inside or sets that bit, whether it went below or above.
        self.pixel_base, self.line_base, self.pixel_pitch, self.line_pitch = (
            Signal(place_bits + 1) for _ in range(4)
        )
        self.end = Signal(place_bits + 1)  #: of the pixel
        most = cfg.columns << 8 if tiled else cfg.columns  # channels of a pixel
        self.offset = Signal(range(most << 2 if raw else most))
        self.entry = Signal(entry_bits + 1)
        #: Whether a pixel has several, one in each column tile or in its window.
        self.several = tiled or bool(cfg.pooling)
        self.walked_entry = Signal(entry_bits + 1) if self.several else self.entry
        self.parameter = Signal(parameter_bits)
        self.group_parameter = Signal(parameter_bits + 1)
        self.group = Signal(range(-(-cfg.columns // cfg.requantize_lanes)))
        self.channels, self.channels_left = Signal(range(most)), Signal(range(most))  #: less one
        self.pixels, self.pixels_left, self.lines_left = (
            Signal(entry_bits + 1) for _ in range(3)
        )
        self.last_pixel, self.only_pixel, self.last_line, self.first = (
            Signal(), Signal(), Signal(), Signal()
        )
        self.signal = Signal(ENGINES)
        self.active, self.failed, self.beyond, self.move, self.ending = (
            Signal() for _ in range(5)
        )
        #: It is the last step of its results.
        self.closes: Value = Signal() if self.several else Const(1)
        self.advance = Signal() if self.several else self.move  #: a step that is
        self.next_tile = Signal()  #: the next one is in another column tile
        self.illegal, self.outside = Signal(3), Signal(3)  #: parts of one verdict each
        self.judged, self.wrong, self.forbidden, self.taking = (Signal() for _ in range(4))
        self.last_group, self.only_group, self.paused, self.wide, self.no_scale = (
            Signal() for _ in range(5)
        )
        self.rest = Signal(range(interval))
        if cfg.real:
            self.no_operand = Signal()
