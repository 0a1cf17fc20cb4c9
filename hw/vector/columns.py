# SPDX-License-Identifier: Apache-2.0
"""One column of the accumulators out of many for each lane, in as many cycles as that needs."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.vector.window_maximum import WindowMaximum
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.latency import accumulator_latency

__all__ = ["ColumnPick"]


class ColumnPick(Component):
    """Gives each lane its column of an accumulator, with ``pooling`` the maximum of a window.

    Each column has a register that is cleared unless it is the one: a multiplexer of four takes
    four LUTs of four inputs, the register's clear none, and what is left to do is an OR.

    Parameters
    ----------
    cfg : ``columns``, ``requantize_lanes``, ``pooling`` and where there are registers.
    latency : cycles from a step to its columns on ``o``; the accumulators' are among them.

    Members
    -------
    group : In(range(groups)); opens : In(1)
        A step: lane k takes column ``group`` * lanes + k, and anything where there is none; the
        step is the first one of its window (only with ``pooling``).
    read_data : In(ArrayLayout(signed(32), columns))
        The columns of its accumulator, `accumulator_latency` cycles later.
    o : Out(ArrayLayout(signed(32), requantize_lanes))
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._groups = -(-cfg.columns // cfg.requantize_lanes)
        self._read = accumulator_latency(cfg)
        self.latency = self._read + (1 if self._groups == 1 else 2)
        super().__init__({
            "group": In(range(self._groups)),
            **({"opens": In(1)} if cfg.pooling else {}),
            "read_data": In(data.ArrayLayout(signed(32), cfg.columns)),
            "o": Out(data.ArrayLayout(signed(32), cfg.requantize_lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, lanes = self.cfg, self.cfg.requantize_lanes
        m.submodules.select = select = Delay(self.group.shape(), self._read)
        m.d.comb += select.i.eq(self.group)
        if cfg.pooling:
            m.submodules.opens = opens = Delay(1, self.latency - 1)
            m.d.comb += opens.i.eq(self.opens)
        for lane in range(lanes):
            columns = [self.read_data[c] for c in range(lane, cfg.columns, lanes)]
            picked = self._pick(m, columns, select.o, f"lane_{lane}")
            if cfg.pooling:
                m.submodules[f"maximum_{lane}"] = maximum = WindowMaximum()
                m.d.comb += [
                    maximum.i.eq(picked), maximum.opens.eq(opens.o), self.o[lane].eq(maximum.o)
                ]
                continue
            chosen = Signal(signed(32), name=f"lane_{lane}_column", reset_less=True)
            m.d.sync += chosen.eq(picked)
            m.d.comb += self.o[lane].eq(chosen)
        return m

    def _pick(self, m: Module, columns: list[Value], index: Value, name: str) -> Value:
        """Return the column that ``index`` tells, in the cycle before the last one.

        Lanes may have a column more or less than others, and take as long as these.
        """
        if self._groups == 1:
            return columns[0]
        stages = []
        for number, column in enumerate(columns):
            stage = Signal(signed(32), name=f"{name}_column_{number}", reset_less=True)
            only = len(columns) == 1
            m.d.sync += stage.eq(column if only else Mux(index == number, column, 0))
            stages.append(stage)
        return reduce(or_, stages).as_signed()
