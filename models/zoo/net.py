# SPDX-License-Identifier: Apache-2.0
"""Writes float ONNX graphs layer by layer, with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, TypeProto, helper, numpy_helper, shape_inference

__all__ = ["Net"]

OPSET, IR_VERSION = 20, 9  #: the first opset with Gelu


class Net:
    """A float graph that grows by a node a call; each call returns the name of its output.

    The batch of every input is the free dimension ``N``. Weights are normal, of variance 2 /
    inputs; biases are small. Batch normalization behind a convolution is not written: exporters
    fold it.

    Parameters
    ----------
    name : of the graph.
    seed : of the weights.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.inputs: list[str] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.types: dict[str, TypeProto] = {}

    # What a graph is made of ---------------------------------------------------------------

    def input(self, name: str, *shape: int) -> str:
        """Add a float32 input of shape N x ``shape``."""
        self.inputs.append(name)
        self.types[name] = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", *shape])
        return name

    def constant(self, values: NDArray[Any] | list[Any] | float) -> str:
        """Add an initializer: int64 of integers, else float32."""
        array = np.asarray(values)
        array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        self.types[name] = helper.make_tensor_type_proto(kind, array.shape)
        return name

    def weight(self, *shape: int, inputs: int) -> str:
        """Add random weights of which ``inputs`` make one sum."""
        return self.constant(self.rng.standard_normal(shape) * np.sqrt(2 / inputs))

    def bias(self, *shape: int) -> str:
        """Add small random numbers."""
        return self.constant(self.rng.standard_normal(shape) * 0.1)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; return the name of its output, or of all ``outputs``."""
        label = f"{kind.lower()}{sum(node.op_type == kind for node in self.nodes)}"
        names = [label if i == 0 else f"{label}.{i}" for i in range(outputs)]
        node = helper.make_node(kind, inputs, names, name=label, **attributes)
        self.nodes.append(node)
        given = [name for name in inputs if name]
        self.types |= shape_inference.infer_node_outputs(
            onnx.defs.get_schema(kind, OPSET), node, {name: self.types[name] for name in given},
            {
                name: numpy_helper.from_array(self.constants[name], name)
                for name in given if name in self.constants and self.constants[name].ndim < 2
            },
            opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        )
        return names[0] if outputs == 1 else names

    def shape(self, x: str) -> tuple[int, ...]:
        """Return the dimensions of a value behind its batch."""
        return tuple(d.dim_value for d in self.types[x].tensor_type.shape.dim[1:])

    def model(self, *outputs: str) -> onnx.ModelProto:
        """Return the graph."""
        graph = helper.make_graph(
            self.nodes, self.name,
            [helper.make_value_info(name, self.types[name]) for name in self.inputs],
            [helper.make_value_info(name, self.types[name]) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        return helper.make_model(
            graph, producer_name="kiwicha", ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )

    # Layers --------------------------------------------------------------------------------

    def conv(
        self, x: str, channels: int, kernel: int = 3, stride: int = 1, *, groups: int = 1,
        dilation: int = 1, pad: int | None = None, act: str | None = "Relu",
    ) -> str:
        """A convolution over all axes of space, padded to "same" unless said, and a function."""
        before, *space = self.shape(x)
        pad = dilation * (kernel - 1) // 2 if pad is None else pad
        side = [kernel] * len(space)
        weight = self.weight(
            channels, before // groups, *side, inputs=before // groups * kernel ** len(space)
        )
        y: str = self.op(
            "Conv", x, weight, self.bias(channels), kernel_shape=side,
            strides=[stride] * len(space), pads=[pad] * (2 * len(space)), group=groups,
            dilations=[dilation] * len(space),
        )
        return self.act(act, y)

    def upconv(self, x: str, channels: int, factor: int = 2, act: str | None = "Relu") -> str:
        """A transposed convolution whose windows do not overlap."""
        before, *space = self.shape(x)
        side = [factor] * len(space)
        weight = self.weight(before, channels, *side, inputs=before)
        y: str = self.op(
            "ConvTranspose", x, weight, self.bias(channels), kernel_shape=side, strides=side
        )
        return self.act(act, y)

    def act(self, kind: str | None, x: str) -> str:
        """A function of each element; "SiLU" as x * Sigmoid(x), as exporters write it."""
        if kind is None:
            return x
        if kind == "SiLU":
            return str(self.op("Mul", x, self.op("Sigmoid", x)))
        if kind == "Relu6":
            return str(self.op("Clip", x, self.constant(0.0), self.constant(6.0)))
        if kind == "LeakyRelu":
            return str(self.op(kind, x, alpha=0.1))
        return str(self.op(kind, x))

    def pool(
        self, kind: str, x: str, kernel: int, stride: int, pad: int = 0, **attributes: Any
    ) -> str:
        """MaxPool or AveragePool over all axes of space."""
        axes = len(self.shape(x)) - 1
        return str(self.op(
            kind, x, kernel_shape=[kernel] * axes, strides=[stride] * axes,
            pads=[pad] * (2 * axes), **attributes,
        ))

    def linear(self, x: str, features: int, act: str | None = None) -> str:
        """A fully connected layer over the last axis: Gemm on rows, else MatMul and Add."""
        before = self.shape(x)[-1]
        weight, bias = self.weight(before, features, inputs=before), self.bias(features)
        if len(self.shape(x)) == 1:
            return self.act(act, self.op("Gemm", x, weight, bias))
        return self.act(act, self.op("Add", self.op("MatMul", x, weight), bias))

    def classify(self, x: str, classes: int) -> str:
        """Global average pooling and a fully connected layer."""
        return self.linear(self.op("Flatten", self.op("GlobalAveragePool", x)), classes)

    def norm(self, x: str) -> str:
        """Layer normalization over the last axis."""
        features = self.shape(x)[-1]
        gain = self.constant(1 + self.rng.standard_normal(features) * 0.1)
        return str(self.op("LayerNormalization", x, gain, self.bias(features), axis=-1))

    def reshape(self, x: str, *shape: int) -> str:
        """To N x ``shape``."""
        return str(self.op("Reshape", x, self.constant([-1, *shape])))
