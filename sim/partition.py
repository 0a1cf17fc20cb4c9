# SPDX-License-Identifier: Apache-2.0
"""Which nodes of a model run on the host, because the machine has no form of them.

What the compiler refuses goes to the host, node by node, until it takes what is left of every
stage; a stage in which nothing is left for the machine goes there whole.
"""

from dataclasses import dataclass, field

import onnx
from onnx import TensorProto

from kiwicha.compiler.emit.compile import CompiledModel, compile_graph
from kiwicha.compiler.frontend.cut import Flow, Stage, reads
from kiwicha.compiler.frontend.lower import LoweredModel, lower, runtime_settings, with_batch
from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.compiler.frontend.session import Settings
from kiwicha.compiler.graph.graph import Graph, ViewNode
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError, UnfitMachine, UnsupportedModel
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.follow import BASE, compile_following
from kiwicha.sim.prepare import Listener, quiet

__all__ = ["MachineStage", "Plan", "partition"]

_TYPES = {TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32}
"""Of values that a program may read or pass on; int32 are sums."""
_RESULTS = _TYPES | {TensorProto.BOOL, TensorProto.INT64}


@dataclass(frozen=True, eq=False)
class MachineStage:
    """A stage that is a program."""

    stage: Stage
    lowered: LoweredModel
    graph: Graph
    compiled: CompiledModel


@dataclass(frozen=True, eq=False)
class Plan:
    """A model in stages.

    Members
    -------
    source : the model as given, its batch bound; ``settings`` are those of its sessions.
    stages : in order; those of the host as they are.
    config : of the machine, one for all programs.
    reasons : why a node is on the host, by its name.
    varying : names of what is no constant.
    sizes : bytes of each value, as far as they are known.
    """

    source: onnx.ModelProto
    settings: Settings
    stages: tuple[Stage | MachineStage, ...]
    config: AcceleratorConfig
    reasons: dict[str, str]
    varying: set[str]
    sizes: dict[str, int]

    @property
    def programs(self) -> tuple[MachineStage, ...]:
        """The stages of the machine."""
        return tuple(stage for stage in self.stages if isinstance(stage, MachineStage))


@dataclass
class _Host:
    """The nodes that are on the host, by name, and why."""

    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        return set(self.reasons)

    def take(self, node: onnx.NodeProto, reason: str) -> None:
        self.reasons.setdefault(node.name, reason)


def partition(
    model: onnx.ModelProto, config: AcceleratorConfig | None, batch: int | None = None,
    listener: Listener = quiet,
) -> Plan:
    """Cut a model into programs and parts for the host.

    Parameters
    ----------
    config : None for one that has what the programs need; see `sim.follow`.
    batch : as of `compiler.frontend.lower.lower`.

    Raises
    ------
    KiwichaError
        For a model that is not quantized or that ONNX Runtime refuses, and for a given machine that
        has not what a program needs.
    """
    source = _uniquely_named(with_batch(model, batch))
    settings = runtime_settings(source)
    flow, host = Flow(source, settings), _Host()
    for node in flow.nodes:
        read = {flow.type_of(name) for name in reads(node) & flow.varying}
        made = {flow.type_of(name) for name in node.output if name in flow.varying}
        if not read <= _TYPES or not made <= _RESULTS:
            host.take(node, "reads or makes what the machine has no tensors of, by type or shape")
    while True:
        listener("looking for what the machine can run", 0, 0)
        stages, grown = flow.stages(host.names), len(host.reasons)
        legal = {id(stage): _legal(stage, flow, host) for stage in stages if not stage.on_host}
        if len(host.reasons) > grown:
            continue
        programs = [found for found in legal.values() if found is not None]

        def compile_all(
            machine: AcceleratorConfig, programs: list[_Legal] = programs
        ) -> list[CompiledModel]:
            return [_compile(program, machine, host, listener) for program in programs]

        try:
            compiled = compile_all(config) if config else compile_following(compile_all)
        except _Moved:
            continue
        break
    rest = iter(compiled)
    parts = [
        stage if (found := legal.get(id(stage))) is None
        else MachineStage(stage, found.lowered, found.graph, next(rest))
        for stage in stages
    ]
    machine = compiled[0].config if compiled else config or BASE
    return Plan(
        source, settings, tuple(parts), machine, host.reasons, flow.varying, flow.sizes()
    )


class _Moved(Exception):
    """A stage went to the host."""


@dataclass(frozen=True, eq=False)
class _Legal:
    stage: Stage
    lowered: LoweredModel
    graph: Graph


def _legal(stage: Stage, flow: Flow, host: _Host) -> _Legal | None:
    """Return what the compiler makes of a stage; None where some or all of it went to the host."""
    before = len(host.reasons)
    try:
        lowered = lower(stage.model)
        graph = legalize(lowered)
    except UnsupportedModel as error:
        for name, _, reason in error.refusals:
            for node in _named(name, stage):
                for other in flow.responsible(node):
                    host.take(other, reason)
        reason = str(error.refusals[0][2])
    except KiwichaError as error:
        reason = str(error)
    else:
        if any(not isinstance(node, ViewNode) for node in graph.nodes):
            return _Legal(stage, lowered, graph)
        reason = "nothing is left for the machine around it"
    if len(host.reasons) == before:
        for node in stage.nodes:
            host.take(node, reason)
    return None


def _named(text: str, stage: Stage) -> list[onnx.NodeProto]:
    """Return the nodes that a refusal names: one, several with " + " between, or an output's."""
    nodes = stage.model.graph.node
    by_name = {node.name: node for node in nodes}
    makers = {name: node for node in nodes for name in node.output}
    found = [by_name[name] for name in (text, *text.split(" + ")) if name in by_name]
    if not found and text in makers:
        maker = makers[text]
        if maker.op_type == "DequantizeLinear" and maker.input[0] in makers:
            maker = makers[maker.input[0]]
        found = [maker]
    return found


def _compile(
    program: _Legal, machine: AcceleratorConfig, host: _Host, listener: Listener
) -> CompiledModel:
    try:
        return compile_graph(
            program.graph, machine, lambda _, done, total: listener("compiling", done, total)
        )
    except UnfitMachine as error:
        if error.needs:
            raise
        reason = str(error)
    except KiwichaError as error:
        reason = str(error)
    for node in program.stage.nodes:
        host.take(node, reason)
    raise _Moved


def _uniquely_named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with a name for every node, a number behind those that several have."""
    seen: set[str] = set()
    for node in model.graph.node:
        name, count = node_name(node), 1
        while name in seen:
            count += 1
            name = f"{node_name(node)}/{count}"
        node.name = name
        seen.add(name)
    return model
