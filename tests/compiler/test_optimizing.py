# SPDX-License-Identifier: Apache-2.0
"""Steps of optimizers as programs: the golden machine against the step layer by layer."""

from dataclasses import replace

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.graph.optimizing import optimized
from kiwicha.compiler.graph.training import training_graph
from kiwicha.errors import KiwichaError
from kiwicha.golden.machine import Machine
from kiwicha.machine.isa import Opcode
from kiwicha.machine.presets import preset
from kiwicha.sim.training.learner import Learner
from kiwicha.sim.training.optimizer import Optimizer
from kiwicha.sim.training.plan import Data, Plan
from kiwicha.sim.training.task import NetworkTask
from kiwicha.sim.training.units import network_units

from . import test_training_branches
from .test_training import NARROW, UNEQUAL, random_inputs
from .test_training import NETWORKS as PLAIN

_BRANCHES = test_training_branches.NETWORKS
SUMS = _BRANCHES["sums"]
NETWORKS = PLAIN | {name: _BRANCHES[name] for name in ("groups",)}

CONFIGS = {
    "narrow": NARROW.replace(name="narrow-update", update={"lanes": 1}),
    "unequal": UNEQUAL.replace(name="unequal-update", update={"lanes": 4}),
    "wide": UNEQUAL.replace(name="wide-update", update={"lanes": 8}, axi_data_width=256),
    "training": preset("training").replace(name="training-update", update={"lanes": 2}),
}
NAMES = ["sgd", "momentum", "adagrad", "rmsprop", "adam"]


def learner(name: str, config, several: int = 1) -> Learner:
    network = NETWORKS[name]
    batch = 1 + len(name) % 4
    inputs = random_inputs(network, batch, len(name))
    labels = inputs["labels"].astype(np.int64)
    data = Data(inputs["images"], labels, inputs["images"], labels, network.shapes[-1][0])
    chosen = NAMES[list(NETWORKS).index(name) % len(NAMES)]
    optimizer = Optimizer(name=chosen, rates=(2.0**-4,), decay=1e-3, accumulate=several)
    task = NetworkTask(network, {each: inputs[each] for each in network.weights})
    return Learner(task, Plan(batch, 4, optimizer=optimizer), data, config.beat_bytes)


@pytest.mark.parametrize("several", [1, 2])
@pytest.mark.parametrize("machine", CONFIGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_step(machine: str, name: str, several: int) -> None:
    config = CONFIGS[machine]
    each = learner(name, config, several)
    compiled = [compile_graph(graph, config) for graph in each.graphs]
    assert len({(c.program[0], *c.addresses.items()) for c in compiled}) == 1
    batch = np.arange(each.plan.batch)
    for place in range(2):
        inputs = each.inputs(batch)
        made = each.step(place, 0, batch)
        program = compiled[made.variant]
        run = Machine(
            config, program.load(inputs), program.read_window, program.write_window,
            rate=made.rate,
        )
        run.run(program.words)
        for node in program.graph.nodes:
            for tensor in node.results if node.kind not in ("view", "keep") else ():
                if tensor.name in program.addresses:
                    found = program.read(run.memory, tensor)
                    assert np.array_equal(found, made.result.tensors[tensor.name]), node.name
        assert run.saturated == made.result.saturated


def test_a_sum_changes_nothing_but_itself() -> None:
    config = CONFIGS["narrow"]
    each = learner("linear", config, 3)
    before = each.kept
    each.step(0, 0, np.arange(each.plan.batch))
    for name, value in each.kept.items():
        assert np.array_equal(value, before[name]) == (not name.endswith(":sums")), name
    idle, last = compile_graph(each.graphs[0], config), compile_graph(each.graphs[-1], config)
    assert [int(word) & 15 for word in idle.words].count(Opcode.UPDATE) >= 2
    assert last.program[1] > idle.program[1]


def test_exponents_of_more_errors_than_there_are_slots() -> None:
    """Two errors at once, which no chain of layers has."""
    network = NETWORKS["no relu"]
    graph, units = training_graph(network, 2, 1), network_units(network)
    nodes = list(graph.nodes)
    error = next(node for node in nodes if node.name == "b:EB")
    # Another takes the slot of what b passes on, which is read after that.
    other = replace(error, name="other:EB", y=replace(error.y, name="other"))
    again = replace(error, name="again:EB", x=error.y, y=replace(error.y, name="again"))
    graph = replace(graph, nodes=(*nodes, other, again))
    formats = Optimizer(name="sgd", rates=(0.1,)).formats(units)
    with pytest.raises(KiwichaError, match="^again:EB: the exponents of more than 2 errors"):
        optimized(graph, units, formats, 2, 8)


def test_branches_are_refused() -> None:
    graph, units = training_graph(SUMS, 1, 7), network_units(SUMS)
    with pytest.raises(KiwichaError, match="FP: branches and biases learn by NITI's step alone"):
        optimized(graph, units, {}, 1, 8)
