# SPDX-License-Identifier: Apache-2.0
"""What capabilities cost: every one is in the table, and one of a small machine is counted."""

import pytest

from kiwicha.bench.capabilities import BASE, CHANGES, capabilities
from kiwicha.machine.capabilities import Capability
from kiwicha.machine.presets import preset

from ..support.sources import BUILD_ROOT

TINY = preset("tiny").replace(name="tiny-one-lane", rows=1, columns=1, cells="ecp5")


def test_every_capability_is_measured() -> None:
    assert BASE.capabilities == ()
    kinds = {kind.table for kind in Capability.__subclasses__()}
    kinds |= {"transposer", "dynamic", "depthwise", "forwarding"}
    assert {field for change in CHANGES.values() for field in change} == kinds
    for change in CHANGES.values():
        BASE.replace(**change)


@pytest.mark.fpga
def test_a_transposer_costs_something() -> None:
    table = capabilities(TINY, {"transposer": {"transposer": True}}, cache=BUILD_ROOT / "synth")
    more, without = table.values
    assert 0 < more["LUT-eq"] < without["LUT-eq"]
    assert more["DSP"] == 0
    assert [row[0] for row in table.rows] == ["transposer", "all of tiny-one-lane without"]
