# SPDX-License-Identifier: Apache-2.0
"""Copies of every kind on the real machine, as fast as predicted; those that are not made, too."""


from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import Box, Graph, Value
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout, channels_last
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.network import evaluate
from kiwicha.machine.presets import preset

from ..compiler.test_absorb import concatenated, part_model
from ..compiler.test_copies import copy, kinds
from ..compiler.test_resize import linear_model
from .board import board
from .networks import Prepared, check, to_job

NHWC = channels_last(4)
#: Lines of a transposition lie at any alignment to beats, rows and columns.
CONFIG = preset("tiny").replace(
    name="copies", rows=5, columns=6, transposer=True, weight_bytes=2048, accumulator_depth=128,
)
MEMORIES = [(20, 0), (70, 100)]
IMAGE = Box.whole((1, 12, 7, 6))
COPIES = {
    "to rows": copy((2, 13, 5, 7), NHWC, ROW_MAJOR),
    "to channels": copy((1, 7, 9, 11), ROW_MAJOR, NHWC),
    "matrix": copy((37, 53), ROW_MAJOR, Layout((("transpose", (1, 0)),))),
    "shuffle": copy((6, 5, 3, 4), ROW_MAJOR, Layout((("transpose", (0, 1, 3, 2)),))),
    "some channels": copy((1, 12, 7, 6), NHWC, NHWC, IMAGE.along(1, (7, 1, 1, 11, 4))),
    "twice": copy((1, 12, 7, 6), NHWC, NHWC, IMAGE.along(2, (0, 0, 1, 1, 2, 2)).along(
        3, (0, 0, 1, 1, 2, 2, 3, 3))),
    "backwards": copy((1, 12, 7, 6), NHWC, NHWC, IMAGE.along(3, range(5, -1, -1))),
    "every other": copy((1, 12, 7, 6), NHWC, NHWC, IMAGE.along(2, range(1, 7, 2)).along(
        3, range(0, 6, 2))),
    "one for all": copy((1, 9, 1, 1), NHWC, NHWC, Box.whole((1, 9, 1, 1)).along(2, (0,) * 5).along(
        3, (0,) * 4)),
}


def prepared(graph):
    given = random_inputs(graph.inputs, 1)
    return Prepared(graph, evaluate(graph, given))


def jobs():
    made = {}
    for name, node in COPIES.items():
        graph = Graph((Value("x", node.x.shape, node.x.dtype),), (), (), (node,), ())
        made[name] = prepared(graph)
    for name, model in (("part", part_model()), ("concat", concatenated()),
                        ("linear", linear_model())):
        made[name] = prepared(legalize(lower(model)))
    return {name: (each, *to_job(each, CONFIG)) for name, each in made.items()}


def test_copies():
    work = jobs()
    assert {kind for node in COPIES.values() for kind in kinds(node, CONFIG)} == {
        "transposed", "picked", "run"}
    results = iter(board(CONFIG).run([
        job.but(latency=latency, stall=stall)
        for latency, stall in MEMORIES for _, _, job, _ in work.values()
    ]))
    for latency, stall in MEMORIES:
        for name, (each, compiled, _, golden) in work.items():
            done = next(results)
            check(each, compiled, golden, done, f"{name}, latency {latency} stall {stall}")
            predicted = compiled.timeline.total
            print(f"{name}: {done.cycles} cycles, {predicted} predicted")
            if (latency, stall) == MEMORIES[0]:
                assert abs(done.cycles - predicted) < 0.05 * predicted + 60, name
