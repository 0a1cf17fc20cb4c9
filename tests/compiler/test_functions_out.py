# SPDX-License-Identifier: Apache-2.0
"""Functions that a layer computes on its way out: which, the same bits, and fewer cycles."""

import numpy as np
import pytest

import kiwicha
from kiwicha.compiler.emit.absorb import Absorbed
from kiwicha.compiler.emit.functions import functions_of
from kiwicha.machine.encoding import walk_program
from kiwicha.machine.isa import LoadTarget, Opcode
from kiwicha.machine.presets import preset
from kiwicha.models.quantize import DEFAULT, Form

from .quantized_net import quantized_net as model

WITH = preset("small").replace(
    name="functions", special={"lanes": 2, "bytes": 4096}, functions={"tables": 2},
)
WITHOUT = WITH.replace(name="plain", functions={"tables": 0})


def several(net, x):
    """More functions than tables, and one behind each kind of layer."""
    x = net.conv(x, 8, act="LeakyRelu")
    x = net.act("Tanh", net.pool("MaxPool", x, 2, 2))
    x = net.conv(net.conv(x, 8, act="SiLU"), 12, act="HardSwish")
    x = net.act("Sigmoid", net.upconv(x, 5, act=None))
    return net.act("Elu", net.linear(net.op("Flatten", x), 9))


def through_a_reshape(net, x):
    x = net.conv(x, 8, act=None)
    return net.linear(net.act("LeakyRelu", net.op("Flatten", x)), 4)


def read_twice(net, x):
    x = net.conv(x, 4, act=None)
    return net.op("Add", net.conv(net.act("LeakyRelu", x), 4), net.conv(x, 4))


def an_output(net, x):
    x = net.conv(x, 4, act=None)
    return [x, net.conv(net.act("LeakyRelu", x), 4, act=None)]


def behind_a_sum(net, x):
    x = net.conv(x, 3, act=None)
    return net.conv(net.act("LeakyRelu", net.op("Add", x, net.conv(x, 3))), 4, act=None)


def compiled(build, machine, **more):
    made = kiwicha.compile_model(model(build), machine, **more)
    return made, sum(
        fields["target"] == LoadTarget.FUNCTION
        for _, opcode, fields in walk_program(made.words) if opcode == Opcode.LOAD
    )


@pytest.mark.parametrize("build,count", [
    (several, 5), (through_a_reshape, 1), (read_twice, 0), (an_output, 0), (behind_a_sum, 0),
])
def test_which_are_absorbed(build, count):
    with_tables, loads = compiled(build, WITH)
    without, none = compiled(build, WITHOUT)
    assert none == 0
    assert (loads > 0) == (count > 0)
    assert len(without.layers) == len(with_tables.layers) + count
    joined = [layer.name for layer in with_tables.layers if " + " in layer.name]
    assert len(joined) == count
    assert (with_tables.cycles < without.cycles) == (count > 0)


FORMS = [DEFAULT, Form(activations="s8"), Form(format="qoperator")]


@pytest.mark.parametrize("build,form", [
    *((build, form) for build in (through_a_reshape, read_twice, an_output) for form in FORMS),
    *((several, form) for form in FORMS[:2]),
])
def test_bits_are_the_same(build, form):
    given = model(build, form=form)
    outcomes = [kiwicha.run_golden(given, None, machine, samples=2) for machine in (WITH, WITHOUT)]
    for outcome in outcomes:
        assert outcome.exact, outcome.verdict
    for name, value in outcomes[0].outputs.items():
        np.testing.assert_array_equal(value, outcomes[1].outputs[name])


def test_a_machine_with_tables_alone_does():
    """Nothing is left for SPECIAL, which this machine has not."""
    alone = WITH.replace(name="alone", special={"lanes": 0})
    assert kiwicha.run_golden(model(through_a_reshape), None, alone).exact
    with pytest.raises(kiwicha.UnfitMachine, match=r"special\.lanes"):
        kiwicha.compile_model(model(read_twice), alone)


def test_a_layer_that_is_counted_writes_its_own_results():
    counting = WITH.replace(name="counting", statistics={"elements": 1024})
    run = kiwicha.simulate(model(several), None, counting, statistics=["conv0"])
    assert run.exact, run.verdict
    assert run.report.layers[0].name == "conv0"
    assert sum(" + " in layer.name for layer in run.report.layers) == 4


def test_golden_and_report_name_both():
    run = kiwicha.run_golden(model(through_a_reshape), None, WITH)
    assert run.exact
    layer = kiwicha.compile_model(model(through_a_reshape), WITH).layers[0]
    assert layer.op == "QLinearConv + QLinearLeakyRelu"


def test_a_graph_without_tables_has_none():
    assert functions_of(None, WITHOUT, Absorbed()).tables == {}
