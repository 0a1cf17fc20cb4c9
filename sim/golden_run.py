# SPDX-License-Identifier: Apache-2.0
"""Runs a model on the golden machine: the bits of a simulation without hardware and simulator.

The judges are those of `sim.inference`, but that nothing is simulated: the golden operators, and
ONNX Runtime, node by node and on the outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.frontend.source import Source
from kiwicha.compiler.graph.graph import ViewNode
from kiwicha.golden.network import outputs
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.judge import judge
from kiwicha.sim.prepare import (
    NOTHING,
    Asked,
    Listener,
    Prepared,
    prepare,
    quiet,
    run_golden_machine,
)
from kiwicha.sim.reference import Reference, elements_that_differ, reference

__all__ = ["GoldenOutcome", "run_on_golden_machine", "run_prepared"]


@dataclass(frozen=True, eq=False)
class GoldenOutcome:
    """Members
    -------
    outputs : graph outputs as the golden machine computed them.
    reference : what the model's runtime makes of the model as given.
    wrong : what breaks a promise, a sentence each.
    config : of the machine that the program is for.
    layers : how many it runs; views are none.
    """

    outputs: dict[str, NDArray[Any]]
    reference: Reference
    predicted_cycles: int
    wrong: tuple[str, ...]
    config: AcceleratorConfig
    layers: int


def run_on_golden_machine(
    model: Source,
    config: AcceleratorConfig | None,
    inputs: Mapping[str, NDArray[Any]] | None = None,
    *,
    samples: int | None = None,
    seed: int = 1,
    asked: Asked = NOTHING,
    listener: Listener = quiet,
) -> GoldenOutcome:
    """Lower, compile, run and compare; parameters as of `sim.prepare.prepare`.

    Raises
    ------
    KiwichaError
        For a model or input that cannot be used.
    MachineError
        When the golden machine refuses the program, which is a fault of the compiler.
    """
    made = prepare(
        model, config, inputs, samples=samples, seed=seed, asked=asked, listener=listener
    )
    return run_prepared(made, listener)


def run_prepared(made: Prepared, listener: Listener = quiet) -> GoldenOutcome:
    """Run what is compiled already; errors as of `run_on_golden_machine`."""
    listener("golden machine", 0, 0)
    golden = run_golden_machine(made)  # first: it refuses what would end LiteRT, and us with it
    listener(f"reference: {made.runtime}", 0, 0)
    expected = reference(made.lowered, made.inputs)
    listener("comparing", 0, 0)
    found = made.read(golden.memory, golden.tensors)
    produced = outputs(made.graph, found)
    wrong = _wrong(made, golden.tensors, found, elements_that_differ(produced, expected.outputs))
    compiled = made.compiled
    return GoldenOutcome(
        produced, expected, compiled.timeline.total, tuple(wrong), compiled.config,
        sum(not isinstance(node, ViewNode) for node in made.graph.nodes),
    )


def _wrong(
    made: Prepared,
    tensors: Mapping[str, NDArray[Any]],
    found: Mapping[str, NDArray[Any]],
    differ: int,
) -> list[str]:
    """Return the sentences; ``differ`` elements of the outputs are not the runtime's."""
    wrong, whole = [], True
    for layer in made.compiled.layers:
        names = [tensor.name for node in layer.nodes for tensor in node.results]
        count = sum(int(np.count_nonzero(found[name] != tensors[name])) for name in names)
        if count:
            wrong.append(
                f"layer '{layer.name}': {count:,} bytes of the golden machine's differ from the "
                "golden operators'"
            )
        verdict = judge(made.lowered, made.graph, layer.nodes, made.compiled.config, found)
        whole = whole and verdict.promise == "runtime-exact"
        if verdict.differ:
            wrong.append(
                f"layer '{layer.name}': {verdict.differ:,} elements differ from {made.runtime}'s"
            )
    if whole and differ:
        wrong.append(f"{differ:,} elements of the outputs differ from {made.runtime}'s")
    return wrong
