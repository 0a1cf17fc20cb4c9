# SPDX-License-Identifier: Apache-2.0
"""How weights are moved: NITI's difference, or one of UPDATE's optimizers with its numbers.

Formats are those of `machine.optimizer`: weights are worth what the int8 ones are, with 24 bits
more; gradients are below 4, squares of them below what ``_SECOND`` says. The learning rate is the
register ``update_rate``, which the host writes before each step: a schedule changes no program.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.optimizing import LayerFormat, Units
from kiwicha.errors import InputError
from kiwicha.machine.optimizer import (
    CONSTANT_ONE,
    OPTIMIZERS,
    Exponents,
    join_state,
    optimizer_fields,
    rate_word,
)

__all__ = ["NITI", "RATES", "ROOM", "Optimizer", "initial_state"]

NITI: Final = "niti"
ROOM: Final = 2
"""Bits by which random weights may grow before they saturate; NITI's cannot spare any."""
RATES: Final = {"sgd": 0.1, "momentum": 0.02, "adagrad": 0.02, "rmsprop": 0.002, "adam": 0.002}
"""Learning rates where the user names none."""

_CODE_BITS, _CODE_SHIFT = 7, 24  # of a weight's magnitude; from 32 bits to them
_GRADIENT: Final = 2  # exponent of gradients and their means
_SECOND: Final = {"adagrad": 2, "rmsprop": -6, "adam": -6}
"""Exponents of v: sums of squares, or their means. Even: their roots are powers of two."""
_FRACTION = 23  # bits of a gradient behind its point
_SHIFTS = 31


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """An optimizer of UPDATE.

    Members
    -------
    name : of `machine.optimizer.OPTIMIZERS`.
    rates : learning rates, in equal parts of the epochs.
    beta, beta2, epsilon, decay : as of `machine.optimizer.optimizer_fields`.
    accumulate : batches of a step.

    Raises
    ------
    InputError
        For an unknown name, and a number that its format cannot hold whatever the layers are.
    """

    name: str
    rates: tuple[float, ...]
    beta: float = 0.9
    beta2: float = 0.999
    epsilon: float = 2.0**-36
    decay: float = 0.0
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            legal = ", ".join((NITI, *OPTIMIZERS))
            raise InputError(f"--optimizer is {self.name!r}; legal: {legal}")
        if not self.rates or not all(0 < rate < np.inf for rate in self.rates):
            raise InputError(f"--rate is {list(self.rates)}; legal: numbers above 0")
        if not 1 <= self.accumulate <= 256:
            raise InputError(f"--accumulate is {self.accumulate}; legal: 1 to 256 batches")

    @property
    def moments(self) -> tuple[bool, bool]:
        """Whether there is an m, and a v."""
        return OPTIMIZERS[self.name]

    def formats(self, units: Units) -> dict[str, LayerFormat]:
        """Return how UPDATE sees each layer's weights; raises as the class."""
        found = {}
        exponents = {name: self._exponents(e) for name, e in units.weights.items()}
        unit = self._unit(exponents)
        for name, each in exponents.items():
            fields = self._fields(each)
            shift = _RATE - unit - _gain(each, self.moments[1])
            if shift > _SHIFTS:
                raise InputError(
                    f"'{name}': its weights are worth 2^{shift - _SHIFTS} times too little beside "
                    "other layers' for one learning rate"
                )
            fields |= {"scheduled": 1, "rate_shift": shift, "c5": 0, "code_shift": _CODE_SHIFT}
            found[name] = LayerFormat(fields=fields, unit=each.gradient - _FRACTION)
        return found

    def words(
        self, units: Units, steps: NDArray[np.int64], epochs: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Return the register ``update_rate`` for each step.

        Parameters
        ----------
        steps : their numbers, from 1 on, counted in steps of the optimizer.
        epochs : the part of the training at which each of them is, 0 to below 1.

        Raises
        ------
        InputError
            For a rate that the format cannot hold.
        """
        exponents = {name: self._exponents(e) for name, e in units.weights.items()}
        unit = self._unit(exponents)
        most = max(_RATE - unit - _gain(each, self.moments[1]) for each in exponents.values())
        part = np.minimum((epochs * len(self.rates)).astype(np.int64), len(self.rates) - 1)
        words = []
        for step, rate in zip(steps.tolist(), np.array(self.rates)[part].tolist(), strict=True):
            factor = rate * 2.0**-unit * self._correction(step)
            low = 2.0 ** (unit + most - _SHIFTS - 17)
            try:
                word = rate_word(factor)
            except ValueError:
                word = 0
            if not word & 0x1FFFF or (word >> 17) + most > _SHIFTS:
                raise InputError(
                    f"--rate is {rate:g}; legal with these layers, in step {step}: "
                    f"{low / self._correction(step):.3g} to "
                    f"{2.0**unit / self._correction(step):.3g}"
                )
            words.append(word)
        return np.array(words, np.int64)

    def _exponents(self, weight: int) -> Exponents:
        return Exponents(
            weight=weight + _CODE_BITS, gradient=_GRADIENT, second=_SECOND.get(self.name, 0)
        )

    def _unit(self, exponents: Mapping[str, Exponents]) -> int:
        """Return the exponent of the greatest rate: no layer's shift may be to the left."""
        return min(_RATE - _gain(each, self.moments[1]) for each in exponents.values())

    def _fields(self, exponents: Exponents) -> dict[str, int]:
        try:
            return optimizer_fields(
                self.name, rate=0, exponents=exponents, beta=self.beta, beta2=self.beta2,
                epsilon=self.epsilon if self.moments[1] else 0.0, decay=self.decay,
            )
        except ValueError as error:
            raise InputError(f"--optimizer {self.name}: {error}") from None

    def _correction(self, step: int) -> float:
        """Return Adam's correction of its first steps."""
        if self.name != "adam":
            return 1.0
        kept, kept2 = (round(b * CONSTANT_ONE) / CONSTANT_ONE for b in (self.beta, self.beta2))
        return float((1 - kept2**step) ** 0.5 / (1 - kept**step))


_RATE: Final = 4
"""`machine.optimizer.RATE_BASE`: c5 / 2^16 times 2^4 is a rate of one where all exponents are 0."""


def _gain(exponents: Exponents, root: bool) -> int:
    """Return the power of two of a step's unit, by the weights'."""
    return exponents.gradient - exponents.weight - (exponents.second // 2 if root else 0)


def initial_state(
    codes: NDArray[np.int8], moments: tuple[bool, bool], beat: int
) -> NDArray[np.uint8]:
    """Return 32-bit weights that the int8 ones are the copies of, without momentum."""
    weights = codes.reshape(-1).astype(np.int64) << _CODE_SHIFT
    return join_state([weights, *[np.zeros_like(weights)] * sum(moments)], beat)
