# SPDX-License-Identifier: Apache-2.0
"""Cuts a model into stages that run one after the other, by turns on the machine and on the host.

Nodes that depend on constants only, and DequantizeLinear, belong to whoever reads them: what goes
from one stage to another are codes where the model has codes, and floats where it has none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from kiwicha.compiler.frontend.session import Settings, open_session
from kiwicha.errors import ModelError

__all__ = ["Flow", "Stage", "reads"]


@dataclass(frozen=True, eq=False)
class Stage:
    """A part of a model that runs at once.

    Members
    -------
    on_host : by ONNX Runtime, else as a program of the machine.
    model : the part, its inputs and outputs those of the model or of other stages.
    nodes : what is in it for its own sake, in the model's order.
    """

    on_host: bool
    model: onnx.ModelProto
    nodes: tuple[onnx.NodeProto, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what it reads."""
        return tuple(value.name for value in self.model.graph.input)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it makes."""
        return tuple(value.name for value in self.model.graph.output)


def reads(node: onnx.NodeProto) -> set[str]:
    """Return the values that a node reads, those that only its subgraphs do included."""
    found = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            inner = {value.name for value in (*graph.input, *graph.initializer)}
            for part in graph.node:
                found |= reads(part) - inner
                inner.update(part.output)
            found |= {value.name for value in graph.output} - inner
    return found


class Flow:
    """What a model computes from what.

    Parameters
    ----------
    model : fixed shapes, every node a name of its own; results of Shape and Size are constants
        here.
    settings : under which ONNX Runtime infers types and shapes.

    Raises
    ------
    ModelError
        When ONNX Runtime refuses the model.
    """

    def __init__(self, model: onnx.ModelProto, settings: Settings) -> None:
        self._values = _values(model, settings)
        self._model = _with_known_shapes(model, self._values)
        graph = self._model.graph
        self.nodes = list(graph.node)
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self.outputs = [value.name for value in graph.output]
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        varying = {value.name for value in graph.input} - set(self._initializers)
        self.varying = varying  # names of what depends on an input
        self.constant: set[str] = set()  # names of nodes
        for node in self.nodes:
            if varying.isdisjoint(reads(node)) and (node.input or node.op_type == "Constant"):
                self.constant.add(node.name)
            else:
                varying.update(node.output)

    def type_of(self, name: str) -> int:
        """Return a value's element type (`TensorProto`), 0 where it or the shape is not known."""
        kind, shape = self._values.get(name, (0, None))
        return 0 if shape is None else kind

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each value of fixed shape, constants included."""
        known = {
            name: (kind, shape) for name, (kind, shape) in self._values.items()
            if kind and shape is not None
        } | {name: (t.data_type, tuple(t.dims)) for name, t in self._initializers.items()}
        return {
            name: prod(shape) * helper.tensor_dtype_to_np_dtype(kind).itemsize
            for name, (kind, shape) in known.items()
        }

    def responsible(self, node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        """Yield ``node``, or where it depends on constants only, the first nodes behind it that
        do not."""
        if node.name not in self.constant:
            yield node
            return
        for other in self.nodes:
            if reads(other).intersection(node.output):
                yield from self.responsible(other)

    def stages(self, host: set[str]) -> list[Stage]:
        """Return the stages, nodes whose names are in ``host`` in those of the host: as early as
        what they read allows, the machine first."""
        turns: dict[str, int] = {}
        placed: dict[int, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            if node.name in self.constant:
                continue
            turn = max([turns.get(name, 0) for name in reads(node)], default=0)
            if not self._follows(node, host):
                turn += turn % 2 != (node.name in host)
                placed.setdefault(turn, []).append(node)
            elif set(node.output).intersection(self.outputs):
                placed.setdefault(turn, []).append(node)
            turns |= {name: turn for name in node.output if name}
        fixed = [self.makers[name] for name in self.outputs
                 if name in self.makers and self.makers[name].name in self.constant]
        if fixed:
            placed.setdefault(max(placed, default=0), []).extend(fixed)
        parts = {turn: self._closure(nodes, host) for turn, nodes in sorted(placed.items())}
        return [self._stage(turn, placed[turn], parts) for turn in parts]

    def _follows(self, node: onnx.NodeProto, host: set[str]) -> bool:
        """Whether a node belongs to whoever reads it."""
        return node.name in self.constant or (
            node.op_type == "DequantizeLinear" and node.name not in host
        )

    def _closure(self, nodes: Sequence[onnx.NodeProto], host: set[str]) -> list[onnx.NodeProto]:
        """Return the nodes and those that follow them, in the model's order."""
        found, waiting = {node.name for node in nodes}, list(nodes)
        while waiting:
            for name in reads(waiting.pop()):
                maker = self.makers.get(name)
                if maker is None or maker.name in found or not self._follows(maker, host):
                    continue
                found.add(maker.name)
                waiting.append(maker)
        return [node for node in self.nodes if node.name in found]

    def _stage(
        self, turn: int, own: Sequence[onnx.NodeProto],
        parts: Mapping[int, list[onnx.NodeProto]],
    ) -> Stage:
        def missing(nodes: Iterable[onnx.NodeProto]) -> list[str]:
            made = {name for node in nodes for name in node.output} | set(self._initializers)
            read = dict.fromkeys(name for node in nodes for name in sorted(reads(node)))
            return [name for name in read if name not in made]

        nodes = parts[turn]
        wanted = {name for other in parts if other != turn for name in missing(parts[other])}
        wanted.update(self.outputs)
        outputs = [name for node in own for name in node.output if name in wanted]
        used = {name for node in nodes for name in reads(node)}
        graph = helper.make_graph(
            nodes, f"{self._model.graph.name}/{turn}", [self._info(n) for n in missing(nodes)],
            [self._info(name) for name in outputs],
            [tensor for name, tensor in self._initializers.items() if name in used],
        )
        made = helper.make_model(
            graph, ir_version=self._model.ir_version, opset_imports=self._model.opset_import
        )
        mine = {node.name for node in own}
        return Stage(bool(turn % 2), made, tuple(n for n in self.nodes if n.name in mine))

    def _info(self, name: str) -> onnx.ValueInfoProto:
        kind, shape = self._values.get(name, (0, None))
        if not kind:
            raise ModelError(f"'{name}' is no tensor, and cannot go from one stage to another")
        return helper.make_tensor_value_info(name, kind, shape)


_Values = dict[str, tuple[int, tuple[int, ...] | None]]


def _values(model: onnx.ModelProto, settings: Settings) -> _Values:
    """Return type and, where it is fixed, shape of every value, as ONNX Runtime infers them."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    outputs = {value.name for value in shown.graph.output}
    shown.graph.output.extend(
        helper.make_empty_tensor_value_info(name)
        for node in shown.graph.node for name in node.output if name and name not in outputs
    )
    session = open_session(shown, settings)
    scalars = _scalars(shown)
    return {
        value.name: (
            _element_type(value.type),
            tuple(value.shape) if all(isinstance(d, int) for d in value.shape)
            and (value.shape or value.name in scalars) else None,
        )
        for value in (*session.get_inputs(), *session.get_outputs())
    }


def _scalars(model: onnx.ModelProto) -> set[str]:
    """Return the values that are known to have no dimension; ONNX Runtime shows one of unknown rank
    in the same way."""
    try:
        graph = shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # of no common base
        graph = model.graph
    return {
        value.name for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape") and not value.type.tensor_type.shape.dim
    }


def _element_type(text: str) -> int:
    """Return the type that ONNX Runtime writes as ``tensor(uint8)``; 0 for what is no tensor."""
    inner = text.removeprefix("tensor(").removesuffix(")")
    known = dict(onnx.TensorProto.DataType.items())
    return known.get(inner.upper(), 0) if text.startswith("tensor(") else 0


def _with_known_shapes(model: onnx.ModelProto, values: _Values) -> onnx.ModelProto:
    """Return the model with the results of Shape and Size as constants."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for node in list(made.graph.node):
        shape = values.get(node.input[0], (0, None))[1] if node.input else None
        if node.op_type not in ("Shape", "Size") or shape is None:
            continue
        given = {a.name: a.i for a in node.attribute}
        part = shape[given.get("start", 0): given.get("end", len(shape))]
        value = np.array(part if node.op_type == "Shape" else np.prod(shape), np.int64)
        if node.output[0] in {output.name for output in made.graph.output}:
            continue
        made.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        made.graph.node.remove(node)
    return made
