# SPDX-License-Identifier: Apache-2.0
"""What an operator may be: predicates, each with the sentence that is said where it does not hold.

Refusals, `kiwicha ops` and docs/operators.md all take the sentence from here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.onnx_node import Refusal

__all__ = ["FLOAT32", "SCALE", "Limit", "check_scale"]

_TINY = np.finfo(np.float32).tiny
_VALUE = re.compile(r"\{(\w+)[^}]*\}")


@dataclass(frozen=True, eq=False)
class Limit:
    """One limit.

    Members
    -------
    sentence : what is said of a node that breaks it, values by name in braces.
    holds : the predicate, called with all values by name.
    """

    sentence: str
    holds: Callable[..., bool]

    def check(self, node: onnx.NodeProto | None = None, /, **values: Any) -> None:
        """Raise `Refusal`, of ``node`` where it is given, unless the limit holds."""
        if not self.holds(**values):
            raise Refusal(self.sentence.format(**values), node)

    def show(self, mark: str = "") -> str:
        """Return the sentence with names for values, each between two ``mark``."""
        return _VALUE.sub(rf"{mark}\1{mark}", self.sentence)

    def matches(self, text: str) -> bool:
        """Whether ``text`` is the sentence with some values filled in."""
        words = re.split(_VALUE.pattern.replace("(", "(?:", 1), self.sentence)
        return re.fullmatch(".+".join(map(re.escape, words)), text, re.S) is not None


FLOAT32 = Limit("{what} is {dtype}; must be float32", lambda what, dtype: dtype == np.float32)
SCALE = Limit(
    "{what} is {value}; must be positive, normal and finite",
    lambda what, value: np.isfinite(value) & (value >= _TINY),
)


def check_scale(values: NDArray[np.float32], what: str) -> None:
    """Check a tensor of scales against `SCALE`."""
    for value in values[~SCALE.holds(what=what, value=values)][:1]:
        SCALE.check(what=what, value=value)
