# SPDX-License-Identifier: Apache-2.0
"""A harness with two pins and a clock, in which a unit of any width is placed and routed.

A unit's own ports would need more pins than a package has, and the wires to the pins would decide
its speed. Here every path of the unit begins and ends in a register, as it does in a machine.
"""

from amaranth.hdl import Cat, ClockDomain, Const, Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Harness"]

_FOLD = 4  # bits that one LUT takes


class Harness(wiring.Component):
    """Feeds a component from a shift register and folds its outputs into one bit.

    Every input bit, the reset among them, is a bit of the shift register, so nothing is constant.
    Each of its bits is the complement of the one before: without that, an input register of the
    component would be equal to the next bit, and merged with it (a systolic array lost all its
    activation registers that way).
    Every output bit is registered and goes through a tree of exclusive ors, four bits and a
    register each, so nothing is unused and no tree limits the clock.

    Latency: a bit given in cycle t is input bit k in cycle t + 1 + k; an output bit of cycle t is
    in ``so`` in cycle t + ``latency``.

    Parameters
    ----------
    component : any; it lives in the domain ``sync``. The harness becomes its only owner.

    Members
    -------
    clk : the only clock.
    si : serial input: first the reset, then the input ports' bits, in the signature's order.
    so : exclusive or of all output bits.
    inputs, outputs : bits of the component, the reset included.
    registers : flip-flops of the harness.
    """

    def __init__(self, component: wiring.Component) -> None:
        self.component = component
        self._in, self._out = _leaves(component, wiring.In), _leaves(component, wiring.Out)
        self.inputs = 1 + sum(len(value) for value in self._in)
        self.outputs = sum(len(value) for value in self._out)
        levels = [self.outputs]
        while levels[-1] > 1:
            levels.append(-(-levels[-1] // _FOLD))
        self.latency = len(levels)
        self.registers = self.inputs + sum(levels)
        super().__init__({"clk": In(1), "si": In(1), "so": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain("sync", reset_less=True)
        domain.clk = self.clk
        shift = Signal(self.inputs, name="harness_in")
        m.submodules.dut = ResetInserter(shift[0])(self.component)
        m.d.sync += shift.eq(Cat(self.si, ~shift))
        begin = 1
        for value in self._in:
            m.d.comb += value.eq(shift[begin : begin + len(value)])
            begin += len(value)
        bits: Value = Cat(self._out)
        for level in range(self.latency):
            kept = Signal(len(bits), name=f"harness_out_{level}")
            m.d.sync += kept.eq(bits)
            bits = Cat(kept[k : k + _FOLD].xor() for k in range(0, len(kept), _FOLD))
        m.d.comb += self.so.eq(kept[0])
        return m


def _leaves(component: wiring.Component, flow: wiring.Flow) -> list[Value]:
    """Return the port members of this flow as plain values, constants left out."""
    found = [
        Value.cast(value)
        for _, member, value in component.signature.flatten(component)
        if member.flow == flow
    ]
    return [value for value in found if not isinstance(value, Const) and len(value)]
