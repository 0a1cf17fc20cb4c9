# SPDX-License-Identifier: Apache-2.0
"""A quantized ONNX model as what is trained: some layers of it change, all else stays."""

from functools import cache
from math import log2
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import Graph
from kiwicha.compiler.graph.tuning import Tuning, tunable, tuning_graph
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import InputError, KiwichaError
from kiwicha.golden.training import StepResult
from kiwicha.sim.training.plan import Data
from kiwicha.sim.training.task import Weights
from kiwicha.sim.training.units import model_units

__all__ = ["ModelTask"]

_HELD = 5  # every so many-th image is held out


class ModelTask:
    """Fine-tuning: the forward pass is the model's own, exact to ONNX Runtime.

    Parameters
    ----------
    model : one float input, one output of logits; layers that change are fully connected ones.
    layers : as of `compiler.graph.tuning.tunable`.

    Raises
    ------
    KiwichaError
        For a model that cannot be mapped, or a layer on the way that has no backward rule.
    """

    def __init__(self, name: str, model: onnx.ModelProto, layers: list[str]) -> None:
        self.name, self.model, self.layers = name, model, layers
        self.lowered = cache(self._lowered)
        first = self.lowered(1)
        if len(first.quantize) != 1 or len(first.inputs) != 1:
            raise KiwichaError(f"{name}: must have one float input, which is quantized")
        tuning = self._tuning(first)
        self.images = first.quantize[0].tensor.name
        self.source = first.quantize[0].source
        self.weights: Weights = {k: v.astype(np.int8) for k, v in tuning.weights.items()}
        self.changed = tuning.names
        self.units = model_units(tuning.path)
        self.classes = first.dequantize[0].tensors[0].shape[-1]
        self._exponent = round(log2(float(first.dequantize[0].tensors[0].scale)))

    @property
    def identity(self) -> Any:
        """Name and layers; the model itself is in the weights."""
        return [self.name, *self.changed]

    def _lowered(self, batch: int) -> Graph:
        return legalize(lower(self.model, batch))

    def _tuning(self, graph: Graph) -> Tuning:
        return tunable(graph, self.layers)

    def graph(self, batch: int, bits: int) -> Graph:
        """Return a step."""
        lowered = self.lowered(batch)
        return tuning_graph(lowered, self._tuning(lowered), bits)

    def exponent(self, _golden: StepResult) -> int:
        """Return that of the model's logits, the nearest one."""
        return self._exponent

    def data(self, arrays: dict[str, NDArray[Any]], where: str) -> Data:
        """Return images as the model's codes, every fifth of them held out.

        Raises
        ------
        InputError
            For arrays that are missing, of the wrong shape, or not finite; names the array.
        """
        for name in (self.source, "labels"):
            if name not in arrays:
                raise InputError(f"{where}: has no array '{name}'; it needs that")
        images, labels = arrays[self.source].astype(np.float32), arrays["labels"]
        shape = self.lowered(1).inputs[0].shape[1:]
        if images.shape[1:] != shape or labels.shape != images.shape[:1]:
            raise InputError(
                f"{where}: '{self.source}' is {images.shape}, 'labels' {labels.shape}; must be "
                f"{('N', *shape)} and ('N',)"
            )
        if not np.isfinite(images).all():
            place = [int(i) for i in np.argwhere(~np.isfinite(images))[0]]
            raise InputError(f"{where}: '{self.source}' has {images[tuple(place)]} at {place}")
        if labels.dtype.kind not in "iu" or len(images) < 2 * _HELD:
            raise InputError(f"{where}: 'labels' must be {2 * _HELD} integers or more")
        edge = self.lowered(len(images)).quantize[0]
        codes = edge(images)
        held = np.arange(len(images)) % _HELD == 0
        whole = labels.astype(np.int64)
        return Data(codes[~held], whole[~held], codes[held], whole[held], self.classes)

    def tuned(self, weights: Weights) -> onnx.ModelProto:
        """Return the model with other weights in the layers that change.

        Raises
        ------
        KiwichaError
            Where the model has not exactly one constant with a layer's weights.
        """
        made = onnx.ModelProto()
        made.CopyFrom(self.model)
        tuning = self._tuning(self.lowered(1))
        for name, value in weights.items():
            if name.removesuffix(":weights") in self.changed:
                before, after = (tuning.in_model(name, w) for w in (self.weights[name], value))
                _replace(made, name, before, after)
        return made


def _replace(
    model: onnx.ModelProto, name: str, before: NDArray[np.int8], after: NDArray[np.int8]
) -> None:
    """Replace the constant that holds a layer's weights, as they are or transposed."""
    found = []
    for constant in model.graph.initializer:
        if constant.data_type != onnx.TensorProto.INT8:
            continue
        values = numpy_helper.to_array(constant)
        for turned in (False, True):
            if np.array_equal(values.T if turned else values, before):
                found.append((constant, turned))
                break
    if len(found) != 1:
        raise KiwichaError(
            f"{name}: the model has {len(found)} constants with these weights; must be one"
        )
    constant, turned = found[0]
    values = np.ascontiguousarray(after.T if turned else after)
    constant.CopyFrom(numpy_helper.from_array(values, constant.name))
