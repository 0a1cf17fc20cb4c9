# SPDX-License-Identifier: Apache-2.0
"""Averages of whole images as products of ones: the same bits, and only where they are faster."""

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.compiler.schedule import average
from kiwicha.machine.encoding import walk_program
from kiwicha.machine.isa import LoadTarget, Opcode, WeightFormat
from kiwicha.machine.presets import preset

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_average_pool import S8, U8, draw, pooled
from .test_emit import MICRO
from .test_moves import runs

MACHINES = {
    "micro": MICRO.replace(name="micro-t", transposer=True),
    "tiny": preset("tiny").replace(name="tiny-t", transposer=True),
    "small-full": preset("small-full"), "default": preset("default"),
}


def by_product(graph, config):
    """Return whether activations are loaded as weights, line by line."""
    loads = [
        fields for _, opcode, fields in walk_program(compile_graph(graph, config).words)
        if opcode == Opcode.LOAD and fields["target"] == LoadTarget.WEIGHT
    ]
    return WeightFormat.ROWS in [fields["format"] for fields in loads]


@pytest.mark.parametrize("config", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("shape", [
    [1, 64, 25, 5], [1, 5, 7, 3], [3, 9, 4, 4], [1, 33, 1, 1], [1, 1, 40, 40], [2, 70, 50],
])
def test_bits_are_the_same(shape, config, monkeypatch):
    graph = agree(pooled("QOperator", shape, draw(np.random.RandomState(3)), "GlobalAveragePool"))
    runs(graph, config)
    costs = iter(range(2))  # the product, whatever it costs
    monkeypatch.setattr(average, "work_cycles", lambda *_: 1 - next(costs))
    assert by_product(graph, config)
    costs = iter(range(2))
    runs(graph, config)


@pytest.mark.parametrize("zeros", [(U8(0), U8(255)), (U8(255), U8(0)), (S8(-128), S8(127))])
@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
def test_windows_as_large_as_the_image(form, zeros):
    made = pooled(
        form, [1, 16, 9, 8], ((0.1, zeros[0]), (0.07, zeros[1])), kernel_shape=[9, 8],
    )
    graph = agree(made)
    assert by_product(graph, preset("default"))
    runs(graph, "default")


def test_a_part_of_a_larger_tensor_is_read_where_it_lies():
    constants = scales(x=(0.05, U8(9)), y=(0.03, U8(3)))
    constants |= {name: np.array([value]) for name, value in {"b": 8, "e": 24, "a": 1}.items()}
    nodes = [
        q("in", "xq", "x"), dq("xq", "xf", "x"), node("Slice", ["xf", "b", "e", "a"], ["p"]),
        q("p", "pq", "x"), dq("pq", "pf", "x"), node("GlobalAveragePool", ["pf"], ["m"]),
        q("m", "mq", "y"), dq("mq", "y", "y"),
    ]
    graph = agree(model(nodes, constants, {"in": [1, 40, 6, 6]}))
    for config in MACHINES.values():
        runs(graph, config)


def test_the_faster_way_is_taken():
    wide = [1, 32, 8, 8]
    quantized = (0.1, S8(-3)), (0.05, S8(4))
    graph = legalize(lower(pooled("QOperator", wide, quantized, "GlobalAveragePool")))
    with_it = preset("default")
    without = with_it.replace(name="without", transposer=False)
    assert by_product(graph, with_it)
    assert not by_product(graph, without)
    cycles = [compile_graph(graph, config).timeline.total for config in (with_it, without)]
    assert cycles[0] * 1.2 < cycles[1]
    # Many images fill a pass of the identity as well, and need no weights of their own.
    many = legalize(lower(pooled("QOperator", [64, 16, 4, 4], quantized, "GlobalAveragePool")))
    assert not by_product(many, with_it)


def test_maxima_and_windows_with_padding_are_no_products():
    config = preset("default")
    quantized = (0.1, S8(-3)), (0.1, S8(-3))
    padded = pooled("QOperator", [1, 64, 6, 6], quantized, kernel_shape=[7, 7], pads=[1, 1, 0, 0])
    constants = scales(x=(0.05, U8(9)))
    nodes = [q("in", "xq", "x"), dq("xq", "xf", "x"), node("GlobalMaxPool", ["xf"], ["m"]),
             q("m", "mq", "x"), dq("mq", "y", "x")]
    for made in (padded, model(nodes, constants, {"in": [1, 64, 6, 6]})):
        graph = legalize(lower(made))
        assert not by_product(graph, config)
        runs(graph, config)
