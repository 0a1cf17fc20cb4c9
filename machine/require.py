# SPDX-License-Identifier: Apache-2.0
"""Checks of configuration fields; every error names the field, its value and the legal range."""

from dataclasses import asdict
from enum import Enum
from typing import Any

__all__ = [
    "field_name", "plain", "require_choice", "require_names", "require_power", "require_range",
]


def field_name(owner: object, field: str) -> str:
    """Return what a user calls a field: with the table before it that it lies in."""
    table = getattr(owner, "table", "")
    return f"{table}.{field}" if table else field


def _integer(owner: object, field: str) -> int:
    value = getattr(owner, field)
    if type(value) is not int:
        raise ValueError(f"{field_name(owner, field)} is {value!r}; legal: an integer")
    return value


def require_range(owner: object, field: str, low: int, high: int) -> None:
    """Require an integer from ``low`` to ``high``; raises ValueError."""
    value = _integer(owner, field)
    if not low <= value <= high:
        raise ValueError(f"{field_name(owner, field)} is {value}; legal: {low} to {high}")


def require_power(owner: object, field: str, low: int, high: int) -> None:
    """Require a power of two from ``low`` to ``high``; raises ValueError."""
    value = _integer(owner, field)
    if not low <= value <= high or value & (value - 1):
        raise ValueError(
            f"{field_name(owner, field)} is {value}; legal: a power of two, {low} to {high}"
        )


def require_choice(owner: object, field: str, legal: tuple[int, ...]) -> None:
    """Require one of some integers; raises ValueError."""
    value = _integer(owner, field)
    if value not in legal:
        raise ValueError(
            f"{field_name(owner, field)} is {value}; legal: {', '.join(map(str, legal))}"
        )


def require_names(owner: object, field: str, legal: tuple[str, ...]) -> None:
    """Require names, and keep each once in the order of ``legal``; raises ValueError."""
    names: Any = getattr(owner, field)
    if not (isinstance(names, list | tuple) and all(isinstance(n, str) for n in names)):
        raise ValueError(f"{field_name(owner, field)} is {names!r}; legal: a list of names")
    if unknown := [name for name in names if name not in legal]:
        raise ValueError(
            f"{field_name(owner, field)} names {unknown[0]!r}; legal: {', '.join(legal)}"
        )
    object.__setattr__(owner, field, tuple(name for name in legal if name in names))


def plain(owner: Any) -> dict[str, Any]:
    """Return a dataclass as plain values, ready for JSON or TOML: strings for members of enums."""

    def value_of(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: value_of(inner) for key, inner in value.items()}
        return value.value if isinstance(value, Enum) else value

    return {key: value_of(value) for key, value in asdict(owner).items()}
