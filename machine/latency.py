# SPDX-License-Identifier: Apache-2.0
"""Latencies that several rooms reckon with, in cycles."""

from kiwicha.machine.config import AcceleratorConfig

__all__ = ["accumulator_latency"]


def accumulator_latency(cfg: AcceleratorConfig) -> int:
    """From the entry that VECTOR reads to its columns."""
    return 1 + ("memory" in cfg.pipeline)
