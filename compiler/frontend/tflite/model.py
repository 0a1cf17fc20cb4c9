# SPDX-License-Identifier: Apache-2.0
"""What a TFLite file is in here, before and after its batch is bound.

An operator of it is carried as a message of ONNX, so that limits, refusals and names of layers have
one form: its op type is TFLite's (``CONV_2D``), its domain ``tflite``, its attributes are its
options by their names in TFLite's schema, ``padding`` and ``fusedActivationFunction`` as words; its
inputs and outputs are tensors by name, "" for one that is left out. What a tensor is, the message
does not say: `TfliteTensor` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.lower import LoweredModel
from kiwicha.compiler.frontend.tflite.probe import Rounding
from kiwicha.compiler.graph.tensor import Shape
from kiwicha.machine.modes import RequantizeMode

__all__ = ["DOMAIN", "TfliteFile", "TfliteModel", "TfliteTensor"]

DOMAIN = "tflite"
"""Of the operators."""


@dataclass(frozen=True, eq=False)
class TfliteTensor:
    """A tensor as the file describes it.

    Members
    -------
    shape : in the file's order, N H W C of images; of an open batch 1.
    kind : type in lower case, ``int8``.
    scale, zero, axis : one or more scales (float32) and zero points along ``axis``; none of a
        tensor that is not quantized.
    constant : its values are in the file.
    batched : its leading dimension is the open batch.
    """

    name: str
    shape: Shape
    kind: str
    scale: NDArray[np.float32]
    zero: NDArray[np.int64]
    axis: int
    constant: bool
    batched: bool


@dataclass(frozen=True, eq=False)
class TfliteFile:
    """A file that was read, and found to be a TFLite model of one graph.

    Members
    -------
    content : the file's bytes, which are what the reference runs.
    proto : its operators, inputs, outputs and constants, as above; an open batch has the symbol
        ``batch``.
    tensors : by name.
    """

    content: bytes
    proto: onnx.ModelProto
    tensors: Mapping[str, TfliteTensor]

    @property
    def graph(self) -> onnx.GraphProto:
        """Inputs and outputs, as those of an ONNX model."""
        return self.proto.graph


@dataclass(frozen=True, eq=False)
class TfliteModel(LoweredModel):
    """A TFLite model with its batch bound, as operators take it.

    Members
    -------
    model, runtime, source : the same, the operators as they are in the file.
    content : of the file.
    batch : what an open leading dimension of inputs became; None where none is open.
    tensors : with the batch in their shapes.
    conv, dense : how the interpreter that is installed rounds convolutions and FULLY_CONNECTED.
    """

    content: bytes = b""
    batch: int | None = None
    tensors: Mapping[str, TfliteTensor] = field(default_factory=dict)
    conv: Rounding = "twice"
    dense: Rounding = "away"

    @property
    def requantize(self) -> RequantizeMode:
        """The machine's mode that rounds as the interpreter does."""
        return RequantizeMode.TFLITE_SINGLE if self.conv == "once" else RequantizeMode.TFLITE

    def operator_of(self, name: str) -> Any:
        """Return the operator that makes a tensor, None where none does."""
        return next((node for node in self.model.graph.node if name in node.output), None)
