# SPDX-License-Identifier: Apache-2.0
"""Latencies that `machine.latency` states, compared with the units that have them."""

__all__ = ["require_stated"]


def require_stated(what: str, own: int, stated: int) -> None:
    """Require that a unit has the number, of cycles mostly, that the performance model is told.

    Raises
    ------
    AssertionError
        Names the unit and both numbers.
    """
    if own != stated:
        raise AssertionError(f"{what} is {own}, machine.latency states {stated}")
