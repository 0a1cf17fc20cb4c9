# SPDX-License-Identifier: Apache-2.0
"""What a layer's work is for each engine, and what would make a slow layer faster."""

from collections.abc import Mapping
from dataclasses import dataclass

from kiwicha.machine.config import AcceleratorConfig

__all__ = ["Work", "advice"]

_HALF = 0.5  # of the multipliers' cycles: layers below it are advised
_BEAT_BITS = (64, 128, 256)  # legal widths of the memory port
_SPECIAL_LANES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Work:
    """A layer, or layers side by side, as the engines see it.

    Members
    -------
    busy : cycles that each engine works if it never waits, by what it does: "fill" (the array),
        "read", "requantize", "special" and "write".
    macs : multiply-accumulates; 0 for layers that have none.
    depth, outputs, groups : products that a sum has, output channels, and in how many groups; of
        the node with most multiply-accumulates.
    """

    busy: Mapping[str, int]
    macs: int
    depth: int = 0
    outputs: int = 0
    groups: int = 1

    @property
    def bound_by(self) -> str:
        """What the busiest engine does."""
        return max(self.busy, key=lambda name: self.busy[name])

    @property
    def bound_cycles(self) -> int:
        """Cycles of the busiest engine."""
        return self.busy[self.bound_by]


def advice(work: Work, config: AcceleratorConfig, cycles: int) -> str:
    """Return a sentence on a layer that took ``cycles`` and used less than half of the array.

    Empty for other layers, and for those without multiply-accumulates. What a change "would allow"
    is the bound of the then busiest engine, not a prediction of cycles.
    """
    peak = config.rows * config.columns
    if not work.macs or work.macs >= _HALF * cycles * peak:
        return ""
    if cycles > 2 * work.bound_cycles:
        return (
            f"takes {cycles:,} cycles, of which its busiest engine ({work.bound_by}) works "
            f"{work.bound_cycles:,}: too little work to hide loading and draining; a larger batch "
            "spreads them"
        )
    if work.bound_by == "fill":
        return _fill(work, config)
    if work.bound_by == "read" and work.macs == work.depth * work.outputs // work.groups:
        return "reads every weight to use it once: a larger batch uses it once for each sample"
    change = {
        "read": lambda: _wider(work, config), "write": lambda: _wider(work, config),
        "requantize": lambda: _lanes(work, config), "special": lambda: _special(work, config),
    }[work.bound_by]()
    return f"bound by {work.bound_by} to {_share(work.bound_cycles, work, config)}{change}"


def _share(cycles: float, work: Work, config: AcceleratorConfig) -> str:
    return f"{min(1.0, work.macs / (cycles * config.rows * config.columns)):.1%}"


def _allowed(work: Work, config: AcceleratorConfig, factor: float, *engines: str) -> str:
    """Return the bound with some engines ``factor`` times as fast."""
    most = max(
        cycles / (factor if name in engines else 1) for name, cycles in work.busy.items()
    )
    return _share(most, work, config)


def _fill(work: Work, config: AcceleratorConfig) -> str:
    rows, columns = config.rows, config.columns
    filled = f"{_share(work.bound_cycles, work, config)} of {rows}x{columns} multipliers"
    if work.groups > 1:
        each = work.outputs // work.groups
        return (
            f"{work.groups} groups of K = {work.depth} and {each} output{'s' * (each > 1)} each "
            f"fill {filled}: the channels of a group share a column with zeros"
        )
    said = f"K = {work.depth} and {work.outputs} outputs fill {filled}"
    fewer = {
        name: size
        for name, size, most in (("rows", work.depth, rows), ("columns", work.outputs, columns))
        if size < most
    }
    if not fewer:
        return said
    smaller = " and ".join(f"`{name} = {size}`" for name, size in fewer.items())
    return f"{said}; {smaller} would do as well"


def _wider(work: Work, config: AcceleratorConfig) -> str:
    for width in _BEAT_BITS:
        if width > config.axi_data_width:
            allowed = _allowed(work, config, width / config.axi_data_width, "read", "write")
            return f"; `axi_data_width = {width}` would allow {allowed}"
    return "; the memory port is as wide as it can be"


def _lanes(work: Work, config: AcceleratorConfig) -> str:
    most = min(config.columns, 64)
    others = max(cycles for name, cycles in work.busy.items() if name != "requantize")
    needed = -(-config.requantize_lanes * work.bound_cycles // max(1, others))
    lanes = min(most, max(needed, config.requantize_lanes + 1))
    if lanes <= config.requantize_lanes:
        return "; every column has a lane"
    allowed = _allowed(work, config, lanes / config.requantize_lanes, "requantize")
    return f"; `requantize_lanes = {lanes}` would allow {allowed}"


def _special(work: Work, config: AcceleratorConfig) -> str:
    for lanes in _SPECIAL_LANES:
        if lanes > config.special.lanes:
            allowed = _allowed(work, config, lanes / config.special.lanes, "special")
            return f"; `special.lanes = {lanes}` would allow {allowed}"
    return "; there are as many lanes as there can be"
