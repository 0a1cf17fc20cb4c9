# SPDX-License-Identifier: Apache-2.0
"""The register map for software: JSON, C header, Python module, Markdown; same bytes every time."""

import json
from collections.abc import Iterator

from kiwicha.hw.control.errors import ERRORS, UNITS
from kiwicha.machine.isa import Engine, ErrorCode
from kiwicha.machine.register_map import ADDRESS_BITS, Access, Field, Register, RegisterMap

__all__ = ["to_c_header", "to_json", "to_markdown", "to_python_module"]

_ACCESS = {
    Access.READ: "read-only",
    Access.WRITE: "read-write",
    Access.PULSE: "write-one-pulse",
    Access.CLEAR: "write-one-to-clear",
}


def to_json(registers: RegisterMap) -> str:
    """Return everything there is to know, as one JSON object."""
    described = {
        "name": registers.cfg.name,
        "aperture_bytes": 1 << ADDRESS_BITS,
        "registers": [
            {
                "name": register.name,
                "offset": register.offset,
                "access": _ACCESS[register.access],
                "reset": register.reset,
                "constant": register.constant,
                "locked_while_running": register.locked,
                "description": register.description,
                "fields": [
                    {
                        "name": part.name,
                        "low": part.low,
                        "width": part.width,
                        "reset": part.reset,
                        "description": part.description,
                    }
                    for part in register.fields
                ],
            }
            for register in registers
        ],
        "error_codes": {code.name: code.value for code in ErrorCode},
        "errors": [
            {"name": code.name, "code": code.value, "meaning": ERRORS[code].meaning,
             "address": ERRORS[code].address}
            for code in ErrorCode
        ],
        "units": {name: number for number, (name, _) in UNITS.items()},
        "engines": {engine.name: engine.value for engine in Engine},
    }
    return json.dumps(described, indent=2) + "\n"


def _constants(registers: RegisterMap) -> Iterator[tuple[str, int, str]]:
    """Name, value and comment of every constant; an empty name starts a paragraph."""
    yield "APERTURE_BYTES", 1 << ADDRESS_BITS, "size of the register space"
    for register in registers:
        yield "", 0, ""
        name = register.name.upper()
        about = f"{register.description} ({_ACCESS[register.access]})"
        yield f"{name}_OFFSET", register.offset, about
        yield f"{name}_RESET", register.reset, "constant" if register.constant else "after reset"
        for part in _named_fields(register):
            yield f"{name}_{part.name.upper()}_SHIFT", part.low, part.description
            yield f"{name}_{part.name.upper()}_MASK", ((1 << part.width) - 1) << part.low, ""
    yield "", 0, ""
    for code in ErrorCode:
        about = f"{ERRORS[code].meaning}; error_address: {ERRORS[code].address}"
        yield f"ERROR_{code.name}", code.value, about
    yield "", 0, ""
    for engine in Engine:
        yield f"ENGINE_{engine.name}", engine.value, ""
    yield "", 0, ""
    for number, (name, about) in UNITS.items():
        yield f"UNIT_{name}", number, about


def _named_fields(register: Register) -> Iterator[Field]:
    return (part for part in register.fields if part.name != "value")


def to_c_header(registers: RegisterMap, prefix: str = "KIWICHA") -> str:
    """Return a C header: byte offsets, reset values, shifts and masks, error codes; the macros
    begin with ``prefix``."""
    lines = [
        "/* SPDX-License-Identifier: Apache-2.0 */",
        f"/* Registers of the Kiwicha machine {registers.cfg.name!r}; generated. */",
        f"#ifndef {prefix}_REGISTERS_H",
        f"#define {prefix}_REGISTERS_H",
        "",
    ]
    for name, value, comment in _constants(registers):
        tail = f"  /* {comment} */" if comment else ""
        lines.append(f"#define {prefix}_{name} {value:#010x}u{tail}" if name else "")
    return "\n".join([*lines, "", "#endif", ""])


def to_python_module(registers: RegisterMap) -> str:
    """Return a Python module with the constants of the C header, without their prefix."""
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        f'"""Registers of the Kiwicha machine {registers.cfg.name!r}; generated."""',
        "",
    ]
    for name, value, comment in _constants(registers):
        tail = f"  # {comment}" if comment else ""
        lines.append(f"{name} = {value:#010x}{tail}" if name else "")
    return "\n".join([*lines, ""])


def to_markdown(registers: RegisterMap) -> str:
    """Return tables of the registers, their named fields, errors and units; and the windows."""
    lines = [
        "| Offset | Register | Access | Reset | Meaning |",
        "|---|---|---|---|---|",
    ]
    for register in registers:
        about = register.description + ("; locked while running" if register.locked else "")
        lines.append(
            f"| `{register.offset:#05x}` | `{register.name}` | {_ACCESS[register.access]} "
            f"| `{register.reset:#x}` | {about} |"
        )
    lines += ["", "| Register | Bits | Field | Reset | Meaning |", "|---|---|---|---|---|"]
    for register in registers:
        for part in _named_fields(register):
            bits = f"{part.low + part.width - 1}:{part.low}" if part.width > 1 else f"{part.low}"
            lines.append(
                f"| `{register.name}` | {bits} | `{part.name}` | `{part.reset:#x}` "
                f"| {part.description} |"
            )
    lines += ["", *_errors(), "", _windows(registers)]
    return "\n".join([*lines, ""])


def _errors() -> Iterator[str]:
    yield "Why the last program was stopped; `error_address` is cut to the machine's address width:"
    yield ""
    yield "| `error_code` | Name | Meaning | `error_address` |"
    yield "|---|---|---|---|"
    for code in ErrorCode:
        yield f"| {code.value} | {code.name} | {ERRORS[code].meaning} | {ERRORS[code].address} |"
    yield ""
    yield "| Number | Unit | Where it is the address |"
    yield "|---|---|---|"
    for number, (name, about) in UNITS.items():
        yield f"| {number} | {name} | {about} |"


def _windows(registers: RegisterMap) -> str:
    beat, width = registers.cfg.beat_bytes, registers.cfg.axi_address_width
    return (
        f"A window grants whole beats of {beat} bytes; a base or a limit inside a beat excludes "
        "it. Limits are exclusive and as wide as an address, so that the last beat of the address "
        f"space, from `{(1 << width) - beat:#x}` on, cannot be granted. A window whose limit is "
        "not above its base grants nothing."
    )
