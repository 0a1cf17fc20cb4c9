# SPDX-License-Identifier: Apache-2.0
"""The machine follows the model: the machine called default, and what the model needs besides."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from kiwicha.errors import UnfitMachine
from kiwicha.machine.config import NAME_LENGTH, AcceleratorConfig
from kiwicha.machine.fields import changes, with_fields
from kiwicha.machine.presets import PRESETS

__all__ = ["BASE", "additions", "compile_following"]

Compiled = TypeVar("Compiled")

BASE = PRESETS["default"]
"""What a model gets that needs no more."""


def compile_following(compiled: Callable[[AcceleratorConfig], Compiled]) -> Compiled:
    """Return a model, or several, compiled for `BASE`, or for it and what the compiler says that it
    lacks.

    Parameters
    ----------
    compiled : compiles the model for a machine.

    Raises
    ------
    KiwichaError
        When there is no such machine; names every node in the way.
    """
    config, added = BASE, dict[str, Any]()
    while True:
        try:
            return compiled(config)
        except UnfitMachine as error:
            if not error.needs:
                raise
            # Each value is one that the machine has not, and the larger of two: this ends.
            added |= {need.field: need.enough for need in error.needs}
            config = with_fields(BASE, {**added, "name": _name(added)})


def _name(added: Mapping[str, Any]) -> str:
    """Return a name that files may have; it need not tell machines apart."""
    words = "-".join([BASE.name, *map(_shown, added.items())])
    return re.sub(r"[^\w]+", "-", words, flags=re.ASCII)[:NAME_LENGTH].rstrip("-")


def additions(config: Mapping[str, Any]) -> str:
    """Return in words what a machine, as plain values, has beyond `BASE`; "" if nothing."""
    return ", ".join(map(_shown, changes(BASE.to_dict(), config).items()))


def _shown(field: tuple[str, Any]) -> str:
    name, value = field
    return name if value is True else f"{name} {value}"
