# SPDX-License-Identifier: Apache-2.0
"""The list of nodes in the way, and what is taken for granted behind each of them.

A refused node's results keep type and shape, so that the nodes behind it are checked as well: an
integer result is a tensor like any other; a float one is known no further than to the next
QuantizeLinear. A node that only suffers from another one is not listed.
"""

from functools import cached_property

import numpy as np
import onnx

from kiwicha.compiler.frontend.lower import LoweredModel
from kiwicha.compiler.frontend.onnx_node import Unknown, node_name
from kiwicha.compiler.graph.graph import Shape, Tensor
from kiwicha.compiler.ops.context import Context, FloatValue
from kiwicha.compiler.ops.dynamic_layers import DynamicLayers
from kiwicha.compiler.ops.provenance import Provenance, value_shapes
from kiwicha.compiler.ops.registry import is_elementwise, reason_of
from kiwicha.compiler.ops.tflite import assumed

__all__ = ["Refused"]

_UINT8 = np.dtype(np.uint8)
_CODES: dict[str, np.dtype[np.generic]] = {
    name: np.dtype(name) for name in ("int8", "uint8", "float32")
}
"""By name in a TFLite file."""


class Refused:
    """Collects refusals.

    Members
    -------
    listed : (names, operators, reason) in the words of the model as given; see `UnsupportedModel`.
    """

    def __init__(self, lowered: LoweredModel, context: Context, layers: DynamicLayers) -> None:
        self.listed = list(lowered.refusals)
        self._lowered, self._context, self._layers = lowered, context, layers
        self._before = {name for name, _, _ in lowered.refusals}
        self._seen = set[str]()  # the user's nodes that are listed
        self._functions: dict[str, set[str]] = {}
        """For each result of a refused elementwise node, the tensors that it is a function of."""

    @cached_property
    def _origin(self) -> Provenance:
        return Provenance(self._lowered.source.graph, self._context.model.graph)

    @cached_property
    def _values(self) -> dict[str, tuple[np.dtype[np.generic] | None, Shape | None]]:
        if described := self._context.described:
            return {
                name: (_CODES.get(tensor.kind), tensor.shape) for name, tensor in described.items()
            }
        return value_shapes(self._context.model, self._context.settings)

    def covers(self, node: onnx.NodeProto) -> bool:
        """Whether a node stands for one that was refused in the model as given."""
        if not self._before:
            return False
        return any(node_name(user) in self._before for user in self._origin.held(node))

    def add(
        self, node: onnx.NodeProto, reason: str, culprit: onnx.NodeProto | None = None
    ) -> None:
        """List the user's nodes that ``node`` stands for, unless they are, and go on behind it.

        Parameters
        ----------
        culprit : what is listed in its place.
        """
        named = culprit or node
        users = self._origin.of(named)
        try:
            if self._origin.is_inside(named) and not is_elementwise(users[0].op_type):
                reason = reason_of(self._context, users[0])
            new = [user for user in users if node_name(user) not in self._seen]
            if new:
                self.listed.append((*self._origin.told(users), reason))
                self._seen.update(map(node_name, new))
        except Unknown:
            pass
        self.assume(node)

    def assume(self, node: onnx.NodeProto) -> None:
        """Give a node's results what is known of them without the node."""
        context = self._context
        inherited = self._inherited(node)
        for name in filter(None, node.output):
            if inherited:
                self._functions[name] = inherited
            dtype, shape = self._values.get(name, (None, None))
            if dtype is None or shape is None or dtype == np.float32:
                context.unknown.add(name)
            if dtype is None or shape is None:
                continue
            kind = _UINT8 if dtype == np.float32 else dtype
            tensor = Tensor(name, shape, kind, np.float32(1), 0)
            if described := context.described.get(name):
                tensor = assumed(described, tensor)
            if dtype == np.float32:
                context.floats[name] = FloatValue(tensor)
            else:
                context.tensors[name] = tensor
                context.free.add(name)
        if self._lowered.dynamic:
            self._layers.assume(node)

    def leaves_open(self, node: onnx.NodeProto) -> bool:
        """Whether a node is elementwise, and what it is depends on what a refused one would be: an
        addition or a part of a linear layer, or a function of one tensor with the refused one in
        between."""
        context = self._context
        if not is_elementwise(node.op_type):
            return False
        varying = [name for name in node.input if name and name not in context.constants]
        unknown = context.unknown.intersection(varying)
        return bool(unknown and (self._lowered.dynamic or node.op_type == "Add")) or (
            len(varying) > 1
            and any(self._root(name) in self._functions for name in varying)
            and len(self._depends(varying)) == 1
        )

    def _root(self, name: str) -> str:
        value = self._context.floats.get(name)
        name = name if value is None else value.origin.name
        return self._context.roots[name].name if name in self._context.roots else name

    def _depends(self, names: list[str]) -> set[str]:
        """Return the tensors that some values are functions of, place by place."""
        roots = map(self._root, names)
        return {name for root in roots for name in self._functions.get(root, {root})}

    def _inherited(self, node: onnx.NodeProto) -> set[str]:
        """Return what the results of an elementwise node are functions of; nothing for others."""
        if is_elementwise(node.op_type):
            varying = [n for n in node.input if n and n not in self._context.constants]
            return self._depends(varying)
        if node.op_type == "QuantizeLinear":
            return self._functions.get(self._root(node.input[0]), set())
        return set()

    def pass_on(self, node: onnx.NodeProto) -> None:
        """A float function of something unknown is unknown."""
        if self._context.unknown.intersection(node.input):
            self._context.unknown.update(n for n in node.output if n in self._context.floats)
