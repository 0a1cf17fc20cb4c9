# SPDX-License-Identifier: Apache-2.0
"""The register table is consistent, tells machines apart, and its views say the same."""

import json
import subprocess

import pytest

from kiwicha.hw.control.dispatch import DISPATCH_NUMBER
from kiwicha.hw.control.errors import ERRORS, UNITS, Detail
from kiwicha.hw.control.fetch import FETCH_NUMBER
from kiwicha.hw.control.register_views import to_c_header, to_json, to_markdown, to_python_module
from kiwicha.machine.isa import Engine, ErrorCode
from kiwicha.machine.modes import RequantizeMode
from kiwicha.machine.presets import PRESETS, preset
from kiwicha.machine.register_map import Access, RegisterMap

from ..accelerator.test_faults import cases
from ..accelerator.test_special import faults

VIEWS = (to_json, to_c_header, to_python_module, to_markdown)


@pytest.mark.parametrize("name", PRESETS)
def test_capabilities(name):
    cfg = preset(name)
    registers = RegisterMap(cfg)
    assert registers["identity"].reset == 0x4B495749
    assert registers["fingerprint"].reset == cfg.fingerprint
    assert registers["array"].reset & 0xFFFFFF == (
        cfg.rows | cfg.columns << 8 | cfg.requantize_lanes << 16
    )
    assert registers["weight_bytes"].reset == cfg.weight_bytes
    with pytest.raises(KeyError):
        registers["nonsense"]


def test_requantize_mode_numbers():
    numbers = [
        RegisterMap(preset("tiny").replace(requantize_mode=mode))["array"].reset >> 24
        for mode in RequantizeMode
    ]
    assert numbers == [0, 1, 2, 3]


def test_offsets_are_the_same_for_every_machine():
    wide = preset("tiny").replace(axi_address_width=48)
    maps = [RegisterMap(cfg) for cfg in (*PRESETS.values(), wide)]
    offsets = [{r.name: (r.offset, r.access) for r in registers} for registers in maps]
    every = {name: place for each in offsets for name, place in each.items()}
    assert all(place == every[name] for each in offsets for name, place in each.items())
    assert len({offset for offset, _ in every.values()}) == len(every)
    assert RegisterMap(wide)["read_limit_high"].fields[0].width == 16
    assert RegisterMap(preset("tiny"))["read_limit_high"].fields == ()


def test_seed_and_step_are_registers_where_blocks_are_rounded_by_them():
    blocks = preset("tiny").replace(blocks={"channels": 8})
    without = [list(RegisterMap(blocks)), list(RegisterMap(preset("tiny")))]
    registers = RegisterMap(blocks.replace(blocks={"rounding": "lfsr"}))
    more = [registers["random_seed"], registers["random_step"]]
    assert [register.offset for register in more] == [0x094, 0x098]
    assert all(register.access is Access.WRITE and register.locked for register in more)
    rest = [(r.name, r.offset) for r in registers if r not in more]
    assert all([(r.name, r.offset) for r in each] == rest for each in without)


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_deterministic_and_tell_machines_apart(view):
    texts = [view(RegisterMap(preset(name))) for name in ("tiny", "tiny", "default")]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].endswith("\n")
    assert not any(line != line.rstrip() for line in texts[0].splitlines())


def test_python_module_and_json_agree_with_the_table():
    registers = RegisterMap(preset("default"))
    module: dict[str, int] = {}
    exec(to_python_module(registers), module)
    described = json.loads(to_json(registers))
    assert len(described["registers"]) == len(registers.registers)
    for register, entry in zip(registers, described["registers"], strict=True):
        name = register.name.upper()
        assert module[f"{name}_OFFSET"] == register.offset == entry["offset"]
        assert module[f"{name}_RESET"] == register.reset == entry["reset"]
        for part in register.fields:
            if part.name != "value":
                field = f"{name}_{part.name.upper()}"
                assert module[f"{field}_MASK"] >> module[f"{field}_SHIFT"] == (1 << part.width) - 1
    assert module["ERROR_WATCHDOG"] == ErrorCode.WATCHDOG
    assert registers["interrupt_status"].access is Access.CLEAR


def test_errors_and_units_are_explained():
    assert list(ERRORS) == list(ErrorCode)
    assert list(UNITS) == [*range(len(Engine)), DISPATCH_NUMBER, FETCH_NUMBER]
    assert [name for name, _ in UNITS.values()][: len(Engine)] == [e.name for e in Engine]
    text = to_markdown(RegisterMap(preset("tiny")))
    for code in ErrorCode:
        assert f"| {code.value} | {code.name} | {ERRORS[code].meaning} |" in text
    for number, (name, about) in UNITS.items():
        assert f"| {number} | {name} | {about} |" in text
    described = json.loads(to_json(RegisterMap(preset("tiny"))))
    assert {entry["name"]: entry["code"] for entry in described["errors"]} == {
        code.name: code.value for code in ErrorCode
    }
    assert described["units"] == {name: number for number, (name, _) in UNITS.items()}


def test_addresses_of_errors_are_what_the_machines_say():
    # These are the cases that run on the simulated machines, with the addresses found there.
    seen = set()
    for name, code, address, _ in [*cases(), *faults()]:
        seen.add(detail := ERRORS[code].detail)
        right = {
            Detail.NOTHING: address == 0,
            Detail.UNIT: address in UNITS,
            Detail.MEMORY: address % 8 == 0,
        }
        assert right[detail], name
    # Compressed weights have tests of their own.
    assert seen == set(Detail) - {ERRORS[ErrorCode.MALFORMED_STREAM].detail}


@pytest.mark.parametrize(("name", "last"), [("tiny", "0xfffffff8"), ("large", None)])
def test_the_last_beat_cannot_be_granted(name, last):
    cfg = preset(name)
    beat, width = cfg.beat_bytes, cfg.axi_address_width
    text = to_markdown(RegisterMap(cfg))
    assert f"whole beats of {beat} bytes" in text
    assert f"from `{last or hex(2**width - beat)}` on, cannot be granted" in text


@pytest.mark.cc
def test_c_header_compiles(tmp_path):
    registers = RegisterMap(preset("default"))
    module: dict[str, int] = {}
    exec(to_python_module(registers), module)
    (tmp_path / "registers.h").write_text(to_c_header(registers))
    checks = "\n".join(
        f'_Static_assert(KIWICHA_{name} == {value}u, "{name}");'
        for name, value in module.items()
        if isinstance(value, int)
    )
    assert checks.count("_Static_assert") > 150
    (tmp_path / "check.c").write_text(f'#include "registers.h"\n{checks}\n')
    command = ["cc", "-std=c11", "-Wall", "-Werror", "-fsyntax-only", str(tmp_path / "check.c")]
    subprocess.run(command, check=True, timeout=60)
