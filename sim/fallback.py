# SPDX-License-Identifier: Apache-2.0
"""Models of which a part runs on the host: programs and ONNX Runtime by turns.

Each program has the judges of any run, for the inputs that it had. The outputs are judged, too: the
stages are run by ONNX Runtime alone, as written, which must give the bits of the whole model as
written, or the cuts are wrong; and as it runs them by default, which programs and host must equal
where every layer promises its bits. How far the whole model's default run is, whose optimizations
do not see the cuts, is reported.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.batch import batched_inputs, graph_inputs
from kiwicha.compiler.frontend.inputs import check_inputs, input_batch, random_inputs
from kiwicha.compiler.frontend.session import Settings, open_session, runtime_message
from kiwicha.compiler.graph.graph import Value
from kiwicha.cost.shares import utilization
from kiwicha.errors import InputError, ModelError
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.report.host import HostNode
from kiwicha.report.report import Report
from kiwicha.sim import golden_run, inference
from kiwicha.sim.host_stage import host_nodes, run_host
from kiwicha.sim.judge import promised
from kiwicha.sim.partition import MachineStage, Plan, partition
from kiwicha.sim.prepare import NOTHING, Listener, Prepared, quiet
from kiwicha.sim.reference import elements_that_differ, reference, runtime_info

__all__ = ["FallbackRun", "check_asked", "golden_fallback", "simulated_fallback"]

Arrays = Mapping[str, NDArray[Any]]


class _Ran(Protocol):
    @property
    def outputs(self) -> dict[str, NDArray[Any]]: ...


Ran = TypeVar("Ran", bound=_Ran)


@dataclass(frozen=True, eq=False)
class FallbackRun(Generic[Ran]):
    """Members
    -------
    plan : what ran where.
    outputs, expected : graph outputs by name, and ONNX Runtime's of the whole model.
    programs : what each program's run came to.
    host : a row for each node on the host.
    whole : every layer of every program promises ONNX Runtime's bits.
    differ : elements of the outputs that are not ONNX Runtime's on the whole model.
    wrong : those that break what is said above.
    """

    plan: Plan
    outputs: dict[str, NDArray[Any]]
    expected: dict[str, NDArray[Any]]
    programs: tuple[Ran, ...]
    host: tuple[HostNode, ...]
    whole: bool
    differ: int
    wrong: int


def check_asked(blocks: Sequence[str], statistics: Sequence[str]) -> None:
    """Raise InputError for what programs with a host in between cannot be asked."""
    for option, names in (("blocks", blocks), ("statistics", statistics)):
        if names:
            raise InputError(f"{option} of '{names[0]}': not together with host_fallback")


def golden_fallback(
    model: onnx.ModelProto, config: AcceleratorConfig | None, inputs: Arrays | None = None, *,
    samples: int | None = None, seed: int = 1, listener: Listener = quiet,
) -> FallbackRun[golden_run.GoldenOutcome]:
    """Run a model on the golden machine and the host; parameters and errors as of
    `sim.golden_run.run_on_golden_machine`."""
    batch = input_batch(model, inputs) if inputs else samples
    plan = partition(model, config, batch, listener)
    return _run(
        plan, _given(model, plan, inputs, samples, seed),
        lambda made: golden_run.run_prepared(made, listener),
    )


def simulated_fallback(
    model: onnx.ModelProto, config: AcceleratorConfig | None, inputs: Arrays | None = None, *,
    board: inference.Board, samples: int | None = None, name: str = "model",
    listener: Listener = quiet,
) -> tuple[FallbackRun[inference.Outcome], Report]:
    """Run a model on the simulated machine and the host; parameters and errors as of
    `sim.inference.run_model`."""
    batch = input_batch(model, inputs) if inputs else samples
    plan = partition(model, config, batch, listener)
    if board.waves is not None and len(plan.programs) != 1:
        raise InputError(f"--waves: the model becomes {len(plan.programs)} programs, not one")
    found = _run(
        plan, _given(model, plan, inputs, samples, board.seed),
        lambda made: inference.run_prepared(made, board, name=name, listener=listener),
    )
    return found, _report(name, found)


def _given(
    model: onnx.ModelProto, plan: Plan, inputs: Arrays | None, samples: int | None, seed: int
) -> dict[str, NDArray[Any]]:
    """Return the graph inputs, checked; random ones where there are none, 0 and 1 of the types
    that are indices or conditions."""
    batched = batched_inputs(model.graph)
    values = []
    for info in graph_inputs(plan.source.graph):
        kind = info.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        shape = tuple(dim.dim_value for dim in kind.shape.dim)
        values.append(Value(info.name, shape, dtype, info.name in batched))
    if inputs is None:
        for value in values:
            if samples is not None and value.batched and value.shape[:1] != (samples,):
                raise InputError(
                    f"{samples} samples do not fit input '{value.name}' of {value.shape}"
                )
        plain = [v for v in values if v.dtype in (np.float32, np.int8, np.uint8)]
        drawn = random_inputs(plain, seed)
        generator = np.random.default_rng(seed)
        for value in values:
            if value.name not in drawn:
                drawn[value.name] = generator.integers(0, 2, value.shape).astype(value.dtype)
        inputs = drawn
    check_inputs(values, inputs)
    return dict(inputs)


def _run(
    plan: Plan, inputs: dict[str, NDArray[Any]], program: Callable[[Prepared], Ran]
) -> FallbackRun[Ran]:
    names = [value.name for value in plan.source.graph.output]
    expected, written = _whole(plan, inputs, True), _whole(plan, inputs, False)
    values, seconds, ran = dict(inputs), list[dict[str, float]](), list[Ran]()
    for stage in plan.stages:
        if isinstance(stage, MachineStage):
            given = {name: values[name] for name in stage.stage.inputs}
            check_inputs(stage.graph.inputs, given, nan=True)
            made = Prepared(stage.lowered, stage.graph, stage.compiled, given, NOTHING)
            ran.append(program(made))
            values |= ran[-1].outputs
        else:
            results, times = run_host(stage, plan, values)
            values |= results
            seconds.append(times)
    outputs = {name: values[name] for name in names}
    whole = all(
        promised(layer.nodes, plan.config) == "runtime-exact"
        for stage in plan.programs for layer in stage.compiled.layers
    )
    return FallbackRun(
        plan, outputs, expected, tuple(ran), host_nodes(plan, seconds), whole,
        elements_that_differ(outputs, expected),
        elements_that_differ(_staged(plan, inputs, False), written)
        + (elements_that_differ(outputs, _staged(plan, inputs, True)) if whole else 0),
    )


def _whole(plan: Plan, inputs: Arrays, optimized: bool) -> dict[str, NDArray[Any]]:
    """Return what ONNX Runtime makes of the whole model, by default or as it is written."""
    return _outputs(plan.source, plan.settings, inputs, optimized)


def _staged(plan: Plan, inputs: Arrays, optimized: bool) -> dict[str, NDArray[Any]]:
    """Return what ONNX Runtime makes of the stages, one after the other."""
    values = dict(inputs)
    for stage in plan.stages:
        if isinstance(stage, MachineStage) and optimized:
            given = {name: values[name] for name in stage.stage.inputs}
            values |= reference(stage.lowered, given).outputs
        else:
            part = stage.stage if isinstance(stage, MachineStage) else stage
            values |= _outputs(part.model, plan.settings, values, optimized)
    return {value.name: values[value.name] for value in plan.source.graph.output}


def _outputs(
    model: onnx.ModelProto, settings: Settings, values: Arrays, optimized: bool
) -> dict[str, NDArray[Any]]:
    names = [value.name for value in model.graph.output]
    given = {value.name: values[value.name] for value in graph_inputs(model.graph)}
    try:
        session = open_session(model, settings, optimized=optimized)
        return dict(zip(names, map(np.asarray, session.run(names, given)), strict=True))
    except Exception as error:  # its exception classes share no public base
        raise ModelError(f"ONNX Runtime cannot run the model: {runtime_message(error)}") from None


def _note(found: FallbackRun[inference.Outcome]) -> tuple[dict[str, str], ...]:
    if not found.differ:
        return ()
    text = (
        f"{found.differ:,} elements are not those of ONNX Runtime on the whole model, which "
        "optimizes across what runs apart here"
    )
    return ({"node": "outputs", "text": text},)


def _report(name: str, found: FallbackRun[inference.Outcome]) -> Report:
    """Return one report of all programs."""
    reports: Sequence[Report] = [ran.report for ran in found.programs]
    counters = Counter[str]()
    for report in reports:
        counters.update(report.counters)
    config, plan = found.plan.config, found.plan
    cycles, macs = sum(r.cycles for r in reports), sum(r.macs for r in reports)
    settings = tuple(f"{key}={value}" for key, value in plan.settings)
    return Report(
        model=name,
        config={"name": config.name, **config.to_dict()},
        simulator=reports[0].simulator if reports else "nothing simulated",
        cycles=cycles,
        predicted_cycles=sum(r.predicted_cycles for r in reports),
        macs=macs,
        utilization=utilization(macs, cycles, config) if cycles else 0.0,
        mismatches=sum(r.mismatches for r in reports),
        reference={
            **runtime_info("as given", settings).to_dict(),
            "compared": True,
            "whole": found.whole,
            "mismatches": sum(r.reference["mismatches"] for r in reports) + found.wrong,
            "outputs_differ": found.differ,
            "outputs": sum(value.size for value in found.expected.values()),
        },
        layers=tuple(layer for r in reports for layer in r.layers),
        notes=tuple(note for r in reports for note in r.notes) + _note(found),
        counters=dict(counters),
        seconds=sum(r.seconds for r in reports),
        waves=next((r.waves for r in reports if r.waves), None),
        host=found.host,
    )
