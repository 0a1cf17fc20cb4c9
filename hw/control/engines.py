# SPDX-License-Identifier: Apache-2.0
"""Which engines a machine has; nothing is built for the others."""

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Engine

__all__ = ["machine_engines"]


def machine_engines(cfg: AcceleratorConfig) -> tuple[Engine, ...]:
    """Return the engines of a machine in data-flow order: SPECIAL and UPDATE where it has them."""
    optional = {Engine.SPECIAL: cfg.special.lanes, Engine.UPDATE: cfg.update.lanes}
    return tuple(engine for engine in Engine if optional.get(engine, 1))
