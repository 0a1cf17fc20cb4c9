# SPDX-License-Identifier: Apache-2.0
"""Documentation of ports is true, and docstrings have one dialect of sections."""

import ast
import re
from pathlib import Path

import pytest

from kiwicha.hw.accelerator import Accelerator
from kiwicha.machine.presets import PRESETS

from .support import docs

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = sorted(
    path for name in ("hw", "machine", "boards") for path in (ROOT / name).rglob("*.py")
)

#: All signals of AXI4 and AXI4-Lite (AMBA AXI, issue H, chapters A2 and B1), clock and reset not.
_ADDRESS = "id addr len size burst lock cache prot qos region user valid ready"
AXI4 = {f"{channel}{name}" for channel in ("aw", "ar") for name in _ADDRESS.split()} | set(
    "wdata wstrb wlast wuser wvalid wready bid bresp buser bvalid bready "
    "rid rdata rresp rlast ruser rvalid rready".split()
)
AXI4_LITE = set(
    "awaddr awprot awvalid awready wdata wstrb wvalid wready bresp bvalid bready "
    "araddr arprot arvalid arready rdata rresp rvalid rready".split()
)


@pytest.fixture(scope="module")
def ports():
    """Width by name."""
    machine = Accelerator(PRESETS["tiny"])
    return {
        "__".join(map(str, path)): len(value)
        for path, _, value in machine.signature.flatten(machine)
    }


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=lambda path: path.name)
def test_ports_that_are_named_are_there(path, ports):
    for name in re.findall(r"\b((?:m_axi|s_axil)_\w+)", path.read_text(encoding="utf-8")):
        assert name in ports, f"{path} names {name}"


def test_signals_that_are_not_there(ports):
    def of(prefix):
        return {name.removeprefix(prefix) for name in ports if name.startswith(prefix)}

    text = " ".join((ROOT / "docs/architecture.md").read_text(encoding="utf-8").split())
    (said,) = re.findall(r"Of AXI4 it has no ([^:;.]*)", text)
    assert set(re.findall(r"`(\w+)`", said)) == AXI4 - of("m_axi_")
    assert of("m_axi_") <= AXI4
    assert of("s_axil_") == AXI4_LITE
    assert set(ports) - {f"m_axi_{n}" for n in AXI4} - {f"s_axil_{n}" for n in AXI4_LITE} == {
        "interrupt"
    }
    assert [ports[f"m_axi_{name}"] for name in ("awid", "arid", "bid", "rid")] == [1] * 4


def test_the_page_of_operators_is_what_they_say(monkeypatch, tmp_path):
    assert docs.main(["--check"]) == 0, "run `make docs`"
    stale = tmp_path / "operators.md"
    stale.write_text(docs.page().replace("runtime-exact |", "exact |", 1), encoding="utf-8")
    monkeypatch.setattr(docs, "PAGE", stale)
    assert docs.main(["--check"]) == 1
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0


#: Every Python file of ours.
CODE = sorted(
    path.relative_to(ROOT)
    for room in (
        "machine", "hw", "golden", "cost", "compiler", "report", "sim", "boards", "models",
        "bench", "kiwicha/api", "kiwicha/cli", "tests", "examples",
    )
    for path in (ROOT / room).rglob("*.py")
)
SECTIONS = ("Parameters", "Members", "Raises")


def deviations(docstring):
    """Lines of a docstring that are not of the dialect: sections of numpydoc, and only three.

    An entry of Parameters and Members is `name : text`, what goes on is indented; one of Raises is
    an exception or several, its text below it and indented.
    """
    lines, section = [*docstring.splitlines(), ""], None
    for line, following in zip(lines, lines[1:], strict=False):
        if re.fullmatch(r"-{3,}", following) and line:
            section = line
            if line not in SECTIONS or len(following) != len(line):
                yield line
        elif re.match(r"(Args|Arguments|Attributes|Returns|Yields|Ports):|:(param|return)", line):
            yield line
        elif section and line and line[0] not in " -":
            entry = r"\w+(, \w+)*" if section == "Raises" else r"[\w<][^:]* : .*"
            if not re.fullmatch(entry, line):
                yield line


@pytest.mark.parametrize("path", CODE, ids=str)
def test_docstrings_have_one_dialect(path):
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = list(deviations(ast.get_docstring(node) or ""))
            assert not found, f"{path}, {getattr(node, 'name', 'module')}: {found}"


@pytest.mark.parametrize(("text", "wrong"), [
    ("Parameters\n----------\ncfg : the machine.\n    More.\nof, two : numbers.", []),
    ("Parameters\n----------\ncfg\n    The machine.", ["cfg"]),
    ("Members\n-------\ni : In(1)\n    Text.\n\nA sentence.", ["A sentence."]),
    ("Raises\n------\nValueError\n    For nothing.", []),
    ("Raises\n------\nValueError : for nothing.", ["ValueError : for nothing."]),
    ("Returns\n-------\nint : it.", ["Returns"]),
    ("Parameters\n---------\ncfg : the machine.", ["Parameters"]),
    ("Text.\n\nArgs:\n    cfg: the machine.", ["Args:"]),
])
def test_what_the_dialect_is(text, wrong):
    assert list(deviations(text)) == wrong
