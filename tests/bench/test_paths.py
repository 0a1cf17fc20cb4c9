# SPDX-License-Identifier: Apache-2.0
"""Static timing analysis of a small file of delays, every figure of it done by hand."""

import pytest

from kiwicha.bench.paths import slowest_paths

REGISTER = """
  (CELL (CELLTYPE "TRELLIS_FF")
    (INSTANCE {name})
    (DELAY (ABSOLUTE
        (IOPATH CLK Q (430:477:{clock}) (430:477:500))
    ))
    (TIMINGCHECK
      (SETUPHOLD (posedge DI) (posedge CLK) (0:0:{setup}) (267:285:303))
      (SETUPHOLD (negedge DI) (posedge CLK) (0:0:0) (267:285:303))
    )
  )
"""
WIRES = [
    ("a_0/Q", "lut/A", 300), ("a_1/Q", "lut/B", 900), ("lut/F", "b/DI", 1000), ("lut/F", "c/DI", 9),
    ("c/Q", "b_1/DI", 2000), ("io/O", "a_0/DI", 9000), ("clk/O", "a_0/CLK", 0),
]


def delays(wires=WIRES):
    """Return registers a_0, a_1, b, b_1, c and a LUT; a_0 is faster into the LUT but slow in it."""
    registers = [
        REGISTER.format(name=name, clock=525, setup=setup)
        for name, setup in (("a_0", 0), ("a_1", 0), ("b", 70), (r"b\_1", 0), ("c", 0))
    ]
    lines = "\n".join(f"(INTERCONNECT {a} {b} (1:2:{ns}) (1:2:{ns - 1}))" for a, b, ns in wires)
    lut = """(INSTANCE lut)
        (IOPATH A F (200:218:236) (200:218:1200))
        (IOPATH B F (200:218:236) (200:218:236))
    """
    return f"(INSTANCE )\n{lines}\n{lut}\n{''.join(registers)}"


def test_paths():
    found = slowest_paths(delays(), 9)
    assert [(p.first.cell, p.last.cell, p.last.port) for p in found] == [
        ("a_0", "b", "DI"), ("c", "b_1", "DI"), ("a_0", "c", "DI"),
    ]
    slowest = found[0]
    assert slowest.delay == pytest.approx(0.525 + 0.3 + 1.2 + 1.0 + 0.07)
    assert slowest.routing == pytest.approx(1.3)
    assert slowest.cells == ("a_0", "lut", "b")
    assert slowest.begin == slowest.end == "posedge clk"
    assert found[1].delay == pytest.approx(2.525)
    assert found[2].delay == pytest.approx(0.525 + 0.3 + 1.2 + 0.009)


def test_a_path_for_each_pair_of_names():
    found = slowest_paths(delays(), 9, name=lambda cell: "b" if cell != "c" else cell)
    assert [p.last.cell for p in found] == ["b", "b_1", "c"]
    assert [p.last.cell for p in slowest_paths(delays(), 9, name=lambda _: "word")] == ["b"]
    assert [p.last.cell for p in slowest_paths(delays(), 2)] == ["b", "b_1"]


def test_what_is_no_design_is_refused():
    with pytest.raises(ValueError, match="^there is a combinational loop before b$"):
        slowest_paths(delays([*WIRES, ("lut/F", "lut/B", 5)]), 5)
    with pytest.raises(ValueError, match="^no delays: this is no SDF file"):
        slowest_paths("nothing", 5)
