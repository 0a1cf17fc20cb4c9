# SPDX-License-Identifier: Apache-2.0
"""What ONNX Runtime computes: for the model as it was given, and for each node by itself."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from kiwicha.compiler.frontend.lower import LoweredModel
from kiwicha.compiler.frontend.session import open_session, runtime_message
from kiwicha.compiler.frontend.subgraph import subgraph
from kiwicha.compiler.frontend.tflite.model import TfliteModel
from kiwicha.compiler.graph.graph import Graph, Node, Tensor, ViewNode
from kiwicha.errors import ModelError
from kiwicha.sim.host import products_saturate
from kiwicha.sim.litert import run_file, runtime_version

__all__ = [
    "Reference", "RuntimeInfo", "chain_of", "elements_that_differ", "named_view", "node_reference",
    "reference", "runtime_info", "runtime_tensors",
]

_FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm",
)


@dataclass(frozen=True)
class RuntimeInfo:
    """Who computed the reference: runtime, its version and session settings, processor and its
    dot-product features; and from which form of the model."""

    runtime: str
    version: str
    machine: str
    processor: str
    features: tuple[str, ...]
    model: str = "as given"
    settings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a report."""
        return {**vars(self), "features": list(self.features), "settings": list(self.settings)}


@dataclass(frozen=True, eq=False)
class Reference:
    """Members
    -------
    outputs : graph outputs by name.
    info : who computed them.
    """

    outputs: dict[str, NDArray[Any]]
    info: RuntimeInfo


def reference(lowered: LoweredModel, inputs: Mapping[str, NDArray[Any]]) -> Reference:
    """Run the model as it was given, as ONNX Runtime runs it by default.

    Where its products of uint8 and int8 saturate on this processor, its results are not those of
    the model; there the lowered model is run, whose weights are uint8.

    Raises
    ------
    ModelError
        When ONNX Runtime refuses the model or the inputs.
    """
    if isinstance(lowered, TfliteModel):
        info = runtime_info("as given, its reference kernels", (), "ai-edge-litert")
        return Reference(run_file(lowered, inputs), info)
    if products_saturate():
        which = "its weights as uint8, for products saturate on this processor"
        session = open_session(lowered.model, lowered.settings)
    else:
        which = "as given"
        session = open_session(lowered.source, lowered.settings, optimized=True)
    names = [value.name for value in lowered.source.graph.output]
    values = _run(session, names, inputs, "the model")
    settings = tuple(f"{key}={value}" for key, value in lowered.settings)
    return Reference(dict(zip(names, values, strict=True)), runtime_info(which, settings))


def elements_that_differ(
    produced: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]
) -> int:
    """Return how many elements differ from what is expected; NaN is equal to NaN."""
    return sum(
        int(np.count_nonzero(~np.isclose(produced[name], value, 0, 0, equal_nan=True)))
        for name, value in expected.items()
    )


def runtime_tensors(
    lowered: LoweredModel, inputs: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Return every int8 and uint8 value of the lowered model by name, in ONNX order.

    ONNX Runtime computes them from ``inputs``, optimizations off: those of the whole model would
    fuse what is to be seen.

    Raises
    ------
    ModelError
        When ONNX Runtime refuses the model or the inputs.
    """
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    graph = model.graph
    given = [value.name for value in graph.output]
    inner = [name for node in graph.node for name in node.output if name and name not in given]
    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inner)
    session = open_session(model, lowered.settings)
    values = _run(session, [*given, *inner], inputs, "the model")
    named = dict(zip([*given, *inner], values, strict=True))
    named |= {name: np.asarray(value) for name, value in inputs.items()}
    return {k: v for k, v in named.items() if v.dtype in (np.int8, np.uint8)}


def _run(
    session: onnxruntime.InferenceSession,
    names: Sequence[str],
    inputs: Mapping[str, NDArray[Any]],
    what: str,
) -> list[NDArray[Any]]:
    try:
        values: list[NDArray[Any]] = session.run(list(names), dict(inputs))
    except Exception as error:  # its exception classes share no public base
        raise ModelError(f"ONNX Runtime cannot run {what}: {runtime_message(error)}") from None
    return values


def node_reference(
    lowered: LoweredModel,
    graph: Graph,
    node: Node,
    tensors: Mapping[str, NDArray[Any]],
    *,
    written: bool = False,
) -> NDArray[Any] | None:
    """Return what ONNX Runtime's own operators make of the inputs that a node really has.

    Unlike `reference` this judges a node whose predecessors are not exact to the runtime. It knows
    nothing of our rules: the operators are those that ONNX Runtime made of the model. Where a node
    is one of several that one float chain has become, its inputs are those of the chain; None where
    the model has no value of the name of the result inside it, and of ``written`` where nothing in
    it is float.

    Parameters
    ----------
    graph : what `compiler.ops.legalize` made of ``lowered``, with ``node`` in it.
    tensors : values in ONNX order, by name.
    written : use the model as it was given, each operator by itself: in float where it is in float
        there.

    Raises
    ------
    ModelError
        When ONNX Runtime refuses the part.
    """
    model = lowered.model if products_saturate() else lowered.runtime
    model = lowered.source if written else model
    known = {name for part in model.graph.node for name in part.output}
    known |= {value.name for value in model.graph.input}
    _, operands = chain_of(graph, node, model)
    if not {*(tensor.name for tensor in operands), node.y.name} <= known:
        return None
    sources = {tensor.name: (tensor.dtype, len(tensor.shape)) for tensor in operands}
    try:
        part = subgraph(model, sources, node.y.name)
    except KeyError as error:
        if written:  # ONNX Runtime may have moved operators past each other
            return None
        raise ModelError(f"'{node.name}' also depends on {error}") from None
    if written and not any(n.op_type == "DequantizeLinear" for n in part.graph.node):
        return None
    session = open_session(part, lowered.settings)
    given = {tensor.name: tensors[tensor.name] for tensor in operands}
    try:
        return np.asarray(_run(session, [node.y.name], given, "a part")[0])
    except ModelError:
        if written:  # its float operator may refuse what the integer one takes
            return None
        raise


def chain_of(
    graph: Graph, node: Node, model: onnx.ModelProto
) -> tuple[list[Node], list[Tensor]]:
    """Return ``node`` and those before it whose results ``model`` has no name for, and what these
    read: the part of a graph that one of the model's float chains has become."""
    known = {name for part in model.graph.node for name in part.output}
    makers = {tensor.name: maker for maker in graph.nodes for tensor in maker.results}
    nodes, operands = [node], dict[str, Tensor]()
    for part in nodes:
        for tensor in part.inputs:
            if tensor.name in known or tensor.name not in makers:
                operands[tensor.name] = tensor
            elif makers[tensor.name] not in nodes:
                nodes.append(makers[tensor.name])
    return nodes, list(operands.values())


def named_view(graph: Graph, node: Node, model: onnx.ModelProto) -> Node:
    """Return the view of a node's result that ``model`` has a name for, where it has none for the
    result itself; else the node."""
    known = {name for part in model.graph.node for name in part.output}
    seen = [node]
    for part in seen:
        if part.y.name in known:
            return part
        seen += [
            view for view in graph.nodes
            if isinstance(view, ViewNode) and view.x.name == part.y.name
        ]
    return node


def runtime_info(
    model: str = "as given", settings: tuple[str, ...] = (), runtime: str = "onnxruntime"
) -> RuntimeInfo:
    """Describe the runtime, what it ran under which settings, and the processor it runs on."""
    onnx_runtime = runtime == "onnxruntime"
    processor, flags = platform.processor(), set[str]()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                processor = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
    except OSError:
        pass
    return RuntimeInfo(
        runtime, onnxruntime.__version__ if onnx_runtime else runtime_version(),
        platform.machine(), processor or "unknown",
        tuple(feature for feature in _FEATURES if feature in flags), model, settings,
    )
