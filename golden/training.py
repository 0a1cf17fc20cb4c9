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

from kiwicha.golden.conv import conv2d, wrap_int32
from kiwicha.golden.convolution_gradient import input_error, weight_gradient
from kiwicha.golden.network import run_node
from kiwicha.golden.niti import LIMIT, cross_entropy_errors, magnitude, shifted
from kiwicha.golden.product import product
from kiwicha.golden.requantize import requantize
from kiwicha.golden.update import update
from kiwicha.machine.isa import Reduction
from kiwicha.machine.modes import RequantizeMode
from kiwicha.machine.scales import encode_scale
from kiwicha.machine.shifts import settled

__all__ = ["StepResult", "evaluate_step", "loss_of"]

Array = NDArray[Any]
_Results = tuple[Array, int, int]


@dataclass(frozen=True, eq=False)
class StepResult:
    """Every tensor of a step by name, in ONNX order, new weights under their results' names; the
    exponents of those that have one of their own; and how many weights saturated."""

    tensors: dict[str, Array]
    exponents: dict[str, int]
    saturated: int = 0


def loss_of(logits: npt.ArrayLike, exponent: int, labels: npt.ArrayLike) -> float:
    """Return the cross-entropy of logits with their labels, mean over rows, in binary64: for
    people; nothing is computed of it."""
    real = np.ldexp(np.asarray(logits, np.float64), exponent)
    real = real - real.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(real, np.asarray(labels, np.int64)[:, None], axis=1)[:, 0]
    return float((np.log(np.exp(real).sum(axis=1)) - chosen).mean())


def evaluate_step(graph: Any, inputs: Mapping[str, Array], rate: int = 0) -> StepResult:
    """Return what a step computes.

    Parameters
    ----------
    inputs : images, labels and weights by name, and the state of optimizers.
    rate : the register ``update_rate``.
    """
    tensors = {value.name: np.asarray(inputs[value.name]) for value in graph.inputs}
    exponents: dict[str, int] = {}
    saturated = 0
    for node in graph.nodes:
        if getattr(node, "known", None) is not None:
            exponents[node.x.name] = node.known
        operands = [tensors[tensor.name] for tensor in node.inputs]
        before = exponents.get(node.x.name, 0)
        if node.kind == "update":
            results, over = _updated(node, tensors, exponents, rate)
            tensors |= results
            saturated += over
            continue
        if node.kind == "keep":
            scale = np.float32(2) ** np.float32(before)
            tensors[node.y.name] = np.full(1, scale, "<f4").view(np.uint8)
            continue
        if node.kind == "tuned_product":
            made, exponent = np.asarray(_tuned(node, *operands)), 0
        elif node.kind == "tuned_conv":
            made, exponent = _tuned_conv(node, *operands), 0
        elif node.kind == "cross_entropy":
            made, exponent = cross_entropy_errors(operands[0], before, operands[1]), 0
        elif node.kind in _SUMS:
            made, exponent, over = _shifted(node, operands, before, exponents)
            saturated += over
        else:
            made, exponent = run_node(node, operands), before
        tensors[node.y.name], exponents[node.y.name] = made, exponent
    return StepResult(tensors, exponents, saturated)


def _updated(
    node: Any, tensors: Mapping[str, Array], exponents: Mapping[str, int], rate: int
) -> tuple[dict[str, Array], int]:
    """Return what UPDATE makes, by name, and how many weights saturate."""
    results = {name: tensors[place.name] for name, place in node.places.items()}
    if node.idle:
        return results, 0
    sums = node.state is None
    state = tensors[(node.updates if sums else node.state).name].reshape(-1)
    # By tensors, and not by the slots that a program has them in.
    fields = {**node.fields, "count": node.count, "slots": int(bool(node.exponents))}
    total = sum(exponents[tensor.name] for tensor in node.exponents)
    gradients = tensors[node.x.name].reshape(-1).view(np.uint8)
    padded = np.pad(state, (0, -state.size % node.beat))
    made, codes, over = update(fields, padded, gradients, node.beat, [total], rate)
    if sums:
        return {node.y.name: made[: state.size]}, over
    weights = codes.view(np.int8).reshape(node.y.shape)
    return {node.y.name: weights, node.after.name: made}, over


def _product(node: Any, x: Array, z: Array) -> Array:
    return product(x, z, node.x.zero_point, node.z.zero_point)


def _conv(node: Any, x: Array, z: Array) -> Array:
    """Sums in memory's order: N H W C, kernels C R S O."""
    sizes = {"strides": node.strides, "pads": node.pads, "groups": node.groups}
    if node.x.zero_point:
        x = x.astype(np.int64) - node.x.zero_point
    if node.role == "FP":
        return conv2d(x.transpose(_CHW), z.transpose(_OCRS), **sizes).transpose(_HWC)
    if node.role == "EB":
        image = node.y.shape[1:3]
        error = input_error(x.transpose(_CHW), z.transpose(_OCRS), image, **sizes)
        return error.transpose(_HWC)
    if x.ndim == 5:  # columns that are a stride apart are a plane
        images, across, channels, height, width = x.shape
        x = x.transpose(0, 2, 3, 4, 1).reshape(images, channels, height, width * across)
    return weight_gradient(x, z.transpose(_CHW), node.kernel, **sizes).transpose(1, 2, 3, 0)


def _pool(node: Any, x: Array) -> Array:
    if node.kernel == (1, 1):
        return x
    images, height, width, channels = x.shape
    rows, columns = node.kernel
    parts = x.reshape(images, height // rows, rows, width // columns, columns, channels)
    reduce = np.max if node.reduction == Reduction.MAX else np.sum
    return np.asarray(reduce(parts.astype(np.int64), axis=(2, 4)))


def _sum(_node: Any, x: Array, z: Array) -> Array:
    return x.astype(np.int64) + z


def _shifted(
    node: Any, operands: list[Array], exponent: int, exponents: Mapping[str, int]
) -> _Results:
    if node.kind == "shifted_sum" and exponents[node.z.name] != exponent:
        raise ValueError(f"{node.name}: exponents {exponent} and {exponents[node.z.name]}")
    floor = None
    if node.floor is not None:
        known = node.floor.known
        floor = exponents[node.floor.tensor.name] if known is None else known
    added = len(node.operands)
    acc = wrap_int32(np.asarray(_SUMS[node.kind](node, *operands[:added]), np.int64))
    shift, made = settled(
        magnitude(acc), node.bits, exponent + node.exponent, gradient=node.gradient, floor=floor
    )
    y = shifted(acc, shift, "pseudo" if node.gradient else "half_up", node.low, node.high)
    y = y.reshape(node.y.shape)
    if node.mask is not None:
        y = np.where(operands[added] > 0, y, 0)
    over = 0
    if node.updates is not None:
        moved = operands[added].astype(np.int64) - y
        over = int((np.abs(moved) > LIMIT).sum())
        y = np.clip(moved, -LIMIT, LIMIT).astype(np.int8)
    return y.astype(np.int8), made, over


def _tuned(node: Any, x: Array, z: Array) -> Array:
    """A layer of a quantized model, in ONNX Runtime's arithmetic."""
    rows = x.reshape(-1, len(z))
    acc = product(rows if node.order is None else rows[:, node.order], z, node.x.zero_point, 0)
    return _codes(node, acc).reshape(node.y.shape)


def _tuned_conv(node: Any, x: Array, z: Array) -> Array:
    """The same of a convolution, N C H W."""
    acc = conv2d(
        x, z.transpose(_OCRS), strides=node.strides, pads=node.pads, x_zero=node.x.zero_point
    )
    return _codes(node, acc.transpose(_HWC)).transpose(_CHW)


def _codes(node: Any, acc: Array) -> Array:
    """Return codes of sums, channels last."""
    multiplier, shift = encode_scale(RequantizeMode.ONNX, node.scale, node.scale64)
    codes = requantize(
        acc, multiplier, shift, node.y.zero_point, node.low, node.high, RequantizeMode.ONNX,
        bias=node.bias,
    )
    return codes.astype(node.y.dtype)


_CHW, _HWC, _OCRS = (0, 3, 1, 2), (0, 2, 3, 1), (3, 0, 1, 2)

_SUMS: dict[str, Callable[..., Array]] = {
    "shifted_product": _product, "shifted_conv": _conv, "shifted_pool": _pool,
    "shifted_sum": _sum,
}
