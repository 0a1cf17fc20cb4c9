# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers between QuantizeLinear and the graph's outputs, with random weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from .onnx_models import dq, model, node, q, scales

__all__ = ["layer", "sequences"]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def layer(
    kind: str,
    *,
    steps: int = 6,
    batch: int = 1,
    features: int = 5,
    hidden: int = 7,
    seed: int = 0,
    gain: float = 1.0,
    forget: float = 0.0,
    x_zero: Any = np.uint8(120),
    outputs: Sequence[str] = ("Y",),
    first: str = "",
    codes: bool = True,
    floats: bool = False,
    length: int = 0,
    **attributes: Any,
) -> onnx.ModelProto:
    """Return a model with float input x and outputs of Y, Y_h, Y_c.

    Parameters
    ----------
    gain : weights reach it over the square root of ``hidden``.
    forget : added to the bias of an LSTM's forget gates.
    first : initial states: "h" and "c" for inputs, "H" and "C" for constants.
    floats : initial states that are inputs are not quantized; they come in one tensor, h before c.
    codes : x is quantized; else the layer reads it in float, and its first output is quantized.
    length : of all sequences, if not ``steps``.
    attributes : of the layer.
    """
    rng = np.random.RandomState(seed)
    ways = 2 if attributes.get("direction") == "bidirectional" else 1
    gates = GATES[kind] * hidden

    def weights(*shape: int) -> NDArray[np.float32]:
        return (rng.uniform(-1, 1, shape) * gain / np.sqrt(hidden)).astype(np.float32)

    bias = weights(ways, 2 * gates)
    if kind == "LSTM":
        bias[:, 2 * hidden : 3 * hidden] += np.float32(forget)
    constants: dict[str, Any] = {
        "W": weights(ways, gates, features), "R": weights(ways, gates, hidden), "B": bias,
        **scales(x=(6 / 255, x_zero), h=(2 / 255, np.uint8(128)), c=(8 / 255, np.uint8(128))),
    }
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x")] if codes else []
    inputs = {"x": [steps, batch, features]}
    names = ["xf" if codes else "x", "W", "R", "B", "L" if length else ""]
    if length:
        constants["L"] = np.full(batch, length, np.int32)
    for key in ("h", "c")[: 2 if kind == "LSTM" else 1]:
        names.append("")
        if key in first and floats:
            place = int(key == "c")
            constants[f"{key}_place"] = np.array([place])
            nodes.append(node("Gather", ["states", f"{key}_place"], [f"{key}_one"]))
            constants["lead"] = np.array([0])
            nodes.append(node("Squeeze", [f"{key}_one", "lead"], [f"{key}f"]))
            inputs["states"], names[-1] = [2, ways, batch, hidden], f"{key}f"
        elif key in first:
            nodes += [q(f"{key}0", f"{key}q", key), dq(f"{key}q", f"{key}f", key)]
            inputs[f"{key}0"], names[-1] = [ways, batch, hidden], f"{key}f"
        elif key.upper() in first:
            start = rng.uniform(-1, 1, (ways, 1, hidden)).astype(np.float32)
            constants[f"{key}0"], names[-1] = start.repeat(batch, 1), f"{key}0"
    made = ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
    nodes.append(node(
        kind, names, [name if name in outputs else "" for name in made], name="cell",
        hidden_size=hidden, **attributes,
    ))
    if not codes:
        nodes += [q(outputs[0], "yq", "h"), dq("yq", "y", "h")]
        outputs = ("y", *outputs[1:])
    return model(nodes, constants, inputs, outputs)


def sequences(made: onnx.ModelProto, seed: int = 1) -> dict[str, NDArray[np.float32]]:
    """Return inputs of a model: normal, cut off at 3, states at 1."""
    rng = np.random.RandomState(seed)
    return {
        value.name: np.clip(
            rng.standard_normal([d.dim_value for d in value.type.tensor_type.shape.dim]),
            *((-1, 1) if value.name == "states" else (-3, 3)),
        ).astype(np.float32)
        for value in made.graph.input
    }
