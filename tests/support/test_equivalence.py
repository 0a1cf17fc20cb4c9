# SPDX-License-Identifier: Apache-2.0
"""A proof of equality is found where there is one, and not where a fault shows."""

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import Component, In, Out

from .equivalence import proven_equal


class Absorbing(Component):
    """A register of a function that has more inputs than it needs."""

    i: In(2)
    o: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.i[0] & (self.i[0] | self.i[1]))
        return m


@pytest.mark.parametrize(
    ("port", "equal"), [("-port B -portbit 0", True), ("-port A -portbit 0", False)]
)
def test_absorption(port, equal):
    mutant = f"mutate -ctrl mutsel 1 1 -mode const0 -module top -cell $4 {port} -src x.py:1"
    assert proven_equal(Absorbing(), mutant) == equal


def test_a_mutant_of_nothing_is_an_error():
    with pytest.raises(RuntimeError, match="Yosys failed"):
        proven_equal(Absorbing(), "mutate -mode inv -module top -cell $none -port A -portbit 0")
