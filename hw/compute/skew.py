# SPDX-License-Identifier: Apache-2.0
"""The triangle of registers that turns a vector into a diagonal wave."""

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Skew"]


class Skew(wiring.Component):
    """Delays lane k of a vector by k cycles; lane 0 is combinational.

    Registers have no reset: what means something is for control to say.

    Parameters
    ----------
    shape : of one lane.
    lanes : at least 1.

    Members
    -------
    i : the vector, a new one in every cycle.
    o : lane k of the vector that ``i`` held k cycles ago.

    Raises
    ------
    ValueError
        For ``lanes`` below 1.
    """

    def __init__(self, shape: ShapeLike, lanes: int) -> None:
        if lanes < 1:
            raise ValueError(f"lanes is {lanes}; legal: at least 1")
        self.shape = shape
        self.lanes = lanes
        vector = data.ArrayLayout(shape, lanes)
        super().__init__({"i": In(vector), "o": Out(vector)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for lane in range(self.lanes):
            value = self.i[lane]
            for stage in range(lane):
                later = Signal(self.shape, name=f"lane_{lane}_{stage}", reset_less=True)
                m.d.sync += later.eq(value)
                value = later
            m.d.comb += self.o[lane].eq(value)
        return m
