# SPDX-License-Identifier: Apache-2.0
"""Layers that are counted or quantized by blocks because the user named them, on the real machine.

The machines are those of the hand-written programs: they are built anyway.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import CompiledModel, compile_graph
from kiwicha.compiler.frontend.inputs import input_batch, random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import Graph
from kiwicha.compiler.ops.blocks import with_blocks
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.models.variants import build
from kiwicha.sim.statistics import layer_statistics

from ..compiler.test_dynamic import branched, mlp, quantized
from ..compiler.test_dynamic_conv import lenet
from ..compiler.test_integer_sums import CASES, integers
from ..compiler.test_mixed import mixed, network
from . import test_dynamic, test_random_blocks, test_statistics
from .board import Job, board
from .networks import Prepared, check, to_job

NETWORKS = ("conv_batch", "conv_grouped", "matmul_3d", "conv_odd_channels", "flatten")
RANDOM = (2**32 - 5, 77)


@dataclass(frozen=True, eq=False)
class _Case:
    """A network with its last layer in blocks, as a job."""

    prepared: Prepared
    compiled: CompiledModel
    golden: np.ndarray
    job: Job


def case(
    graph: Graph, config: AcceleratorConfig, random: tuple[int, int] = (0, 0), counted: str = "all"
) -> _Case:
    """Return the job, with layers counted if the machine counts."""
    graph = with_blocks(graph, [graph.nodes[-1].name], config)
    asked = [counted] if config.statistics.elements else []
    compiled = compile_graph(graph, config, statistics=asked)
    given = random_inputs(graph.inputs, 1)
    tensors = evaluate(graph, given, config.requantize_mode, random=random)
    image = compiled.load(tensors)
    windows = compiled.read_window, compiled.write_window
    golden = image.copy()
    Machine(config, golden, *windows, seed=random[0], step=random[1]).run(compiled.words)
    job = Job(
        image=image, program=compiled.program, read_window=windows[0], write_window=windows[1],
        random=random,
    )
    return _Case(Prepared(graph, tensors), compiled, golden, job)


def run(cases: list[_Case], config: AcceleratorConfig) -> None:
    """Run all, with a good memory and with a stalling one, and compare all of memory."""
    stalls = (0, 100)
    results = iter(board(config).run([each.job.but(stall=s) for s in stalls for each in cases]))
    for stall in stalls:
        for each in cases:
            done, name = next(results), each.prepared.graph.nodes[-1].name
            check(each.prepared, each.compiled, each.golden, done, f"{name}, stall {stall}")
            if not stall:
                assert done.cycles == pytest.approx(each.compiled.timeline.total, 0.1)
            tensors = each.prepared.tensors
            for tensor in each.prepared.graph.tensors.values():
                found = each.compiled.read(done.memory, tensor)
                np.testing.assert_array_equal(found, tensors[tensor.name])
            reports = layer_statistics(each.compiled, done.memory, tensors)
            assert not any(report.mismatches for report in reports)
            assert len(reports) == len(each.compiled.statistics)


@pytest.mark.parametrize("machine", ["several ways, counted", "random"])
def test_networks(machine: str) -> None:
    counted = machine != "random"
    config = (test_statistics if counted else test_random_blocks).CONFIG
    random = (0, 0) if counted else RANDOM
    graphs = []
    # The random machine shifts, so that only layers in blocks can have any scale.
    for name in NETWORKS if counted else NETWORKS[:-1]:
        model, _ = build(name)
        graphs.append(legalize(lower(model, input_batch(model, {}))))
    cases = [case(graph, config, random) for graph in graphs]
    if counted:
        *_, odd, flat = graphs
        cases += [case(odd, config, counted="conv1[34]"), case(flat, config, counted="conv1[2]")]
        assert any(len(t.records) > 1 for c in cases for t in c.compiled.statistics.values())
    run(cases, config)


def test_dynamic_layer(tmp_path) -> None:
    rng = np.random.default_rng(3)
    nodes, constants = mlp(rng, (13, 21, 11), relu=False)
    graph = legalize(lower(quantized(tmp_path, nodes, constants, [None, 13]), 7))
    config = test_dynamic.CONFIG
    run([case(graph, config)], config)
    # Convolutions, poolings of their codes, static and dynamic layers, more scales than slots, and
    # integer sums: without blocks.
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    graph = legalize(lower(quantized(tmp_path, *lenet(rng, pool))))
    nodes, constants, shape = network(rng)
    both = mixed(tmp_path, nodes, constants, shape, ["c2"])
    nodes, constants, names = branched(rng, 7)
    many = quantized(tmp_path, nodes, constants, [3, 5], names)
    jobs, made = [], []
    sums = [
        integers(operator, image, weights, np.uint8, **given)
        for operator, image, weights, given in CASES.values()
    ]
    for each in (graph, *(legalize(lower(model)) for model in (both, many, *sums))):
        prepared = Prepared(each, evaluate(each, random_inputs(each.inputs, 1)))
        compiled, job, golden = to_job(prepared, config)
        jobs += [job, job.but(stall=100)]
        made += [(prepared, compiled, golden)] * 2
    for done, (prepared, compiled, golden) in zip(board(config).run(jobs), made, strict=True):
        check(prepared, compiled, golden, done, "convolutions")
