# SPDX-License-Identifier: Apache-2.0
"""Writes small TFLite files, of which to ask what the interpreter that is installed does."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.frontend.tflite.runtime import schema

__all__ = ["TfliteWriter", "packed"]

IDENTIFIER = b"TFL3"


class TfliteWriter:
    """A graph that is written tensor by tensor and operator by operator."""

    def __init__(self) -> None:
        self._classes = classes = schema()
        self.model, self.graph = classes.ModelT(), classes.SubGraphT()
        self.model.version = 3
        self.model.buffers, self.model.operatorCodes = [classes.BufferT()], []
        self.model.subgraphs = [self.graph]
        self.graph.tensors, self.graph.operators = [], []

    def tensor(
        self, name: str, shape: Sequence[int], kind: str = "int8", scale: Any = None,
        zero: Any = 0, axis: int = 0, values: NDArray[Any] | None = None, batched: bool = False,
    ) -> int:
        """Add a tensor and return its index.

        Parameters
        ----------
        kind : type in lower case.
        scale, zero, axis : one or several scales and zero points; None: not quantized.
        values : of a constant.
        batched : its leading dimension is open.
        """
        classes, made = self._classes, self._classes.TensorT()
        made.name, made.shape = name.encode(), [int(size) for size in shape]
        made.type, made.buffer = getattr(classes.TensorType, kind.upper()), 0
        if batched:
            made.shapeSignature = [-1, *made.shape[1:]]
        if values is not None:
            made.buffer = len(self.model.buffers)
            buffer = classes.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
        if scale is not None:
            made.quantization = quantization = classes.QuantizationParametersT()
            quantization.scale = [float(value) for value in np.atleast_1d(scale)]
            zeros = np.broadcast_to(np.atleast_1d(zero), len(quantization.scale))
            quantization.zeroPoint = [int(value) for value in zeros]
            quantization.quantizedDimension = axis
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def operator(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], kind: str = "",
        version: int = 1, **options: Any,
    ) -> None:
        """Add an operator.

        Parameters
        ----------
        name : as the schema has it, ``CONV_2D``.
        kind : what its options are called there, ``Conv2D``; "" without options.
        version : which its types ask for.
        options : fields of its options; those of an enumeration as words.
        """
        classes = self._classes
        code, made = classes.OperatorCodeT(), classes.OperatorT()
        code.builtinCode = getattr(classes.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
        made.opcodeIndex = len(self.model.operatorCodes)
        self.model.operatorCodes.append(code)
        made.inputs, made.outputs = list(inputs), list(outputs)
        if kind:
            made.builtinOptionsType = getattr(classes.BuiltinOptions, f"{kind}Options")
            made.builtinOptions = getattr(classes, f"{kind}OptionsT")()
        for field, value in options.items():
            enumeration = {
                "padding": "Padding", "fusedActivationFunction": "ActivationFunctionType",
            }.get(field)
            if enumeration is not None:
                value = getattr(getattr(classes, enumeration), value)
            if not hasattr(made.builtinOptions, field):
                raise ValueError(f"{kind} has no option {field!r}")
            setattr(made.builtinOptions, field, value)
        self.graph.operators.append(made)

    def write(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Return the file."""
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        return packed(self.model)


def packed(model: Any) -> bytes:
    """Return the file of a model that is in LiteRT's classes."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())
