# SPDX-License-Identifier: Apache-2.0
"""The drivers' registers are those of every machine."""

import subprocess

import pytest

from kiwicha.drivers import registers
from kiwicha.hw.control.driver_views import common_counters, every_register
from kiwicha.hw.control.errors import ERRORS, UNITS, Detail
from kiwicha.hw.control.register_views import to_c_header
from kiwicha.machine.presets import PRESETS
from kiwicha.machine.register_map import IDENTITY, VERSION, RegisterMap

from ..support import hashes
from ..support.registers import files, main

MACHINES = {**PRESETS, **hashes.MACHINES}


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_they_are_what_the_table_gives(path):
    """`make registers` writes them."""
    assert path.read_text() == files()[path]


@pytest.mark.parametrize("name", MACHINES)
def test_each_machine_s_are_among_them(name):
    every = {register.name: register for register in every_register()}
    found = list(RegisterMap(MACHINES[name]))
    for register in found:
        other = every[register.name]
        assert (register.offset, register.access) == (other.offset, other.access)
        fields = {part.name: (part.low, part.width) for part in other.fields}
        for part in register.fields:
            assert fields[part.name][0] == part.low
            assert fields[part.name] == (part.low, part.width) or part.name == "value"
    counters = {register.name: register.offset for register in common_counters()}
    assert counters.items() <= {r.name: r.offset for r in found if r.counted}.items()
    assert counters == registers.COUNTERS


def test_the_module():
    assert registers.IDENTITY == IDENTITY
    assert (registers.VERSION_MAJOR, registers.VERSION_MINOR) == VERSION
    for register in every_register():
        assert getattr(registers, f"{register.name.upper()}_OFFSET") == register.offset
    details = [registers.DETAIL_NOTHING, registers.DETAIL_MEMORY, registers.DETAIL_UNIT,
               registers.DETAIL_STREAM]
    names = dict(zip(Detail, details, strict=True))
    assert registers.ERRORS == {
        code: (code.name, names[about.detail], about.meaning) for code, about in ERRORS.items()
    }
    assert registers.UNITS == {number: name for number, (name, _) in UNITS.items()}


def test_stale_ones_are_noticed(monkeypatch, tmp_path, capsys):
    stale = {tmp_path / "a.h": "new\n"}
    monkeypatch.setattr("tests.support.registers.files", lambda: stale)
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert (tmp_path / "a.h").read_text() == "new\n"
    assert main(["--check"]) == 0
    assert capsys.readouterr().out.count("a.h") == 2


@pytest.mark.cc
def test_beside_the_header_of_a_machine(tmp_path):
    """Firmware may include both."""
    (tmp_path / "registers.h").write_text(to_c_header(RegisterMap(PRESETS["default"])))
    folder = next(path.parent for path in files() if path.suffix == ".h")
    (tmp_path / "both.c").write_text(
        '#include "registers.h"\n#include "kiwicha_registers.h"\nint x = KIWICHA_IDENTITY_OFFSET;\n'
    )
    subprocess.run(
        ["cc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
         f"-I{folder}", str(tmp_path / "both.c")], check=True, timeout=60,
    )
