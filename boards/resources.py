# SPDX-License-Identifier: Apache-2.0
"""What devices have, what a design needs, and the refusal of what cannot fit.

`floor` says at once what a machine needs at least, from its configuration; its LUTs are those of
the smallest machine that was synthesized and of the array's elements. `count` reads the design that
goes into synthesis: its multipliers and block RAMs are those that come out.
"""

import re
from collections import Counter
from dataclasses import dataclass, field, fields
from math import ceil

from kiwicha.errors import KiwichaError
from kiwicha.machine.config import AcceleratorConfig

__all__ = [
    "ECP5_85F", "UP5K", "Device", "Need", "ResourceError", "check", "count", "floor",
]


class ResourceError(KiwichaError):
    """A machine is too large for a board; names what is short, and by how much."""


@dataclass(frozen=True)
class Need:
    """Resources of an FPGA: what a design needs, or what a device has."""

    luts: int = 0
    block_rams: int = 0
    multipliers: int = 0


@dataclass(frozen=True)
class Device:
    """An FPGA.

    Members
    -------
    has : its resources.
    names : what its maker calls them.
    multiplier_bits : operand of one multiplier; wider products take several.
    block_bytes : of data in a block RAM, parity bits left out.
    block_shapes : (depth, width) that a block RAM can have.
    block_cells : names of the cells that are one.
    lut_ram : whether LUTs can be small memories, 16 x 4 bits in two of them.
    """

    name: str
    has: Need
    names: dict[str, str] = field(hash=False)
    multiplier_bits: int
    block_bytes: int
    block_shapes: tuple[tuple[int, int], ...]
    block_cells: tuple[str, ...]
    lut_ram: bool


# Lattice, ECP5 and ECP5-5G Family Data Sheet (FPGA-DS-02012), Table 1.1.
ECP5_85F = Device(
    "ECP5-85F",
    Need(luts=83_640, block_rams=208, multipliers=156),
    {"luts": "LUT4", "block_rams": "DP16KD", "multipliers": "MULT18X18D"},
    multiplier_bits=18,
    block_bytes=2048,
    block_shapes=((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36)),
    block_cells=("DP16KD", "PDPW16KD"),
    lut_ram=True,
)
# Lattice, iCE40 UltraPlus Family Data Sheet (FPGA-DS-02008), Table 1.1. It has 4 blocks of 32 KiB
# (SPRAM) besides, with one port each, which no memory of the machine can do with.
UP5K = Device(
    "iCE40 UP5K",
    Need(luts=5_280, block_rams=30, multipliers=8),
    {"luts": "SB_LUT4", "block_rams": "SB_RAM40_4K", "multipliers": "SB_MAC16"},
    multiplier_bits=16,
    block_bytes=512,
    block_shapes=((2048, 2), (1024, 4), (512, 8), (256, 16)),
    block_cells=("SB_RAM40_4K",),
    lut_ram=False,
)

# Measured by `python -m kiwicha.bench.up5k`: the machine of `boards/icebreaker.py` (2 x 2,
# power-of-two scales), memory and link have 6,311 LUTs, 45 of them in its 4 elements. ECP5 takes
# more.
_ELEMENT_LUTS = 11
_FIXED_LUTS = 6311 - 4 * _ELEMENT_LUTS


def floor(config: AcceleratorConfig, memory_bytes: int, device: Device) -> Need:
    """Return what a machine with so much memory needs at least."""
    scratch = config.activation_bytes + config.weight_bytes + config.output_bytes
    accumulators = 4 * config.columns * config.accumulator_depth
    elements = config.rows * config.columns
    return Need(
        luts=_FIXED_LUTS + _ELEMENT_LUTS * elements,
        block_rams=ceil((scratch + accumulators + memory_bytes) / device.block_bytes),
        multipliers=elements,
    )


def check(need: Need, device: Device, what: str) -> None:
    """Raise `ResourceError` unless ``what`` fits the device."""
    short = [
        f"{wanted:,} {device.names[kind.name]} of {there:,} ({wanted - there:,} too many)"
        for kind in fields(Need)
        if (wanted := getattr(need, kind.name)) > (there := getattr(device.has, kind.name))
    ]
    if short:
        raise ResourceError(f"{what} is too large for the {device.name}: {', '.join(short)}")


_MODULE = re.compile(r"^module \\(\S+)\n(.*?)^end$", re.MULTILINE | re.DOTALL)
_MEMORY = re.compile(r"^  memory width (\d+) size (\d+) \\(\S+)$", re.MULTILINE)
_READ = re.compile(r'cell \$memrd_v2 .*?MEMID "\\\\(\S+)"', re.DOTALL)
_CELL = re.compile(r"^  cell \\(\S+) ", re.MULTILINE)
_PRODUCT = re.compile(r"^  cell \$mul \S+\n(.*?)^  end$", re.MULTILINE | re.DOTALL)
_OPERAND = re.compile(r"^    (?:parameter \\[AB]_WIDTH|connect \\[AB]) (.+)$", re.MULTILINE)


def count(rtlil: str, top: str, device: Device) -> Need:
    """Return the multipliers and block RAMs of a design in RTLIL, and nothing of its LUTs.

    A product with a power of two is no multiplier; a small memory of an ECP5 is in LUTs if Yosys
    takes that for cheaper.
    """
    own: dict[str, Need] = {}
    inside: dict[str, Counter[str]] = {}
    for name, body in _MODULE.findall(rtlil):
        cells = Counter(_CELL.findall(body))
        reads = Counter(_READ.findall(body))
        blocks = sum(
            max(1, reads[memory]) * _blocks(int(width), int(depth), device)
            for width, depth, memory in _MEMORY.findall(body)
        )
        blocks += sum(cells[name] for name in device.block_cells)
        products = sum(_multipliers(cell, device) for cell in _PRODUCT.findall(body))
        multipliers = products + cells[device.names["multipliers"]]
        own[name], inside[name] = Need(0, blocks, multipliers), cells

    known: dict[str, Need] = {}

    def total(name: str) -> Need:
        if name not in known:
            parts = [(own[name], 1)]
            parts += [(total(cell), times) for cell, times in inside[name].items() if cell in own]
            known[name] = Need(
                0,
                sum(times * part.block_rams for part, times in parts),
                sum(times * part.multipliers for part, times in parts),
            )
        return known[name]

    return total(top)


def _multipliers(cell: str, device: Device) -> int:
    """Multipliers of a product: none if an operand is a power of two or one bit."""
    width_a, width_b, a, b = _OPERAND.findall(cell)
    shifts = any(re.fullmatch(r"\d+'0*10*", operand) for operand in (a, b))
    if shifts or min(int(width_a), int(width_b)) < 2:
        return 0
    bits = device.multiplier_bits
    return ceil(int(width_a) / bits) * ceil(int(width_b) / bits)


def _blocks(width: int, depth: int, device: Device) -> int:
    """Block RAMs of a memory with one port to read it."""
    blocks = min(ceil(depth / d) * ceil(width / w) for d, w in device.block_shapes)
    # Yosys's own weights (techlibs/ecp5/brams.txt and lutrams.txt): 64 a block, 4 a small memory.
    in_luts = 4 * ceil(depth / 16) * ceil(width / 4)
    return 0 if device.lut_ram and in_luts < 64 * blocks else blocks
