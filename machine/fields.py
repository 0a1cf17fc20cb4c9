# SPDX-License-Identifier: Apache-2.0
"""Fields of a configuration by the names that a user gives them, those of tables included."""

from collections.abc import Mapping
from typing import Any

from kiwicha.machine.config import AcceleratorConfig

__all__ = ["changes", "field_value", "with_fields"]


def field_value(config: AcceleratorConfig, field: str) -> Any:
    """Return the value of a field such as ``rows`` or ``special.lanes``."""
    value: Any = config
    for name in field.split("."):
        value = getattr(value, name)
    return value


def with_fields(config: AcceleratorConfig, values: Mapping[str, Any]) -> AcceleratorConfig:
    """Return ``config`` with some fields changed; raises ValueError for an illegal value."""
    made: dict[str, Any] = {}
    for field, value in values.items():
        table, _, name = field.rpartition(".")
        if table:
            made.setdefault(table, {})[name] = value
        else:
            made[name] = value
    return config.replace(**made)


def changes(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that ``other`` has with another value, the name not; both are what
    `AcceleratorConfig.to_dict` returns, or what JSON has made of it."""
    found: dict[str, Any] = {}
    for name, value in other.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{k}": v for k, v in changes(base[name], value).items()}
        elif name != "name" and _listed(value) != _listed(base[name]):
            found[name] = value
    return found


def _listed(value: Any) -> Any:
    """Return a list for a tuple, at any depth."""
    return [*map(_listed, value)] if isinstance(value, list | tuple) else value
