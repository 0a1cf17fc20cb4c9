# SPDX-License-Identifier: Apache-2.0
"""A component as a design's top, streams without a ready signal included."""

from amaranth.hdl import Const, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Component

__all__ = ["Exposed"]


class Exposed(Component):
    """Passes every port of ``component`` through under its flat name.

    An always-ready stream has a constant where others have ``ready``; here it gets that port too,
    so that stream drivers and monitors need not know.
    """

    def __init__(self, component: Component) -> None:
        self.component = component
        self._leaves = {}
        members = {}
        for path, member, value in component.signature.flatten(component):
            name = "__".join(map(str, path))
            self._leaves[name] = (member.flow, Value.cast(value))
            members[name] = member.flow(Value.cast(value).shape())
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = self.component
        for name, (flow, value) in self._leaves.items():
            if flow == wiring.Out:
                m.d.comb += getattr(self, name).eq(value)
            elif not isinstance(value, Const):
                m.d.comb += value.eq(getattr(self, name))
        return m
