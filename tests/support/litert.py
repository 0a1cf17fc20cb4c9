# SPDX-License-Identifier: Apache-2.0
"""Layers of one operator, run by the reference kernels of LiteRT (TensorFlow Lite)."""

from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

__all__ = ["KINDS", "Operand", "run_layer", "run_operator"]

#: The operator of each kind of layer, its version with int8, and the axis of its weights' scales.
KINDS = {
    "conv": ("Conv2D", "CONV_2D", 3, 0),
    "depthwise": ("DepthwiseConv2D", "DEPTHWISE_CONV_2D", 3, 3),
    "dense": ("FullyConnected", "FULLY_CONNECTED", 4, 0),
}


@dataclass(frozen=True)
class Operand:
    """A tensor of an operator.

    Members
    -------
    values : of an input or a constant; of the output only shape and type count.
    scale : one, or one for each place along ``axis``; None for a tensor that is not quantized.
    """

    values: NDArray[Any]
    scale: Any = None
    zero: int = 0
    axis: int = 0
    constant: bool = False


def run_operator(
    name: str, operands: list[Operand], y: Operand, version: int = 1, options: Any = None,
    option_type: str = "",
) -> NDArray[Any]:
    """Return the output of one operator.

    Parameters
    ----------
    name : as ``BuiltinOperator`` has it.
    version : of the operator, which its types ask for.
    options : fields of its options by name; ``option_type`` is what they are called, without
        "Options".

    Raises
    ------
    RuntimeError, ValueError
        Where LiteRT refuses it.
    """
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version = 3
    model.buffers, graph.tensors = [schema.BufferT()], []
    for operand in [*operands, y]:
        buffer = 0
        if operand.constant:
            buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(operand.values.tobytes(), np.uint8)
        graph.tensors.append(_tensor(operand, buffer))
    operator, code = schema.OperatorT(), schema.OperatorCodeT()
    operator.inputs, operator.outputs = list(range(len(operands))), [len(operands)]
    if option_type:
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{option_type}Options")
        operator.builtinOptions = getattr(schema, f"{option_type}OptionsT")()
        for field, value in (options or {}).items():
            assert hasattr(operator.builtinOptions, field), field
            setattr(operator.builtinOptions, field, value)
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = version
    model.operatorCodes = [code]
    inputs = [place for place, operand in enumerate(operands) if not operand.constant]
    graph.inputs, graph.outputs, graph.operators = inputs, [len(operands)], [operator]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    interpreter = Interpreter(
        model_content=bytes(builder.Output()),
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    for place, details in zip(inputs, interpreter.get_input_details(), strict=True):
        interpreter.set_tensor(details["index"], operands[place].values)
    interpreter.invoke()
    result: NDArray[Any] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return result


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
    operands = [
        Operand(x, scales[0], zeros[0]),
        Operand(w, w_scale, 0, axis, constant=True),
        Operand(bias, np.float32(scales[0]) * w_scale, constant=True),
    ]
    options: dict[str, Any] = {}
    if kind != "dense":
        options = {"padding": schema.Padding.VALID, "strideH": 1, "strideW": 1}
        options |= {"dilationHFactor": 1, "dilationWFactor": 1}
    if kind == "depthwise":
        options["depthMultiplier"] = 1
    y = Operand(np.empty(y_shape, np.int8), scales[2], zeros[1])
    return run_operator(code, operands, y, version, options, name)


def _tensor(operand: Operand, buffer: int) -> Any:
    tensor = schema.TensorT()
    tensor.shape, tensor.buffer = list(operand.values.shape), buffer
    tensor.type = getattr(schema.TensorType, operand.values.dtype.name.upper())
    if operand.scale is not None:
        tensor.quantization = quantization = schema.QuantizationParametersT()
        quantization.scale = [float(value) for value in np.atleast_1d(operand.scale)]
        quantization.zeroPoint = [operand.zero] * len(quantization.scale)
        quantization.quantizedDimension = operand.axis
    return tensor
