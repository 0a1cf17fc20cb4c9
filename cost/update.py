# SPDX-License-Identifier: Apache-2.0
"""What an UPDATE costs: beats on the bus, cycles, and how long it takes to end."""

from collections.abc import Mapping
from typing import Any

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.optimizer import state_bytes

__all__ = ["UPDATE_LATENCY", "update_beats", "update_cycles"]

UPDATE_LATENCY = 150
"""Cycles from an instruction to its first beat, through the lanes, and from the last group to the
last response, with a memory latency of 20. An estimate: with the cells of an FPGA the lanes alone
take 40 more."""


def update_beats(config: AcceleratorConfig, fields: Mapping[str, Any]) -> tuple[int, int]:
    """Return the beats that an UPDATE reads, and those that it writes."""
    beat, count = config.beat_bytes, fields["count"]
    size = state_bytes(count, fields.get("momentum", 0), fields.get("root", 0), beat)
    read = count * (4 if fields.get("wide", 0) else 1)
    written = 0 if fields.get("accumulate", 0) else count
    return size // beat + -(-read // beat), size // beat + -(-written // beat)


def update_cycles(config: AcceleratorConfig, fields: Mapping[str, Any]) -> int:
    """Return the cycles of an UPDATE's weights: reads, writes and lanes work side by side."""
    return max(*update_beats(config, fields), -(-fields["count"] // config.update.lanes))
