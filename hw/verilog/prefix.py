# SPDX-License-Identifier: Apache-2.0
"""Verilog whose modules have a prefix, so that several machines are in one design."""

import re
from typing import Final

__all__ = ["check_name", "with_prefix"]

_VHDL: Final = (
    "abs access after alias all and architecture array assert assume assume_guarantee attribute "
    "begin block body buffer bus case component configuration constant context cover default "
    "disconnect downto else elsif end entity exit fairness file for force function generate "
    "generic group guarded if impure in inertial inout is label library linkage literal loop map "
    "mod nand new next nor not null of on open or others out package parameter port postponed "
    "procedure process property protected pure range record register reject release rem report "
    "restrict restrict_guarantee return rol ror select sequence severity shared signal sla sll "
    "sra srl strong subtype then to transport type unaffected units until use variable vmode "
    "vprop vunit wait when while with xnor xor"
)
_VERILOG: Final = (
    "always always_comb always_ff always_latch assign automatic bind bins bit break buf bufif0 "
    "bufif1 byte casex casez cell chandle checker class clocking cmos config const constraint "
    "continue covergroup coverpoint cross deassign defparam design dist do edge endcase endmodule "
    "enum event expect export extends extern final first_match foreach forever fork forkjoin "
    "genvar global highz0 highz1 iff ifnone import incdir include initial inside instance int "
    "integer interface intersect join large let liblist local localparam logic longint "
    "macromodule matches medium modport module negedge nettype nmos noshowcancelled notif0 notif1 "
    "output packed pmos posedge primitive priority program pull0 pull1 pulldown pullup "
    "pulsestyle_ondetect pulsestyle_onevent rand randc randcase randsequence rcmos real realtime "
    "ref reg repeat rnmos rpmos rtran rtranif0 rtranif1 scalared shortint shortreal showcancelled "
    "signed small soft solve specify specparam static string strong0 strong1 struct super supply0 "
    "supply1 table tagged task this throughout time timeprecision timeunit tran tranif0 tranif1 "
    "tri tri0 tri1 triand trior trireg typedef union unique unsigned untyped uwire var vectored "
    "virtual void wand weak weak0 weak1 wildcard wire within wor"
)
_RESERVED: Final = frozenset(f"{_VHDL} {_VERILOG}".split())

_MODULE = re.compile(r"^module (\\\S+|\w+)", re.MULTILINE)
_USE = re.compile(r"^(module |  )(\\\S+ |\w+)(?=[ (])", re.MULTILINE)


def check_name(name: str) -> None:
    """Raise ValueError for a name that is none in Verilog, SystemVerilog and VHDL alike."""
    if not re.fullmatch(r"[A-Za-z](_?[A-Za-z0-9])*", name):
        raise ValueError(
            f"name is {name!r}; legal: letters, digits and single _, a letter first, no _ last"
        )
    if name.lower() in _RESERVED:
        raise ValueError(f"name is {name!r}, a word of VHDL or Verilog")


def with_prefix(verilog: str, top: str, name: str) -> str:
    """Return what `emit_verilog` made with ``top`` called ``name`` and all else ``name_...``.

    All module names are legal in VHDL as well, and different where case does not count. Ports,
    signals and cells of FPGA families keep theirs.

    Raises
    ------
    ValueError
        For a name that `check_name` refuses.
    """
    check_name(name)
    names, taken = {top: name}, {name.lower()}
    for found in _MODULE.findall(verilog):
        module = found.removeprefix("\\")
        if module != top:
            names[module] = _free(f"{name}_{module.removeprefix(f'{top}.')}", taken)

    def renamed(match: re.Match[str]) -> str:
        module = match[2].strip().removeprefix("\\")
        return f"{match[1]}{names[module]}" if module in names else match[0]

    return _USE.sub(renamed, verilog)


def _free(wanted: str, taken: set[str]) -> str:
    """Return a legal name like ``wanted`` that is not ``taken``, and take it."""
    base = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", wanted)).strip("_")
    made, count = base, 1
    while made.lower() in taken or made.lower() in _RESERVED:
        count += 1
        made = f"{base}_{count}"
    taken.add(made.lower())
    return made
