# SPDX-License-Identifier: Apache-2.0
"""What operators share while a lowered model is turned into a graph: constants, tensors, errors."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import FLOAT32, check_scale
from kiwicha.compiler.frontend.names import Names
from kiwicha.compiler.frontend.onnx_node import Unknown, node_name
from kiwicha.compiler.frontend.session import Settings
from kiwicha.compiler.frontend.tflite.model import TfliteTensor
from kiwicha.compiler.frontend.tflite.probe import Rounding
from kiwicha.compiler.graph.graph import (
    Box,
    HostDequantize,
    HostDynamicDequantize,
    HostDynamicQuantize,
    HostQuantize,
    HostReal,
    HostRealInput,
    HostSums,
    MoveNode,
    Note,
    OperatorNode,
    Picked,
    Piece,
    Shape,
    Tensor,
    Value,
    Whole,
)
from kiwicha.compiler.graph.host_operators import HostOperators
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout, channels_last
from kiwicha.compiler.ops.limits import (
    ACTIVATION,
    CODES,
    CONSTANT,
    ELEMENTS,
    FLOAT,
    ONE_SCALE,
    ZERO_TYPE,
)

__all__ = ["Context", "Finish", "FloatOp", "FloatValue", "Quantized"]

_UINT8 = np.dtype(np.uint8)


@dataclass(frozen=True, eq=False)
class Quantized:
    """A constant behind DequantizeLinear: (codes - zero) * scale, all three of one shape.

    Members
    -------
    codes, zero : of the type that is quantized to.
    scale : float32.
    """

    codes: NDArray[Any]
    scale: NDArray[np.float32]
    zero: NDArray[Any]

    @property
    def real(self) -> NDArray[np.float32]:
        """What DequantizeLinear makes of it."""
        centred = self.codes.astype(np.int64) - self.zero.astype(np.int64)
        with np.errstate(over="ignore", invalid="ignore"):  # scales that are refused later
            return centred.astype(np.float32) * self.scale


@dataclass(frozen=True)
class FloatOp:
    """An operation between DequantizeLinear (or a graph input) and QuantizeLinear.

    Members
    -------
    kind : "clip" (Relu too; monotone, elementwise), "pool", "view", "map" (elementwise, by table),
        "where" (a mask), "normalize" (of rows), "affine" (of channels), "average" (of windows),
        "linear" (a product with constant weights), "part" (of a tensor), "pad", "extreme" (of some
        axes), "sum" (along them), "pair" (of two operands) or "host" (of a graph input).
    node : the ONNX node.
    bounds : of a clip.
    view : of a view: ("reshape", shape) or ("transpose", axes).
    box : of a part, which elements.
    bias : of a linear one: the constant that an Add behind it brings.
    shape : of the result.
    reach : between which values the result is, or is taken to be; None where nobody asks.
    finish : emits the whole chain, where this operation decides how: it gets the QuantizeLinear,
        the tensor that the chain starts from, the chain, and what it ends in.
    """

    kind: Literal[
        "clip", "pool", "view", "map", "where", "normalize", "affine", "average", "linear", "part",
        "pad", "extreme", "sum", "pair", "host",
    ]
    node: onnx.NodeProto
    shape: Shape
    bounds: tuple[np.float32, np.float32] = (np.float32(-np.inf), np.float32(np.inf))
    view: tuple[Literal["reshape", "transpose"], Shape] = ("reshape", ())
    box: Box | Picked | None = None
    bias: str = ""
    finish: "Finish | None" = None
    reach: tuple[float, float] | None = None


@dataclass(frozen=True)
class FloatValue:
    """A float32 value that is a known function of a tensor or of a graph input."""

    origin: Tensor | Value
    operations: tuple[FloatOp, ...] = ()

    @property
    def shape(self) -> Shape:
        """Shape in ONNX order."""
        return self.operations[-1].shape if self.operations else self.origin.shape


@dataclass
class Context:
    """State of one legalization; `compiler.ops.legalize` walks the model and fills it.

    Members
    -------
    model, settings : the lowered model and how it has to be run.
    names : where every name that the compiler makes up comes from.
    constants : initializers and Constant outputs, dequantized ones too.
    uses : how often each value is read, graph outputs included.
    readers : the nodes that read each value.
    quantized : constants behind DequantizeLinear, views of them too.
    dynamic : graph inputs that the host quantizes by their range.
    tensors, floats : what each value of the model has become.
    """

    model: onnx.ModelProto
    settings: Settings
    names: Names
    constants: MutableMapping[str, NDArray[Any]]
    uses: Counter[str]
    readers: defaultdict[str, list[onnx.NodeProto]]
    quantized: dict[str, Quantized] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    floats: dict[str, FloatValue] = field(default_factory=dict)
    quantize: list[HostQuantize | HostRealInput] = field(default_factory=list)
    dequantize: list[
        HostDequantize | HostDynamicDequantize | HostOperators | HostReal | HostSums
    ] = field(default_factory=list)
    dynamic: list[HostDynamicQuantize] = field(default_factory=list)
    nodes: list[OperatorNode] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    free: set[str] = field(default_factory=set)
    """Input tensors whose order in memory the first reader may still choose."""
    roots: dict[str, Tensor] = field(default_factory=dict)
    """For each tensor that a table makes of another, byte by byte, that other."""
    copies: dict[str, list[str]] = field(default_factory=dict)
    """For each tensor that is copied into other orders, the copies."""
    unknown: set[str] = field(default_factory=set)
    """Values of refused nodes of which no more than type and shape is known, if that."""
    wholes: dict[str, Whole] = field(default_factory=dict)
    """By result, which operator of the model a node is a step of."""
    own: dict[str, FloatValue] = field(default_factory=dict)
    """Float values that were given a scale, so that an operator can read them as codes."""
    before: dict[str, str] = field(default_factory=dict)
    """For each tensor of such codes, the tensor of the model that the value is a function of."""
    hosted: dict[str, tuple[frozenset[str], str]] = field(default_factory=dict)
    """Values that the host computes: the tensors that each depends on, and the operator."""
    described: Mapping[str, TfliteTensor] = field(default_factory=dict)
    """Of a TFLite model, its tensors as the file has them."""
    dense: Rounding = "away"
    """How LiteRT rounds FULLY_CONNECTED."""
    images: dict[str, str] = field(default_factory=dict)
    """By a TFLite tensor's name, the tensor that has it as N C H W (`compiler.ops.tflite`)."""

    # Constants ---------------------------------------------------------------------------

    def constant(self, node: onnx.NodeProto, index: int, what: str) -> NDArray[Any]:
        """Return a constant input."""
        name = node.input[index] if index < len(node.input) else ""
        if name in self.unknown:
            raise Unknown
        CONSTANT.check(what=what, name=name, known=self.constants)
        value = self.constants[name]
        if what == "weight":
            _require_elements("its weight", value.shape)  # whose name may be made up
        return value

    def scale(self, node: onnx.NodeProto, index: int, what: str) -> NDArray[np.float32]:
        """Return a scale, flattened."""
        name, value = node.input[index], self.constant(node, index, what)
        FLOAT32.check(what=f"{what} '{name}'", dtype=value.dtype)
        check_scale(value, f"{what} '{name}'")
        return value.reshape(-1)

    def zero(
        self, node: onnx.NodeProto, index: int, what: str, dtype: np.dtype[Any] = _UINT8
    ) -> NDArray[Any]:
        """Return a zero point, flattened; 0 of type ``dtype`` where it is left out."""
        if index >= len(node.input) or not node.input[index]:
            return np.zeros(1, dtype)
        value = self.constant(node, index, what).reshape(-1)
        CODES.check(what=f"{what} '{node.input[index]}'", dtype=value.dtype)
        return value

    def quantization(
        self, node: onnx.NodeProto, index: int, what: str, dtype: np.dtype[Any] = _UINT8
    ) -> tuple[np.float32, int, np.dtype[Any]]:
        """Return scale, zero point and type of a tensor; ``index`` is its scale's, ``dtype`` the
        type where there is no zero point."""
        scale = self.scale(node, index, f"{what} scale")
        zero = self.zero(node, index + 1, f"{what} zero point", dtype)
        self.one_scale(f"{what} '{node.input[index]}'", scale, zero)
        return np.float32(scale[0]), int(zero[0]), zero.dtype

    @staticmethod
    def one_scale(what: str, scale: NDArray[Any], zero: NDArray[Any]) -> None:
        """Refuse more than one scale or zero point."""
        ONE_SCALE.check(what=what, scales=scale.size, zeros=zero.size)

    # Tensors -----------------------------------------------------------------------------

    def tensor(self, name: str) -> Tensor:
        """Return the tensor that a value of the model has become."""
        if name in self.tensors:
            return self.tensors[name]
        if name in self.unknown:
            raise Unknown
        FLOAT.check(name=name, floats=self.floats)
        ACTIVATION.check(name=name, constants=self.constants)
        raise Unknown

    def operand(self, node: onnx.NodeProto, index: int = 0) -> Tensor:
        """Return a tensor input with the scale and zero point in the two inputs after it."""
        tensor = self.tensor(node.input[index])
        scale, zero, dtype = self.quantization(node, index + 1, "input", tensor.dtype)
        ZERO_TYPE.check(name=tensor.name, dtype=tensor.dtype, zero=dtype)
        return replace(tensor, scale=scale, zero_point=zero)

    def settle(self, tensor: Tensor, layout: Layout) -> Tensor:
        """Return ``tensor`` with ``layout``: chosen where still free, else a copy if need be."""
        tensor = replace(tensor, layout=self.tensors[tensor.name].layout)
        if tensor.name in self.free:
            self.free.remove(tensor.name)
            self.tensors[tensor.name] = replace(self.tensors[tensor.name], layout=layout)
            for place, edge in enumerate(self.quantize):
                if edge.tensor.name == tensor.name:
                    self.quantize[place] = replace(edge, tensor=self.tensors[tensor.name])
        elif not tensor.layout.same(layout, tensor.shape):
            return self._copied(tensor, layout)
        return replace(tensor, layout=layout)

    def _copied(self, tensor: Tensor, layout: Layout) -> Tensor:
        """Return ``tensor`` from a copy in another order, which all that want it so share."""
        source = self.tensors[tensor.name]
        made = [
            y for name in self.copies.get(tensor.name, ())
            if (y := self.tensors[name]).layout.same(layout, tensor.shape)
        ]
        if not made:
            name = self.names.fresh(tensor.name, "order")
            y = replace(source, name=name, shape=tensor.shape, layout=layout)
            info = np.iinfo(y.dtype)
            piece = Piece(
                source, Box.whole(y.shape), Box.whole(y.shape), np.float32(1), np.float64(1),
                int(info.min), int(info.max),
            )
            self.emit(MoveNode(name, "Transpose", (piece,), y))
            self.copies.setdefault(tensor.name, []).append(name)
            self.notes.append(Note(
                name, f"'{tensor.name}' is copied into another order: its readers want its bytes "
                "in different ones",
            ))
            made = [y]
        return replace(tensor, name=made[0].name, layout=layout)

    def settled(self, tensor: Tensor) -> Tensor:
        """Return ``tensor`` with whatever layout it has; images go channels last."""
        if tensor.name not in self.free:
            return replace(tensor, layout=self.tensors[tensor.name].layout)
        rank = len(tensor.shape)
        return self.settle(tensor, channels_last(4) if rank == 4 else ROW_MAJOR)

    def emit(self, node: OperatorNode) -> None:
        """Append a node; its output becomes readable."""
        _require_elements(f"output '{node.y.name}'", node.y.shape)
        self.nodes.append(node)
        self.tensors[node.y.name] = node.y

    def note(self, node: onnx.NodeProto, text: str) -> None:
        """Add a line to the report."""
        self.notes.append(Note(node_name(node), text))


Finish = Callable[[Context, onnx.NodeProto, Tensor, tuple[FloatOp, ...], Tensor], None]


def _require_elements(what: str, shape: Shape) -> None:
    ELEMENTS.check(what=what, axis=shape.index(0) if 0 in shape else None)
