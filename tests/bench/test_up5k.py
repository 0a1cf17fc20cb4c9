# SPDX-License-Identifier: Apache-2.0
"""What is too much for an iCE40 UP5K is the difference to its data sheet; no synthesis."""

from collections import Counter

import pytest

from kiwicha.bench import up5k
from kiwicha.bench.synthesis import Netlist
from kiwicha.bench.units import HARNESS, unit_of


def test_names_of_a_board() -> None:
    assert unit_of("dut.accelerator.store.walker.x") == "STORE"
    assert unit_of("dut.memory.bank_3.0.0") == "on-chip memory"
    assert unit_of("dut.link.receiver.crc") == "serial link"


def test_what_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {
        "array": Counter(SB_LUT4=5000, SB_MAC16=4, SB_RAM40_4K=20),
        "STORE": Counter(SB_LUT4=300, SB_CARRY=7),
        HARNESS: Counter(SB_LUT4=1000),
    }
    asked = []

    def synthesize(component, name, target, **_):
        asked.append(target)
        return Netlist(name, target, None, cells, 1.0)

    monkeypatch.setattr(up5k, "synthesize", synthesize)
    table = up5k.smallest(progress=lambda _: None)
    rows = {row[0]: row[1:] for row in table.rows}
    assert asked == ["ice40"]
    assert rows["array"] == ("5,000", "4", "20")
    assert rows["total"] == ("5,300", "4", "20")
    assert rows["there are"] == ("5,280", "8", "30")
    assert rows["too many"] == ("20", "0", "0")
    assert HARNESS not in rows
