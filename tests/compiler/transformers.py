# SPDX-License-Identifier: Apache-2.0
"""Float attention blocks and transformer layers, quantized as ONNX Runtime does it."""

from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper, shape_inference

from kiwicha.models.quantize import DEFAULT, Form, quantize

__all__ = ["BATCH", "HEADS", "LENGTH", "SHAPE", "WIDTH", "Builder", "attention", "encoder"]

BATCH, LENGTH, WIDTH, HEADS = 2, 5, 8, 2
SHAPE = (BATCH, LENGTH, WIDTH)


class Builder:
    """Nodes and constants of a model; every method appends and returns the name of its result."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Any] = {}
        self.random = np.random.RandomState(seed)

    def constant(self, name: str, value: Any) -> str:
        """Add an initializer."""
        self.constants[name] = np.asarray(value)
        return name

    def op(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Add one node."""
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}/y"], name=name, **attributes))
        return f"{name}/y"

    def linear(self, x: str, inputs: int, outputs: int, name: str) -> str:
        """A matrix product with weights, and a bias."""
        weight = (self.random.standard_normal((inputs, outputs)) / inputs**0.5).astype(np.float32)
        bias = (self.random.standard_normal(outputs) / 10).astype(np.float32)
        product = self.op("MatMul", x, self.constant(f"{name}/W", weight), name=name)
        return self.op("Add", product, self.constant(f"{name}/b", bias), name=f"{name}/bias")

    def heads(self, x: str, perm: list[int], name: str) -> str:
        """A projection cut into heads."""
        y = self.linear(x, WIDTH, WIDTH, name)
        shape = self.constant("split", [0, 0, HEADS, WIDTH // HEADS])
        y = self.op("Reshape", y, shape, name=f"{name}/cut")
        return self.op("Transpose", y, name=f"{name}/heads", perm=perm)

    def normalization(self, x: str, name: str) -> str:
        """LayerNormalization with scale and bias."""
        gamma = (1 + self.random.standard_normal(WIDTH) / 10).astype(np.float32)
        beta = (self.random.standard_normal(WIDTH) / 10).astype(np.float32)
        names = self.constant(f"{name}/g", gamma), self.constant(f"{name}/b", beta)
        return self.op("LayerNormalization", x, *names, name=name, axis=-1)

    def gelu(self, x: str) -> str:
        """x (erf(x / sqrt(2)) + 1) / 2, as exporters write it."""
        root, one, half = (
            self.constant(f"c{number}", np.float32(value))
            for number, value in enumerate((2**0.5, 1, 0.5))
        )
        y = self.op("Erf", self.op("Div", x, root, name="gelu/div"), name="gelu/erf")
        y = self.op("Mul", x, self.op("Add", y, one, name="gelu/add"), name="gelu/mul")
        return self.op("Mul", y, half, name="gelu/half")

    def quantized(self, y: str, form: Form = DEFAULT, shape: tuple[int, ...] = SHAPE,
                  opset: int = 17) -> onnx.ModelProto:
        """Return the model from "x" to ``y``, calibrated on four random inputs."""
        graph = helper.make_graph(
            self.nodes, "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )
        for node in graph.node:
            node.output[:] = ["y" if name == y else name for name in node.output]
            node.input[:] = ["y" if name == y else name for name in node.input]
        imports = [helper.make_opsetid("", opset)]
        whole = helper.make_model(graph, ir_version=8, opset_imports=imports)
        samples = self.random.standard_normal((4, *shape)).astype(np.float32)
        return quantize(shape_inference.infer_shapes(whole), form, samples)


def attention(build: Builder, x: str, mask: str = "add") -> str:
    """Attention of `HEADS` heads over rows of `WIDTH`; each row sees those before it.

    Parameters
    ----------
    mask : "add" (a mask of negative numbers), "where" or "none".
    """
    queries, values = (build.heads(x, [0, 2, 1, 3], name) for name in "qv")
    keys = build.heads(x, [0, 2, 3, 1], "k")
    scores = build.op("MatMul", queries, keys, name="scores")
    root = build.constant("root", np.float32((WIDTH // HEADS) ** 0.5))
    scores = build.op("Div", scores, root, name="scaled")
    seen = np.tril(np.ones((1, 1, LENGTH, LENGTH), bool))
    if mask == "add":
        hidden = build.constant("mask", np.where(seen, 0, -9).astype(np.float32))
        scores = build.op("Add", scores, hidden, name="masked")
    elif mask == "where":
        low = build.constant("low", np.float32(-9))
        scores = build.op("Where", build.constant("mask", seen), scores, low, name="masked")
    weights = build.op("Softmax", scores, name="softmax", axis=-1)
    y = build.op("MatMul", weights, values, name="context")
    y = build.op("Transpose", y, name="context/rows", perm=[0, 2, 1, 3])
    y = build.op("Reshape", y, build.constant("merge", [0, 0, WIDTH]), name="context/merged")
    return build.linear(y, WIDTH, WIDTH, "out")


def encoder(build: Builder, x: str) -> str:
    """A transformer layer that normalizes first."""
    y = attention(build, build.normalization(x, "norm1"))
    x = build.op("Add", x, y, name="sum1")
    y = build.linear(build.normalization(x, "norm2"), WIDTH, 4 * WIDTH, "wide")
    return build.op("Add", x, build.linear(build.gelu(y), 4 * WIDTH, WIDTH, "narrow"), name="sum2")
