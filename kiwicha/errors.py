# SPDX-License-Identifier: Apache-2.0
"""What Kiwicha says about input it cannot take: one line that names the culprit."""

from collections.abc import Sequence

__all__ = [
    "ConfigError", "InputError", "KiwichaError", "ModelError", "UnsupportedModel", "first_line",
    "printable",
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


def first_line(error: BaseException) -> str:
    """Return the first line of an error that somebody else raised, for a message of our own."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
