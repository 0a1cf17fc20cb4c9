# SPDX-License-Identifier: Apache-2.0
"""What a capability is: something that a machine may have, with fields of its own."""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol, Self

from kiwicha.machine.require import plain

__all__ = ["Capability", "Machine"]


class Machine(Protocol):
    """What capabilities ask of the machine that they are for."""

    @property
    def axi_data_width(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def activation_bytes(self) -> int: ...
    @property
    def requantize_lanes(self) -> int: ...
    @property
    def weight_pitch(self) -> int: ...
    @property
    def transposer(self) -> bool: ...
    @property
    def residual(self) -> Any: ...
    @property
    def special(self) -> Any: ...
    @property
    def beat_bytes(self) -> int: ...
    @property
    def dynamic(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class Capability:
    """Something that a machine may have: false where it is absent."""

    table: ClassVar[str]
    """Name of the field in `AcceleratorConfig`, and of the table in a file."""

    def __bool__(self) -> bool:
        """Whether the machine has it: its first field is neither 0 nor empty."""
        return bool(getattr(self, fields(self)[0].name))

    @classmethod
    def check_table(cls, value: Any) -> dict[str, Any]:
        """Return ``value``, a table of known keys.

        Raises
        ------
        ValueError
            For anything else, or an unknown key; names it and lists those there are.
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(value, dict):
            raise ValueError(f"{cls.table} is {value!r}; legal: a table of {', '.join(known)}")
        if unknown := [key for key in value if key not in known]:
            raise ValueError(f"unknown key '{cls.table}.{unknown[0]}'; legal: {', '.join(known)}")
        return value

    @classmethod
    def read(cls, value: Any) -> Self:
        """Return the capability that a table or object describes; raises as `check_table`."""
        return value if isinstance(value, cls) else cls(**cls.check_table(value))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, validated again."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON or TOML."""
        return plain(self)

    def check(self, machine: Machine) -> None:
        """Raise ValueError where it does not go with the rest of the machine."""
