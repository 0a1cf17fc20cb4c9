# SPDX-License-Identifier: Apache-2.0
"""What the documentation says of the machine's ports is what the Verilog has."""

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
