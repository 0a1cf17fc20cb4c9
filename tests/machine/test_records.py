# SPDX-License-Identifier: Apache-2.0
"""Records have the same fields at the same places for NumPy and for the hardware."""

import numpy as np
import pytest
from amaranth.lib import data

from kiwicha.machine.records import (
    PARAMETER_LAYOUT,
    PARAMETER_RECORD,
    SLOT_LAYOUT,
    SLOT_RECORD,
)

PAIRS = [(PARAMETER_RECORD, PARAMETER_LAYOUT), (SLOT_RECORD, SLOT_LAYOUT)]


@pytest.mark.parametrize(("record", "layout"), PAIRS, ids=["parameter", "slot"])
def test_places(record, layout):
    assert record.itemsize == 16
    fields = [*record.fields.items()]
    if "slope" in record.fields:  # only some machines look at it
        name, (kind, offset) = fields.pop()
        assert (name, kind, offset) == ("slope", np.float32, 12)
    rest, _ = fields.pop()
    assert rest == "rest"
    for name, (kind, offset) in fields:
        assert (layout[name].offset, layout[name].width) == (8 * offset, 8 * kind.itemsize)
    assert list(layout.members) == [name for name, _ in fields]


def test_a_parameter_read_as_bits():
    record = np.zeros(1, PARAMETER_RECORD)
    record["bias"], record["multiplier"], record["shift"] = -3, 2**32 - 5, -31
    bits = data.Const(
        PARAMETER_LAYOUT,
        int.from_bytes(record.tobytes(), "little") & ((1 << PARAMETER_LAYOUT.size) - 1),
    )
    assert (bits.bias, bits.multiplier, bits.shift) == (-3, 2**32 - 5, -31)
