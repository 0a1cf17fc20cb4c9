# SPDX-License-Identifier: Apache-2.0
"""What an LSTM, GRU or RNN node of a model says: weights by gate, activations, states."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.ops.context import Context

__all__ = ["LIMITS", "Activation", "Direction", "Recurrent", "read"]

_PEEPHOLES = Limit(
    "has peepholes (input P); train it without", lambda peepholes: not np.any(peepholes)
)
_LENGTHS = Limit(
    "its sequence_lens are {lengths}; must be constants, one length for all, 1 to {steps}",
    lambda lengths, steps: lengths == "left out" or (
        isinstance(lengths, list) and len(set(lengths)) == 1 and 1 <= lengths[0] <= steps
    ),
)
_ACTIVATION = Limit(
    "its activation {name} is a function that the machine has no table of",
    lambda name: name in _DEFAULTS,
)
_GATE = Limit(
    "its gates have {name}; must be Sigmoid or HardSigmoid, between 0 and 1",
    lambda name: name in ("HardSigmoid", "Sigmoid"),
)
_FINITE = Limit("its weights are not finite", lambda weights: bool(np.isfinite(weights).all()))
LIMITS = (_PEEPHOLES, _LENGTHS, _GATE)
"""Those that a model which ONNX Runtime takes may break; two more that it refuses itself."""

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1, "DynamicQuantizeLSTM": 4}
_USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_DEFAULTS: dict[str, tuple[float, ...]] = {
    "Affine": (0.0, 0.0), "Elu": (1.0,), "HardSigmoid": (0.2, 0.5), "LeakyRelu": (0.01,),
    "Relu": (), "ScaledTanh": (0.0, 0.0), "Sigmoid": (), "Softplus": (), "Softsign": (),
    "Tanh": (), "ThresholdedRelu": (0.0,),
}
"""Activations and their alpha and beta where a model does not say them, as ONNX Runtime has it."""


@dataclass(frozen=True)
class Activation:
    """A function by the name that ONNX gives it, and its alpha and beta as far as it has them."""

    name: str
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Direction:
    """One direction of a layer.

    Members
    -------
    backward : from the last step to the first.
    x, h : float64, gates x hidden x features, and gates x hidden x hidden.
    x_bias, h_bias : float64, gates x hidden.
    activations : as ONNX lists them: of gates, of what is new, of the cell state.
    """

    backward: bool
    x: NDArray[np.float64]
    h: NDArray[np.float64]
    x_bias: NDArray[np.float64]
    h_bias: NDArray[np.float64]
    activations: tuple[Activation, ...]


@dataclass(frozen=True, eq=False)
class Recurrent:
    """A layer.

    Members
    -------
    kind : "LSTM", "GRU" or "RNN".
    clip : bound of what goes into activations, infinite where there is none.
    coupled : the forget gate of an LSTM is one less the input gate.
    reset_after : a GRU multiplies h by its weights before it resets it.
    steps : of all sequences; what is behind them is not read.
    """

    kind: str
    hidden: int
    directions: tuple[Direction, ...]
    clip: float
    coupled: bool
    reset_after: bool
    steps: int


def read(context: Context, node: onnx.NodeProto, steps: int) -> Recurrent:
    """Return what a node says; ``steps`` is the length of its sequences.

    Raises
    ------
    Refusal
        For what the machine cannot do, or weights that are no constants.
    """
    given = attributes(node)
    dynamic = node.op_type == "DynamicQuantizeLSTM"
    kind, count = "LSTM" if dynamic else node.op_type, _GATES[node.op_type]
    if dynamic:
        x, h = _dequantized(context, node, 1, 8), _dequantized(context, node, 2, 10)
    else:
        x, h = _weights(context, node, 1), _weights(context, node, 2)
    ways, hidden = h.shape[0], h.shape[-1]
    shape = ways, count, hidden
    bias = np.zeros((ways, 2 * count * hidden))
    if _given(node, 3):
        bias = _weights(context, node, 3)
    _FINITE.check(weights=np.concatenate([x.ravel(), h.ravel(), bias.ravel()]))
    if kind == "LSTM" and _given(node, 7):
        _PEEPHOLES.check(peepholes=_weights(context, node, 7))
    lengths: Any = "left out"
    if _given(node, 4):
        lengths = "computed"
        if node.input[4] in context.constants:
            lengths = [int(length) for length in context.constants[node.input[4]]]
    _LENGTHS.check(lengths=lengths, steps=steps)
    size = len(_USUAL[kind])
    # The default that ONNX has for an RNN is one for each of two directions.
    names = (given.get("activations") or _USUAL[kind] * ways)[: size * ways]
    functions = list(_activations(
        [name.decode() if isinstance(name, bytes) else name for name in names],
        list(given.get("activation_alpha", ())), list(given.get("activation_beta", ())),
    ))
    if kind == "GRU":
        for function in functions[::2]:
            _GATE.check(name=function.name)
    first = given.get("direction", "forward")
    return Recurrent(
        kind, hidden,
        tuple(
            Direction(
                first == "reverse" or way == 1,
                x[way].reshape(*shape[1:], -1), h[way].reshape(*shape[1:], hidden),
                bias[way, : bias.shape[1] // 2].reshape(shape[1:]),
                bias[way, bias.shape[1] // 2 :].reshape(shape[1:]),
                tuple(functions[way * size : (way + 1) * size]),
            )
            for way in range(ways)
        ),
        float(given.get("clip", 0)) or np.inf,
        bool(given.get("input_forget", 0)),
        bool(given.get("linear_before_reset", 0)),
        steps if lengths == "left out" else lengths[0],
    )


def _given(node: onnx.NodeProto, place: int) -> bool:
    return place < len(node.input) and bool(node.input[place])


def _weights(context: Context, node: onnx.NodeProto, place: int) -> NDArray[np.float64]:
    """Return a constant in float, one behind DequantizeLinear too."""
    if (known := context.quantized.get(node.input[place])) is not None:
        return known.real.astype(np.float64)
    return context.constant(node, place, "weight").astype(np.float64)


def _dequantized(
    context: Context, node: onnx.NodeProto, place: int, scale: int
) -> NDArray[np.float64]:
    """Return weights of DynamicQuantizeLSTM, which has them transposed, a scale and a zero point
    for each direction or for each of its columns."""
    codes = context.constant(node, place, "weight").astype(np.float64)
    ways = len(codes)
    by = context.constant(node, scale, "weight scale").reshape(ways, 1, -1)
    zero = context.constant(node, scale + 1, "weight zero point").reshape(ways, 1, -1)
    return ((codes - zero) * by).transpose(0, 2, 1)


def _activations(
    names: list[str], alphas: list[float], betas: list[float]
) -> Iterator[Activation]:
    """Yield activations; each takes what it needs of the lists, in order."""
    known = {name.lower(): name for name in _DEFAULTS}
    for given in names:
        name = known.get(given.lower(), given)
        _ACTIVATION.check(name=name)
        parameters = [
            values.pop(0) if values else default
            for values, default in zip((alphas, betas), _DEFAULTS[name], strict=False)
        ]
        yield Activation(name, tuple(parameters))
