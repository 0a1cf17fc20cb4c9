# SPDX-License-Identifier: Apache-2.0
"""The compiler's own graph: what is left of a quantized ONNX model once it is ready to schedule.

The machine executes the nodes of `compiler.graph.nodes`, but for `ViewNode`, which gives bytes a
new name and shape; `HostQuantize`, `HostDequantize` and those in `compiler.graph.dynamic_edges`
and `compiler.graph.blocks` are the float edges, computed by the host.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.blocks import BlocksNode, HostBlockDequantize
from kiwicha.compiler.graph.dynamic_edges import (
    HostDynamicDequantize,
    HostDynamicQuantize,
    HostSums,
)
from kiwicha.compiler.graph.dynamic_real import DynamicRealNode, HostReal, HostRealInput
from kiwicha.compiler.graph.host_operators import HostFunction, HostOperators
from kiwicha.compiler.graph.layout import Layout
from kiwicha.compiler.graph.move_node import Box, MoveNode, Picked, Piece
from kiwicha.compiler.graph.node import Promise
from kiwicha.compiler.graph.nodes import (
    ConvNode,
    ConvTransposeNode,
    DynamicConvNode,
    DynamicLinearNode,
    DynamicProductNode,
    DynamicScaleNode,
    JoinNode,
    MatMulNode,
    MatMulStackNode,
    OperatorNode,
    PoolNode,
    ProductNode,
    ViewNode,
)
from kiwicha.compiler.graph.special_nodes import (
    AddNode,
    FixedPairNode,
    MulNode,
    NormalizeNode,
    PairNode,
    SoftmaxNode,
    TableNode,
    TablesNode,
)
from kiwicha.compiler.graph.tensor import Bounds, Pair, Quad, Shape, Tensor
from kiwicha.compiler.graph.training_nodes import TrainingNode
from kiwicha.compiler.graph.update_nodes import UpdateNode
from kiwicha.machine.modes import RequantizeMode

__all__ = [
    "AddNode", "BlocksNode", "Bounds", "Box", "ConvNode", "ConvTransposeNode", "DynamicConvNode",
    "DynamicLinearNode", "DynamicProductNode", "DynamicRealNode", "DynamicScaleNode",
    "FixedPairNode", "Graph",
    "HostBlockDequantize", "HostDequantize", "HostDynamicDequantize", "HostDynamicQuantize",
    "HostOperators", "HostQuantize", "HostReal", "HostRealInput", "HostSums", "JoinNode",
    "MatMulNode", "MatMulStackNode",
    "MoveNode", "MulNode", "Node", "NormalizeNode", "Note", "OperatorNode", "Pair", "PairNode",
    "Picked", "Piece", "PoolNode", "ProductNode", "Promise", "Quad", "Shape", "SoftmaxNode",
    "TableNode", "TablesNode", "Tensor", "Value", "ViewNode", "Whole",
]

Node = OperatorNode | BlocksNode | TrainingNode


@dataclass(frozen=True)
class Value:
    """A graph input or output as the user sees it: name, shape, dtype: float32, int8 or uint8, of
    an output bool, int32 and int64 too.

    Members
    -------
    batched : an input whose leading dimension is the batch.
    """

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    batched: bool = False


@dataclass(frozen=True)
class HostQuantize:
    """QuantizeLinear of a graph input: float32 division, half to even, then the zero point. What is
    no number becomes the lowest code, as it does in ONNX Runtime. TFLite's QUANTIZE rounds halves
    away from zero, and gives the lowest code to all that has no int32, too.

    Members
    -------
    source : graph input.
    view : reshapes and transposes of the input before it is quantized.
    tensor : what the machine reads.
    away : as TFLite has it.
    before : what is computed of the input before that, if anything.
    """

    name: str
    source: str
    view: Layout
    tensor: Tensor
    away: bool = False
    before: HostFunction | None = None

    def __call__(self, array: NDArray[np.float32]) -> NDArray[Any]:
        """Return the tensor's values in ONNX order."""
        info = np.iinfo(self.tensor.dtype)
        zero = np.float32(self.tensor.zero_point)
        with np.errstate(over="ignore"):
            given = array if self.before is None else self.before.run(array)
            real = self.view.apply(given).astype(np.float32) / self.tensor.scale
        if self.away:
            whole = np.trunc(real)
            with np.errstate(invalid="ignore"):  # of infinities
                whole += np.copysign(np.abs(real - whole) >= 0.5, real)
            real = np.where(np.abs(whole) < 2.0**31, whole, np.float32(-np.inf))
        real = np.where(np.isnan(real), np.float32(-np.inf), real)
        codes = np.rint(np.clip(real, info.min - zero, info.max - zero)) + zero
        return codes.astype(self.tensor.dtype).reshape(self.tensor.shape)


@dataclass(frozen=True, eq=False)
class HostDequantize:
    """What makes a float graph output of codes: DequantizeLinear, or it and functions behind it.

    Members
    -------
    values : kinds of places x 256: the result for each raw byte, in the output's type. None where
        it is scale * (value - zero_point) in float32.
    kinds : for each place of the output a row of ``values``; the first where None.
    """

    name: str
    tensor: Tensor
    target: str
    values: NDArray[Any] | None = None
    kinds: NDArray[np.int64] | None = None

    @property
    def shape(self) -> Shape:
        """Of the graph output."""
        return self.tensor.shape

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it reads."""
        return (self.tensor,)

    def __call__(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the graph output; ``array`` holds the tensor's values in ONNX order."""
        if self.values is not None:
            kinds = 0 if self.kinds is None else self.kinds
            return np.asarray(self.values[kinds, array.view(np.uint8)])
        centred = array.astype(np.int32) - self.tensor.zero_point
        with np.errstate(over="ignore"):
            return np.asarray(centred.astype(np.float32) * self.tensor.scale)


@dataclass(frozen=True)
class Note:
    """Something the report has to say about a node, such as a rule of our own that was applied."""

    node: str
    text: str


@dataclass(frozen=True)
class Whole:
    """One operator of the model that has become many nodes: its name, and what it is called."""

    name: str
    op: str


@dataclass(frozen=True)
class Graph:
    """A model ready to schedule.

    Members
    -------
    inputs, outputs : what the user gives and gets.
    quantize : float inputs on their way in; an integer input is itself the tensor of its name.
    nodes : in topological order.
    dequantize : outputs on their way out; one of codes is the tensor of its name.
    dynamic : float inputs that are quantized by their own range. The program begins with the
        record of the first of them in the slots.
    passed : integer inputs that are outputs as they are.
    wholes : by result, what a node is a part of; such nodes are one layer, in their order.
    images : of a TFLite model, tensors in N C H W, and which of the file's, in N H W C, each is.
    requantize : the machine's mode in which layers are exact to the model's own runtime.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    quantize: tuple[HostQuantize | HostRealInput, ...]
    nodes: tuple[Node, ...]
    dequantize: tuple[
        HostDequantize | HostDynamicDequantize | HostBlockDequantize | HostOperators | HostReal
        | HostSums, ...
    ]
    notes: tuple[Note, ...] = ()
    dynamic: tuple[HostDynamicQuantize, ...] = ()
    passed: tuple[Tensor, ...] = ()
    wholes: Mapping[str, Whole] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    requantize: RequantizeMode = RequantizeMode.ONNX

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name, as its producer writes it."""
        written = [q.tensor for q in self.quantize]
        written += [tensor for q in self.dynamic for tensor in (q.tensor, q.record)]
        written += [tensor for node in self.nodes for tensor in node.results]
        return {**self._read, **{tensor.name: tensor for tensor in written}}

    @property
    def _read(self) -> dict[str, Tensor]:
        """What nodes or the host read, by name; an integer input that is an output, too."""
        read = {tensor.name: tensor for edge in self.dequantize for tensor in edge.tensors}
        read |= {tensor.name: tensor for tensor in self.passed}
        return read | {tensor.name: tensor for node in self.nodes for tensor in node.inputs}

    @property
    def input_tensors(self) -> tuple[Tensor, ...]:
        """Tensors that the host puts into memory before the machine starts."""
        names = {value.name for value in self.inputs}
        integer = {name: tensor for name, tensor in self._read.items() if name in names}
        dynamic = {t.name: t for q in self.dynamic for t in (q.tensor, q.record)}
        return (*(q.tensor for q in self.quantize), *dynamic.values(), *integer.values())

    @property
    def updates(self) -> dict[str, str]:
        """Tensors that take the place of others, which are inputs: the new weights of a training
        step. By result, whose place it is."""
        found = dict[str, str]()
        for node in self.nodes:
            if isinstance(node, UpdateNode):
                found |= {name: tensor.name for name, tensor in node.places.items()}
            elif (place := getattr(node, "updates", None)) is not None:
                found[node.y.name] = place.name
        return found

    @property
    def output_tensors(self) -> tuple[Tensor, ...]:
        """Tensors that the host reads when the machine is done."""
        names = {value.name for value in self.outputs}
        tensors = {t.name: t for d in self.dequantize for t in d.tensors}
        tensors |= {n: t for n, t in self.tensors.items() if n in names}
        return tuple(tensors.values())
