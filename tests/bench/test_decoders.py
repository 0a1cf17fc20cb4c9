# SPDX-License-Identifier: Apache-2.0
"""The cost of small decoders: counted, and larger for more entries a cycle."""

from kiwicha.bench.decoders import decoders
from kiwicha.hw.sparse.window import BitWindow

from ..support.sources import BUILD_ROOT

CACHE = BUILD_ROOT / "synth"


def test_more_entries_cost_more() -> None:
    chosen = [("run-length", 1), ("run-length", 3)]
    one, three = decoders(
        chosen, columns=8, width=64, cache=CACHE, progress=lambda _: None
    ).values
    assert 0 < one["LUT"] < three["LUT"]
    # A window of bits is registers: a beat, the largest piece, and a beat more.
    for found, entries in ((one, 1), (three, 3)):
        window = BitWindow(8, [0, *(12 * (k + 1) for k in range(entries))], slack=64)
        assert found["FF"] > window.capacity
        assert found["block RAM"] == 0  # has no pointers


def test_a_table_has_a_row_for_each() -> None:
    table = decoders(
        [("bitmask", 0)], columns=8, width=64, cache=CACHE, progress=lambda _: None
    )
    assert [row[:2] for row in table.rows] == [("bitmask", "-")]
    assert all(len(row) == len(table.columns) for row in table.rows)
