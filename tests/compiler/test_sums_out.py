# SPDX-License-Identifier: Apache-2.0
"""Sums that a layer computes on its way out: which, the same bits, and fewer cycles."""

import numpy as np
import pytest

import kiwicha
from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate
from kiwicha.machine.encoding import walk_program
from kiwicha.machine.isa import LoadTarget, Opcode
from kiwicha.machine.presets import preset
from kiwicha.models.quantize import DEFAULT, Form

from .any_order import EAGER_LOAD, LAZY_STORE, run_in_order_of
from .quantized_net import quantized_net as model

WITH = preset("small").replace(
    name="sums", special={"lanes": 2, "bytes": 4096}, functions={"tables": 2},
    residual={"tables": 2},
)
WITHOUT = WITH.replace(name="plain", residual={"tables": 0})


def block(net, x):
    """Both orders of the operands, an odd number of channels, bounds by Relu and without."""
    x = net.conv(x, 7)
    x = net.act("Relu", net.op("Add", net.conv(net.conv(x, 7), 7, act=None), x))
    x = net.op("Add", x, net.conv(net.conv(x, 7), 7, act=None))
    return net.conv(x, 4, act=None)


def projection(net, x):
    """Two convolutions are added up; the next layers have the sum at a stride, and pooled."""
    x = net.conv(x, 8)
    main = net.conv(net.conv(x, 12, stride=2), 12, act=None)
    x = net.act("Relu", net.op("Add", main, net.conv(x, 12, 1, 2, act=None)))
    return net.linear(net.op("Flatten", net.op("GlobalAveragePool", x)), 5)


def bottleneck(net, x):
    """More channels than columns, functions before and after a sum."""
    x = net.conv(x, 20, act=None)
    x = net.op("Add", net.conv(net.conv(x, 5, 1), 20, 1, act="LeakyRelu"), x)
    x = net.act("HardSwish", net.op("Add", net.conv(net.conv(x, 5, 1), 20, 1, act=None), x))
    return net.conv(x, 6, 1, act=None)


def wide(net, x):
    """Pixels of more channels than are collected at once, no multiple of a beat."""
    x = net.conv(x, 150, 1)
    return net.op("Add", net.conv(x, 150, 1, act=None), x)


def products(net, x):
    """Rows of a matrix, through a reshape, and a constant."""
    x = net.linear(net.op("Flatten", net.conv(x, 4, stride=3, act=None)), 24)
    y = net.op("Add", net.linear(net.act("Relu", net.linear(x, 16)), 24), x)
    return net.linear(net.op("Add", net.linear(y, 24), net.weight(24, inputs=1)), 7)


def read_twice(net, x):
    """The convolution's own result is needed as well."""
    x = net.conv(x, 6)
    y = net.conv(x, 6, act=None)
    return net.op("Add", net.op("Add", y, x), net.op("Sigmoid", y))


def an_output(net, x):
    x = net.conv(x, 6)
    y = net.conv(x, 6, act=None)
    return [y, net.op("Add", y, x)]


def twice_itself(net, x):
    y = net.conv(x, 6, act=None)
    return net.conv(net.op("Add", y, y), 3)


def too_late(net, x):
    """The other operand needs SPECIAL, after the convolution."""
    y = net.conv(x, 6, act=None)
    return net.op("Add", y, net.op("Softmax", net.conv(x, 6), axis=1))


def broadcast(net, x):
    """A value a channel is added to all positions."""
    x = net.conv(x, 6)
    return net.op("Add", net.conv(x, 6, act=None), net.op("GlobalAveragePool", x))


def compiled(build, machine, **more):
    made = kiwicha.compile_model(model(build), machine, **more)
    return made, sum(
        fields["target"] == LoadTarget.SUMS
        for _, opcode, fields in walk_program(made.words) if opcode == Opcode.LOAD
    )


@pytest.mark.parametrize("build,count", [
    (block, 2), (projection, 1), (bottleneck, 2), (products, 2), (read_twice, 0), (an_output, 0),
    (twice_itself, 0), (broadcast, 0),
])
def test_which_are_absorbed(build, count):
    with_sums, loads = compiled(build, WITH)
    without, none = compiled(build, WITHOUT)
    assert none == 0
    assert loads == count
    joined = [layer for layer in with_sums.layers if "Add" in layer.op and " + " in layer.name]
    assert len(joined) == count
    assert (with_sums.cycles < without.cycles) == (count > 0)


FORMS = [DEFAULT, Form(activations="s8"), Form(format="qoperator")]


@pytest.mark.parametrize("build,form", [
    *((build, form) for build in (block, bottleneck, products) for form in FORMS),
    (projection, DEFAULT), (read_twice, DEFAULT), (an_output, FORMS[1]), (broadcast, FORMS[2]),
])
def test_bits_are_the_same(build, form):
    given = model(build, form=form)
    outcomes = [kiwicha.run_golden(given, None, machine, samples=3) for machine in (WITH, WITHOUT)]
    for outcome in outcomes:
        assert outcome.exact, outcome.verdict
    for name, value in outcomes[0].outputs.items():
        np.testing.assert_array_equal(value, outcomes[1].outputs[name])


@pytest.mark.parametrize("more", [
    {"output_bytes": 512}, {"accumulator_depth": 16}, {"activation_bytes": 1024},
    {"columns": 5, "rows": 3, "requantize_lanes": 3}, {"axi_data_width": 256, "columns": 16},
], ids=lambda more: next(iter(more)))
@pytest.mark.parametrize("build", [block, bottleneck])
def test_any_tiling(build, more):
    """Parts of rows, of channels, of both: what is loaded lies where it is read."""
    machine = WITH.replace(name="small-sums", **more)
    outcome = kiwicha.run_golden(model(build, (3, 13, 11)), None, machine, samples=2)
    assert outcome.exact, outcome.verdict


@pytest.mark.parametrize("columns", [8, 5])
def test_pixels_in_parts(columns):
    machine = WITH.replace(
        name="parts", columns=columns, output_bytes=1024, parameter_channels=512,
    )
    made = kiwicha.compile_model(model(wide), machine)
    runs = [
        fields for _, opcode, fields in walk_program(made.words)
        if opcode == Opcode.LOAD and fields["target"] == LoadTarget.ADDEND
    ]
    assert max(fields["segments"] for fields in runs) > 1
    outcome = kiwicha.run_golden(model(wide), None, machine, samples=1)
    assert outcome.exact, outcome.verdict


@pytest.mark.parametrize("build", [block, projection, bottleneck, wide])
@pytest.mark.parametrize("more", [{}, {"output_bytes": 512, "accumulator_depth": 64}], ids=str)
def test_tokens_order_all_that_matters(build, more):
    """Operands and tables are neither read before they are there nor overwritten too soon."""
    graph = legalize(lower(model(build), 2))
    made = compile_graph(graph, WITH.replace(name="orders", **more))
    image = made.load(evaluate(graph, random_inputs(graph.inputs, 2)))
    machine = Machine(made.config, image, made.read_window, made.write_window)
    orders = [run_in_order_of(order, machine, made.words) for order in (EAGER_LOAD, LAZY_STORE)]
    machine.run(made.words)
    assert all((memory == machine.memory).all() for memory in orders)


def test_where_operands_leave_no_room():
    """Runs are farther apart than those of results alone; where these fit, the sum is by itself."""
    tight = WITH.replace(name="tight", output_bytes=512, parameter_channels=512)
    made = kiwicha.compile_model(model(wide), tight)
    assert not any(" + " in layer.name for layer in made.layers)


def test_a_machine_without_special_does():
    alone = WITH.replace(name="alone", special={"lanes": 0})
    assert kiwicha.run_golden(model(block), None, alone).exact
    with pytest.raises(kiwicha.UnfitMachine, match=r"special\.lanes"):
        kiwicha.compile_model(model(an_output), alone)


def test_a_layer_that_is_counted_writes_its_own_results():
    counting = WITH.replace(name="counting", statistics={"elements": 4096})
    made = kiwicha.compile_model(model(block), counting, statistics=["conv2"])
    names = [layer.name for layer in made.layers]
    assert "conv2" in names
    assert sum(" + " in name for name in names) == 1


def test_report_names_both():
    layers = kiwicha.compile_model(model(block, form=FORMS[2]), WITH).layers
    assert [layer.op for layer in layers].count("QLinearConv + QLinearAdd") == 2
