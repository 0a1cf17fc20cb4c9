# SPDX-License-Identifier: Apache-2.0
"""What Kiwicha says about input it cannot take: one line that names the culprit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "ConfigError", "InputError", "KiwichaError", "ModelError", "Need", "ProgramError",
    "UnfitMachine", "UnsupportedModel", "first_line", "printable",
]

_LONGEST = 200  # of a node's name in a refusal


def printable(text: str, longest: int | None = None) -> str:
    """Return ``text`` in one line that any terminal takes: control characters and the like as
    escapes, and no more than about ``longest`` characters, the middle left out."""
    if longest is not None and len(text) > longest:
        text = f"{text[: longest // 2]}...{text[-longest // 2 :]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class KiwichaError(ValueError):
    """Base of every error that a user's input can cause; its text, one line, is meant to be
    printed. A name in it may hold anything."""

    def __init__(self, text: object = "") -> None:
        super().__init__(printable(str(text)))


class ConfigError(KiwichaError):
    """There is no such machine, or the configuration file is broken."""


class ModelError(KiwichaError):
    """The model cannot be read, is not quantized, or ONNX Runtime refuses it."""


class InputError(KiwichaError):
    """An array given as a graph input has the wrong name, shape, type or contents."""


class ProgramError(KiwichaError):
    """A compiled program's files are not whole or of another version, or it cannot be where it is
    to be."""


class UnsupportedModel(KiwichaError):
    """The machine cannot run the model; the text lists every node in the way, a line each.

    Members
    -------
    refusals : (node name, operator, reason) of every node that cannot be mapped.
    """

    def __init__(self, refusals: Sequence[tuple[str, str, str]]) -> None:
        self.refusals = tuple(refusals)
        count = f"{len(refusals)} node{'s' if len(refusals) != 1 else ''} cannot be mapped"
        lines = [
            f"  '{printable(name, _LONGEST)}' ({printable(op)}): {printable(reason)}"
            for name, op, reason in self.refusals
        ]
        ValueError.__init__(self, "\n".join([count, *lines]))


@dataclass(frozen=True)
class Need:
    """A field of a configuration that stands in the way of a model.

    Members
    -------
    field : as `AcceleratorConfig` has it, a capability's with its table: ``special.lanes``.
    value, enough : what it is, and a value that would do.
    """

    field: str
    value: object
    enough: object

    def __str__(self) -> str:
        return f"{self.field} is {_toml(self.value)}; {_toml(self.enough)} would do"


class UnfitMachine(KiwichaError):
    """The model needs a machine of another configuration; a line for every node that does.

    Members
    -------
    needs : what would have to change, each field once; all of it must. Empty where there are nodes
        that no configuration helps.
    """

    def __init__(self, what: str, needs: Sequence[Need]) -> None:
        self.needs = tuple(needs)
        super().__init__(f"{what}; {' and '.join(map(str, self.needs))}")

    @classmethod
    def together(cls, errors: Sequence[KiwichaError]) -> KiwichaError:
        """Return one error for ``errors``, each of which is about another node."""
        if len(errors) == 1:
            return errors[0]
        found: dict[str, Need] = {}
        for need in _needs(errors):
            if need.field not in found or _larger(need, found[need.field]):
                found[need.field] = need
        made = cls("", tuple(found.values()))
        lines = [f"{len(errors)} nodes do not fit the machine", *(f"  {e}" for e in errors)]
        ValueError.__init__(made, "\n".join(lines))
        return made


def _needs(errors: Iterable[KiwichaError]) -> list[Need]:
    """Return all needs; none where one of the errors has none."""
    needs: list[Need] = []
    for error in errors:
        if not isinstance(error, UnfitMachine) or not error.needs:
            return []
        needs += error.needs
    return needs


def _larger(need: Need, other: Need) -> bool:
    a, b = need.enough, other.enough
    return isinstance(a, int) and isinstance(b, int) and a > b


def _toml(value: object) -> str:
    """Return a field's value as a configuration file has it, strings without quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value.value if isinstance(value, Enum) else value)


def first_line(error: BaseException) -> str:
    """Return the first line of an error that somebody else raised, for a message of our own."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
