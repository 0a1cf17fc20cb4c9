# SPDX-License-Identifier: Apache-2.0
"""Verilog and RTLIL in which equal modules appear once.

A component that is repeated many times is wrapped in ``shared()`` where it is instantiated: while
emitting it is elaborated once for all its copies; Amaranth's simulator and proofs see the component
itself. Whatever else comes out equal is merged in the RTLIL text.
"""

import re
from collections.abc import Hashable, Iterator

from amaranth.back import rtlil
from amaranth.hdl import (
    ClockSignal,
    Const,
    Elaboratable,
    Fragment,
    Instance,
    Signal,
    Value,
    ValueCastable,
)
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

from kiwicha.hw.verilog.yosys import rtlil_to_verilog

__all__ = ["emit_rtlil", "emit_verilog", "shared"]

_PORT = re.compile(r"^  wire width \d+ (?:input|output) \d+ (?:signed|) \\(\S+)$", re.MULTILINE)
_RESET_PASSED = re.compile(
    r"^  wire width 1 input \d+  \\rst\n\n|^    connect \\rst \\rst \[0\]\n", re.MULTILINE
)
_CELL = re.compile(r"  cell \\(\S+) \\\S+$")
_ANONYMOUS = re.compile(r"\\port\$\d+\$\d+")


def emit_verilog(
    component: wiring.Component, name: str = "top", *, cells: bool = True
) -> str:
    """Return Verilog-2005 for ``component``, the same bytes on every run.

    Port names are those of the signature, levels joined by ``__``; ``clk`` and ``rst`` belong to
    the domain ``sync``. Constant members (``ready`` of a stream that is always ready) are ports
    too: an output tied to the constant, or an input that is ignored.

    Parameters
    ----------
    name : name of the top module; the others are named after their class or their place.
    cells : whether cells of an FPGA family are instantiated where the component asks for them; for
        a simulator they are replaced by plain logic, the same bits in the same cycles.

    Raises
    ------
    ValueError
        For a name that is no identifier, or a shared component that cannot be shared.
    """
    return rtlil_to_verilog(emit_rtlil(component, name, cells=cells))


def emit_rtlil(component: wiring.Component, name: str = "top", *, cells: bool = True) -> str:
    """Return RTLIL for ``component``, as ``emit_verilog`` does for Verilog."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ValueError(f"name is {name!r}; legal: letters, digits and _, no digit first")
    emission = _Emission(name, cells)
    fragment = Fragment.get(component, emission)
    ports = {}
    for port, value, direction in _ports(component):
        if isinstance(value, Const):
            constant, value = value, Signal(len(value), name=port)
            if direction is PortDirection.Output:
                fragment.add_statements("comb", value.eq(constant))
        ports[port] = (value, direction)
    text, _ = rtlil.convert_fragment(fragment, ports, name, emit_src=False)
    return _merge(text + "".join(emission.definitions), name)


def shared(component: wiring.Component) -> Elaboratable:
    """Wrap a component of which a design has many equal copies.

    Copies are equal when class and public attributes are; so every parameter must be an attribute,
    hashable and fixed. A shared component lives in the domain ``sync`` and has no register with a
    reset: a ``ResetInserter`` or ``EnableInserter`` further up would not reach into it.
    """
    return _Shared(component)


class _Shared(Elaboratable):
    def __init__(self, component: wiring.Component) -> None:
        self.component = component

    def elaborate(self, platform: object) -> Elaboratable | Instance:
        if isinstance(platform, _Emission):
            return platform.instance(self.component)
        return self.component


class _Emission:
    """The elaboration platform: collects one definition for every distinct shared component."""

    def __init__(self, top: str, cells: bool) -> None:
        self.cells = cells
        self.definitions: list[str] = []
        self._names = {top}
        self._known: dict[Hashable, tuple[str, dict[str, int], bool]] = {}

    def instance(self, component: wiring.Component) -> Instance:
        key = _key(component)
        ports = {
            name: (value, direction)
            for name, value, direction in _ports(component)
            if isinstance(value, Signal)
        }
        widths = {name: len(value) for name, (value, _) in ports.items()}
        if key not in self._known:
            self._known[key] = self._define(component, ports, widths)
        name, known_widths, clocked = self._known[key]
        if widths != known_widths:
            raise ValueError(f"two {key[0].__name__} have equal parameters but different ports")
        # Amaranth warns of components that are never elaborated; this one rightly is not.
        component._MustUse__used = True
        arguments = [
            ("i" if direction is PortDirection.Input else "o", port, value)
            for port, (value, direction) in ports.items()
        ]
        if clocked:
            arguments.append(("i", "clk", ClockSignal("sync")))
        return Instance(name, *arguments)

    def _define(
        self,
        component: wiring.Component,
        ports: dict[str, tuple[Signal, PortDirection]],
        widths: dict[str, int],
    ) -> tuple[str, dict[str, int], bool]:
        kind = type(component).__name__
        name, count = kind, 1
        while name in self._names:
            count += 1
            name = f"{kind}_{count}"
        self._names.add(name)
        text, _ = rtlil.convert_fragment(Fragment.get(component, self), ports, name, emit_src=False)
        own = set(_PORT.findall(text[: text.index("\nend\n")]))
        if extra := own - widths.keys() - {"clk", "rst"}:
            raise ValueError(f"shared {kind} uses a clock other than sync: {min(extra)}")
        # Amaranth hands the reset down to where nothing uses it.
        text = _RESET_PASSED.sub("", text)
        if "\\rst [0]" in text:
            raise ValueError(f"shared {kind} has a register with a reset")
        self.definitions.append(text)
        return name, widths, "clk" in own


def _ports(component: wiring.Component) -> Iterator[tuple[str, Value, PortDirection]]:
    for path, member, value in component.signature.flatten(component):
        value = value.as_value() if isinstance(value, ValueCastable) else value
        flow = PortDirection.Input if member.flow == wiring.In else PortDirection.Output
        if len(value):
            yield "__".join(map(str, path)), value, flow


def _key(component: wiring.Component) -> tuple[type, Hashable]:
    members = component.signature.members
    key = type(component), tuple(
        (name, value)
        for name, value in sorted(vars(component).items())
        if not name.startswith("_") and name not in members
    )
    try:
        hash(key)
    except TypeError as error:
        raise ValueError(f"shared {key[0].__name__} has an attribute with {error}") from None
    return key


def _merge(text: str, top: str) -> str:
    """Keep one of every set of modules that differ only in their name and in net numbers."""
    modules: dict[str, list[str]] = {}
    for part in re.split(r"^(?:attribute .*\n)*module ", text, flags=re.MULTILINE)[1:]:
        header, _, body = part.partition("\n")
        modules[header.removeprefix("\\")] = body[: body.rindex("\nend\n")].split("\n")
    # Nets without a name are numbered over the whole design; number them within their module.
    renames = {
        module: {
            old: f"\\port${index}"
            for index, old in enumerate(dict.fromkeys(_ANONYMOUS.findall("\n".join(lines))))
        }
        for module, lines in modules.items()
    }
    representative: dict[str, str] = {}
    kept: dict[tuple[str, ...], str] = {}

    def visit(module: str) -> str:
        if module in representative:
            return representative[module]
        own, child = renames[module], {}
        body = []
        for line in modules[module]:
            if (cell := _CELL.match(line)) and cell[1] in modules:
                child = renames[cell[1]]
                line = line.replace(f"\\{cell[1]} ", f"\\{visit(cell[1])} ", 1)
            elif "\\port$" in line:
                # In a cell, the first name is the child's port and the others are nets in here.
                port, space, rest = line.removeprefix("    connect ").partition(" ")
                if child and line.startswith("    connect "):
                    line = f"    connect {child.get(port, port)}{space}" + _renamed(rest, own)
                else:
                    line = _renamed(line, own)
            elif line == "  end":
                child = {}
            body.append(line)
        representative[module] = kept.setdefault(tuple(body), module)
        return representative[module]

    visit(top)
    ordered = sorted(kept.items(), key=lambda item: item[1] != top)
    return "".join(
        ("attribute \\top 1\n" if module == top else "")
        + "\n".join([f"module \\{module}", *body, "end\n\n"])
        for body, module in ordered
    )


def _renamed(line: str, names: dict[str, str]) -> str:
    return _ANONYMOUS.sub(lambda match: names[match[0]], line)
