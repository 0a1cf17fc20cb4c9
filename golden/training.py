# SPDX-License-Identifier: Apache-2.0
"""Runs a training step layer by layer: golden products, shifts, errors and updated weights.

Takes any object with the members of `compiler.graph.graph.Graph`; the arithmetic is
`golden.niti`'s. Unlike a program's, exponents belong to tensors here, so that slots that are taken
for two of them at once show.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from kiwicha.golden.network import run_node
from kiwicha.golden.niti import LIMIT, cross_entropy_errors, magnitude, shifted
from kiwicha.golden.product import product
from kiwicha.machine.shifts import settled

__all__ = ["StepResult", "evaluate_step", "loss_of"]

Array = NDArray[Any]
_Results = tuple[Array, int]


@dataclass(frozen=True, eq=False)
class StepResult:
    """Every tensor of a step by name, in ONNX order, new weights under their results' names; and
    the exponents of those that have one of their own."""

    tensors: dict[str, Array]
    exponents: dict[str, int]


def loss_of(logits: npt.ArrayLike, exponent: int, labels: npt.ArrayLike) -> float:
    """Return the cross-entropy of logits with their labels, mean over rows, in binary64: for
    people; nothing is computed of it."""
    real = np.ldexp(np.asarray(logits, np.float64), exponent)
    real = real - real.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(real, np.asarray(labels, np.int64)[:, None], axis=1)[:, 0]
    return float((np.log(np.exp(real).sum(axis=1)) - chosen).mean())


def evaluate_step(graph: Any, inputs: Mapping[str, Array]) -> StepResult:
    """Return what a step computes.

    Parameters
    ----------
    inputs : images, labels and weights by name.
    """
    tensors = {value.name: np.asarray(inputs[value.name]) for value in graph.inputs}
    exponents: dict[str, int] = {}
    for node in graph.nodes:
        operands = [tensors[tensor.name] for tensor in node.inputs]
        before = exponents.get(node.x.name, 0)
        if node.kind in _STEPS:
            made, exponent = _STEPS[node.kind](node, operands, before)
        else:
            made, exponent = run_node(node, operands), before
        tensors[node.y.name], exponents[node.y.name] = made, exponent
    return StepResult(tensors, exponents)


def _product(node: Any, operands: list[Array], exponent: int) -> _Results:
    acc = product(operands[0], operands[1], 0, 0)
    if node.known is not None:
        exponent = node.known
    shift, made = settled(
        magnitude(acc), node.bits, exponent + node.exponent, gradient=node.gradient
    )
    y = shifted(acc, shift, "pseudo" if node.gradient else "half_up", node.low, node.high)
    if node.mask is not None:
        y = np.where(operands[2] > 0, y, 0)
    if node.updates is not None:
        y = np.clip(operands[2].astype(np.int64) - y, -LIMIT, LIMIT)
    return y.astype(np.int8), made


def _loss(_node: Any, operands: list[Array], exponent: int) -> _Results:
    logits, labels = operands
    return cross_entropy_errors(logits, exponent, labels), 0


_STEPS: dict[str, Callable[[Any, list[Array], int], _Results]] = {
    "shifted_product": _product, "cross_entropy": _loss,
}
