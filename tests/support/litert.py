# SPDX-License-Identifier: Apache-2.0
"""Layers of one operator, run by the reference kernels of LiteRT (TensorFlow Lite)."""

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

__all__ = ["KINDS", "run_layer"]

#: The operator of each kind of layer, its version with int8, and the axis of its weights' scales.
KINDS = {
    "conv": ("Conv2D", schema.BuiltinOperator.CONV_2D, 3, 0),
    "depthwise": ("DepthwiseConv2D", schema.BuiltinOperator.DEPTHWISE_CONV_2D, 3, 3),
    "dense": ("FullyConnected", schema.BuiltinOperator.FULLY_CONNECTED, 4, 0),
}


def run_layer(
    kind: str, x: NDArray[np.int8], w: NDArray[np.int8], bias: NDArray[np.int32],
    scales: tuple[Any, Any, Any], zeros: tuple[int, int], y_shape: tuple[int, ...],
) -> NDArray[np.int8]:
    """Return the output of a layer without padding or stride.

    Parameters
    ----------
    kind : of ``KINDS``.
    x : N H W C, or rows of a matrix; w : as LiteRT has them: O H W I, 1 H W C, or O I.
    scales : of input, weights (one, or one per output channel) and output, float32.
    zeros : zero points of input and output.
    """
    name, code, version, axis = KINDS[kind]
    w_scale = np.atleast_1d(np.float32(scales[1]))
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version = 3
    model.buffers = [schema.BufferT() for _ in range(3)]
    model.buffers[1].data = np.frombuffer(w.tobytes(), np.uint8)
    model.buffers[2].data = np.frombuffer(bias.tobytes(), np.uint8)
    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    graph.tensors = [
        _tensor(x.shape, int8, 0, scales[0], zeros[0]),
        _tensor(w.shape, int8, 1, w_scale, 0, axis),
        _tensor(bias.shape, int32, 2, np.float32(scales[0]) * w_scale, 0),
        _tensor(y_shape, int8, 0, scales[2], zeros[1]),
    ]
    operator, operator_code = schema.OperatorT(), schema.OperatorCodeT()
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name}Options")
    operator.builtinOptions = _options(kind, name)
    operator_code.builtinCode = operator_code.deprecatedBuiltinCode = code
    operator_code.version = version
    model.operatorCodes = [operator_code]
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    interpreter = Interpreter(
        model_content=bytes(builder.Output()),
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    y: NDArray[np.int8] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return y


def _tensor(
    shape: tuple[int, ...], kind: int, buffer: int, scale: Any, zero: int, axis: int = 0
) -> Any:
    tensor, quantization = schema.TensorT(), schema.QuantizationParametersT()
    tensor.shape, tensor.type, tensor.buffer = list(shape), kind, buffer
    quantization.scale = [float(value) for value in np.atleast_1d(scale)]
    quantization.zeroPoint = [zero] * len(quantization.scale)
    quantization.quantizedDimension = axis
    tensor.quantization = quantization
    return tensor


def _options(kind: str, name: str) -> Any:
    options = getattr(schema, f"{name}OptionsT")()
    if kind != "dense":
        options.padding = schema.Padding.VALID
        options.strideH = options.strideW = 1
        options.dilationHFactor = options.dilationWFactor = 1
    if kind == "depthwise":
        options.depthMultiplier = 1
    return options
