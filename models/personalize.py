# SPDX-License-Identifier: Apache-2.0
"""A quantized network of the digits, and digits that it has not learned: all shifted by a pixel.

``python -m kiwicha.models.personalize --out DIR`` writes ``digits.onnx`` (64-64-10, int8, a scale
for all channels) and ``shifted.npz``, every fifth image of which, held out by ``kiwicha train``, is
one that the network has not seen at all. Float training in NumPy, quantized by ONNX Runtime.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kiwicha.models.digits import load_small_digits
from kiwicha.models.quantize import Form, quantize
from kiwicha.models.train import Parameters, fit

__all__ = ["main", "network", "shifted"]

_SIZES = (64, 64, 10)
_HELD = 5  #: every so many-th image is held out
_WHITE = np.float32(16)

Array = NDArray[np.float32]


def network(seed: int, epochs: int) -> onnx.ModelProto:
    """Return the quantized network, trained on images that are where they should be."""
    (images, labels), _ = load_small_digits()
    x = (images.reshape(-1, _SIZES[0]) / _WHITE).astype(np.float32)
    rng = np.random.RandomState(seed)
    p: Parameters = {}
    for index, (inputs, outputs) in enumerate(zip(_SIZES, _SIZES[1:], strict=False), 1):
        deviation = np.sqrt(2 / inputs)
        p[f"fc{index}.weight"] = (rng.standard_normal((outputs, inputs)) * deviation).astype(
            np.float32
        )
        p[f"fc{index}.bias"] = np.zeros(outputs, np.float32)
    fit(_forward, p, x, labels, rng, epochs=epochs, say=lambda _: None)
    nodes = [
        helper.make_node("Gemm", ["image", "fc1.weight", "fc1.bias"], ["sum"], "fc1", transB=1),
        helper.make_node("Relu", ["sum"], ["hidden"], "relu"),
        helper.make_node("Gemm", ["hidden", "fc2.weight", "fc2.bias"], ["logits"], "fc2", transB=1),
    ]
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", _SIZES[0]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", _SIZES[-1]])],
        [numpy_helper.from_array(value, name) for name, value in p.items()],
    )
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    return quantize(model, Form(activations="s8", per_channel=False), x[::15, None])


def _forward(p: Parameters, x: Array) -> tuple[Array, Callable[[Array], Parameters]]:
    hidden = np.maximum(x @ p["fc1.weight"].T + p["fc1.bias"], 0)
    logits = hidden @ p["fc2.weight"].T + p["fc2.bias"]

    def backward(dy: Array) -> Parameters:
        below = (dy @ p["fc2.weight"]) * (hidden > 0)
        return {
            "fc2.weight": dy.T @ hidden, "fc2.bias": dy.sum(axis=0),
            "fc1.weight": below.T @ x, "fc1.bias": below.sum(axis=0),
        }

    return logits, backward


def shifted() -> dict[str, NDArray[Any]]:
    """Return images that are a pixel further right, and labels: every fifth is of the held-out."""
    (images, labels), (held, held_labels) = load_small_digits()
    count = min(len(images) // (_HELD - 1), len(held))
    order = [(held, held_labels, 0, 1), *((images, labels, k, _HELD - 1) for k in range(_HELD - 1))]
    moved, wanted = [], []
    for pictures, names, first, step in order:
        some = pictures[first::step][:count]
        moved.append(np.pad(some, ((0, 0), (0, 0), (1, 0)))[:, :, :-1])
        wanted.append(names[first::step][:count])
    x = np.stack(moved, axis=1).reshape(-1, _SIZES[0]) / _WHITE
    return {"image": x.astype(np.float32), "labels": np.stack(wanted, axis=1).reshape(-1)}


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    onnx.save(network(args.seed, args.epochs), args.out / "digits.onnx")
    arrays: dict[str, Any] = shifted()
    np.savez_compressed(args.out / "shifted.npz", **arrays)


if __name__ == "__main__":
    main()
