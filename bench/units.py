# SPDX-License-Identifier: Apache-2.0
"""Which unit of the machine a cell of a flattened netlist belongs to, by the cell's name.

After flattening, Yosys names a cell after a net beside it, and a net carries the path of submodules
that it was declared in. So the units are counted in place, with all that is simplified across
their borders; a cell at a border may be counted for either side.
"""

import re

__all__ = ["HARNESS", "UNITS", "unit_of"]

HARNESS = "(harness)"

#: Units in the order of the data flow, and the paths that they begin with. The longest path that
#: fits decides. What a table calls "other" of a part is the part without its named units.
UNITS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("array", ("compute.array",)),
    ("accumulators", ("compute.accumulators",)),
    ("compute control", ("compute",)),
    ("activation scratchpad", ("compute.activation",)),
    ("weight scratchpad", ("compute.weight",)),
    ("requantizers", ("vector.lane",)),
    ("parameter memory", ("vector.parameters",)),
    ("output buffer", ("vector.output",)),
    ("dynamic quantization", ("vector.dynamic", "vector.integers")),
    ("ranges and shifts", ("vector.range", "vector.shift", "vector.slots", "vector.mask")),
    ("VECTOR control", ("vector",)),
    ("SPECIAL", ("special",)),
    ("UPDATE", ("update",)),
    ("weight decoders", ("load.path", "load.jobs")),
    ("LOAD", ("load",)),
    ("STORE", ("store",)),
    ("read master", ("read_master", "read_arbiter", "m_axi_ar", "m_axi_r")),
    ("write master", ("write_master", "m_axi_aw", "m_axi_w", "m_axi_b")),
    ("registers", ("control.registers", "control.counters", "s_axil")),
    ("instruction assembly", ("control.assemble",)),
    ("control", ("control", "interrupt")),
    ("on-chip memory", ("memory",)),
    ("serial link", ("link",)),
)

_PREFIXES = sorted(
    ((prefix, unit) for unit, prefixes in UNITS for prefix in prefixes),
    key=lambda item: -len(item[0]),
)


def unit_of(cell: str) -> str:
    """Return the unit that a cell is counted for.

    Cells of the harness are ``HARNESS``; a board has its machine in ``accelerator``. Cells of a
    design that is not the whole machine get the path of submodules that they lie in, without
    numbers: ``row.element.multiplier``.
    """
    if not cell.startswith("dut."):
        return HARNESS
    path = cell.removeprefix("dut.").removeprefix("accelerator.")
    for prefix, unit in _PREFIXES:
        # `load` is a part of `load.x` and `load_x`, but not of `loader.x`; ports begin anyhow.
        begins = path.startswith(prefix)
        if begins and ("axi" in prefix or not path[len(prefix) :][:1].isalpha()):
            return unit
    parts = [re.sub(r"_\d+$", "", part) for part in path.split(".")[:-1]]
    return ".".join(parts) or "(between units)"
