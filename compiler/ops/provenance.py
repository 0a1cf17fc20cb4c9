# SPDX-License-Identifier: Apache-2.0
"""Which nodes of the user's model a lowered node stands for, and what its results are.

ONNX Runtime fuses nodes, inserts others and writes out operators' definitions. Messages name what
the user wrote, by the values that both models have.
"""

from collections import defaultdict
from typing import Any

import numpy as np
import onnx
from onnx import helper

from kiwicha.compiler.frontend.onnx_node import node_name, operator_name
from kiwicha.compiler.frontend.session import Settings, open_session
from kiwicha.compiler.frontend.subgraph import ancestors
from kiwicha.compiler.graph.graph import Shape
from kiwicha.compiler.ops.view import VIEWS
from kiwicha.errors import ModelError

__all__ = ["Provenance", "user_names", "value_shapes"]

_WRITTEN = ("_inlfunc_", "InsertedPrecisionFreeCast_")
"""How ONNX Runtime calls values that it made up so."""
_EDGES = ("QuantizeLinear", "DequantizeLinear")
_TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(uint8)": np.dtype(np.uint8),
}


class Provenance:
    """Finds the user's nodes.

    Parameters
    ----------
    source, lowered : the model as given, and what ONNX Runtime and our own rules made of it.
    """

    def __init__(self, source: onnx.GraphProto, lowered: onnx.GraphProto) -> None:
        self._source = source
        self._varying = _varying(source)
        self._users = {name: node for node in source.node for name in node.output if name}
        self._values = {name for node in lowered.node for name in node.output if name}
        self._values |= {value.name for value in lowered.input}
        self._readers = defaultdict[str, list[onnx.NodeProto]](list)
        for node in lowered.node:
            for name in set(node.input):
                self._readers[name].append(node)

    def of(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return the user's nodes that a lowered node stands for: those that compute nothing only
        if there are no others. The lowered node itself where none can be found."""
        held = self.held(node)
        found = held or [node]
        held = [user for user in held if self._varying.intersection(user.output)]
        for dull in ((), _EDGES, (*_EDGES, "Cast", *VIEWS)):
            found = [user for user in held if user.op_type not in dull] or found
        return found

    def held(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return all of them: those that end in a value that the user named, the node's own or one
        behind it."""
        waiting, seen = [node], set[int]()
        while waiting:
            last = waiting.pop(0)
            if id(last) in seen:
                continue
            seen.add(id(last))
            mine = [name for name in last.output if name in self._users]
            if mine:
                others = self._values - set(last.output)
                return ancestors(self._source, others, mine[0])
            waiting += [reader for name in last.output for reader in self._readers[name]]
        return []

    def is_inside(self, node: onnx.NodeProto) -> bool:
        """Whether a lowered node is a part of one whose definition ONNX Runtime wrote out, or a
        cast that it put around one."""
        mine = any(name in self._users for name in node.output)
        return not mine and all(name.startswith(_WRITTEN) for name in node.output)

    @staticmethod
    def told(nodes: list[onnx.NodeProto]) -> tuple[str, str]:
        """Return names and operators of some nodes for a message."""
        return " + ".join(map(node_name, nodes)), " + ".join(map(operator_name, nodes))


def user_names(source: onnx.GraphProto, lowered: onnx.GraphProto) -> dict[str, str]:
    """Return, for each name of a lowered node that the user did not give, the names of the nodes
    that it stands for."""
    given = {node_name(node) for node in source.node}
    made = [node for node in lowered.node if node_name(node) not in given]
    origin = Provenance(source, lowered) if made else None
    names = {}
    for node in made:
        if origin is not None and (users := origin.of(node)) != [node]:
            names[node_name(node)] = origin.told(users)[0]
    return names


def _varying(graph: onnx.GraphProto) -> set[str]:
    """Return the results that depend on more than constants and shapes."""
    constants = {tensor.name for tensor in graph.initializer}
    values = {value.name for value in graph.input} - constants
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and values.intersection(node.input):
            values.update(node.output)
    return values - {""}


def value_shapes(
    model: onnx.ModelProto, settings: Settings
) -> dict[str, tuple[np.dtype[Any] | None, Shape | None]]:
    """Return type and shape that ONNX Runtime infers of every value that a node makes; None for a
    type that the machine has no tensors of, and for a shape that only running it would tell."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    outputs = {value.name for value in shown.graph.output}
    inner = [name for node in shown.graph.node for name in node.output if name]
    shown.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in inner if name not in outputs
    )
    try:
        session = open_session(shown, settings)
    except ModelError:  # it will not show all of them; what is refused is refused
        return {}
    return {
        value.name: (
            _TYPES.get(value.type),
            tuple(value.shape) if all(isinstance(d, int) for d in value.shape) else None,
        )
        for value in session.get_outputs()
    }
