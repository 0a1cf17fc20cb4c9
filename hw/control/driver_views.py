# SPDX-License-Identifier: Apache-2.0
"""The register map for drivers of any machine: one C header, one Python module.

Offsets and fields are the same wherever a machine has them, so a driver needs those of no machine
in particular; what a machine is, it reads.
"""

from collections.abc import Iterator
from typing import Final

from kiwicha.hw.control.errors import ERRORS, UNITS, Detail
from kiwicha.machine.isa import ErrorCode
from kiwicha.machine.presets import PRESETS
from kiwicha.machine.register_map import (
    ADDRESS_BITS,
    IDENTITY,
    RECORD_OFFSET,
    VERSION,
    Field,
    Register,
    RegisterMap,
)

__all__ = ["common_counters", "every_register", "to_driver_header", "to_driver_module"]

_LEAST: Final = PRESETS["tiny"]
_MOST: Final = _LEAST.replace(
    axi_address_width=48, update={"lanes": 1}, blocks={"channels": 8, "rounding": "lfsr"},
    transposer=True, residual={"tables": 2}, special={"lanes": 1}, training={"classes": 16},
)


def every_register() -> list[Register]:
    """Return all registers that a machine can have."""
    return list(RegisterMap(_MOST))


def common_counters() -> list[Register]:
    """Return the counters that every machine has, as they follow each other."""
    return [register for register in RegisterMap(_LEAST) if register.counted]


def _named(register: Register) -> Iterator[Field]:
    return (part for part in register.fields if part.name != "value")


def _constants() -> Iterator[tuple[str, int, str]]:
    """Name, value and comment; an empty name starts a paragraph."""
    yield "IDENTITY", IDENTITY, 'what the register of this name reads: the letters "KIWI"'
    yield "VERSION_MAJOR", VERSION[0], "of the interface that this describes"
    yield "VERSION_MINOR", VERSION[1], ""
    yield "APERTURE_BYTES", 1 << ADDRESS_BITS, "size of the register space"
    yield "COUNTERS_OFFSET", RECORD_OFFSET, "where the counters begin"
    for register in every_register():
        yield "", 0, ""
        name = register.name.upper()
        yield f"{name}_OFFSET", register.offset, register.description
        for part in _named(register):
            mask = ((1 << part.width) - 1) << part.low
            yield f"{name}_{part.name.upper()}_SHIFT", part.low, part.description
            yield f"{name}_{part.name.upper()}_MASK", mask, ""
    yield "", 0, ""
    for code in ErrorCode:
        yield f"ERROR_{code.name}", code.value, ""
    yield "", 0, ""
    for place, detail in enumerate(Detail):
        yield f"DETAIL_{detail.name}", place, f"error_address holds: {detail.value}"


def _entries(name: str, about: str, rows: list[str]) -> list[str]:
    """Return a list as a macro that calls its argument for every row."""
    lines = [f"#define {name}(ENTRY)", *(f"    ENTRY({row})" for row in rows)]
    return ["", f"/* {about} */", *(f"{line} \\" for line in lines[:-1]), lines[-1]]


def to_driver_header() -> str:
    """Return a C99 header: byte offsets, shifts and masks, and lists of counters and errors."""
    lines = [
        "/* SPDX-License-Identifier: Apache-2.0 */",
        "/* Registers of every Kiwicha machine; generated. */",
        "#ifndef KIWICHA_DRIVER_REGISTERS_H",
        "#define KIWICHA_DRIVER_REGISTERS_H",
        "",
    ]
    for name, value, comment in _constants():
        tail = f"  /* {comment} */" if comment else ""
        lines.append(f"#define KIWICHA_{name} {value:#010x}u{tail}" if name else "")
    counters = [f"{r.name}, {r.offset:#05x}u" for r in common_counters()]
    lines += _entries("KIWICHA_COUNTERS", "Counters of every machine: name, offset", counters)
    errors = [
        f'{code.value}u, KIWICHA_DETAIL_{about.detail.name}, "{code.name}", "{about.meaning}"'
        for code, about in ERRORS.items()
    ]
    lines += _entries(
        "KIWICHA_ERRORS", "Why a machine stops: code, what error_address holds, name, meaning",
        errors,
    )
    units = [f'{number}u, "{name}"' for number, (name, _) in UNITS.items()]
    lines += _entries("KIWICHA_UNITS", "Units by the numbers that error_address holds", units)
    return "\n".join([*lines, "", "#endif", ""])


def to_driver_module() -> str:
    """Return a Python module: the constants of the header, and dictionaries in place of lists."""
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        '"""Registers of every Kiwicha machine; generated."""',
        "",
        "from typing import Final",
        "",
        '__all__ = ["COUNTERS", "ERRORS", "UNITS"]',
        "",
    ]
    for name, value, _ in _constants():
        lines.append(f"{name}: Final = {value:#010x}" if name else "")
    lines += ["", "COUNTERS: Final = {"]
    lines += [f'    "{r.name}": {r.offset:#05x},' for r in common_counters()]
    lines += ["}", '"""Offsets of the counters of every machine."""', "ERRORS: Final = {"]
    for code, about in ERRORS.items():
        lines.append(f'    {code.value}: ("{code.name}", DETAIL_{about.detail.name},')
        lines.append(f'        "{about.meaning}"),')
    lines += ["}", '"""Name, what error_address holds, meaning, by code."""', "UNITS: Final = {"]
    lines += [f'    {number}: "{name}",' for number, (name, _) in UNITS.items()]
    lines += ["}", '"""Names of units by the numbers that error_address holds."""']
    return "\n".join([*lines, ""])
