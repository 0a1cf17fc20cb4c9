# SPDX-License-Identifier: Apache-2.0
"""Maxima that a convolution computes on its way out: which, the same bits, and fewer cycles."""

import numpy as np
import onnx
import pytest

import kiwicha
from kiwicha.compiler.emit import pools
from kiwicha.compiler.emit.pools import _ascends, _greatest
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import PoolNode, TableNode
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.machine.encoding import walk_program, window
from kiwicha.machine.isa import Opcode
from kiwicha.machine.presets import preset
from kiwicha.models.quantize import DEFAULT, Form

from .quantized_net import quantized_net
from .test_emit import MICRO

WITH = preset("small").replace(
    name="pools", special={"lanes": 2, "bytes": 4096}, functions={"tables": 2},
    pooling={"window": 5},
)
WITHOUT = WITH.replace(name="plain", pooling={"window": 0})
SMALLEST = MICRO.replace(name="micro-pools", pooling={"window": 3}, accumulator_depth=64)
DEEP = WITH.replace(name="deep", accumulator_depth=4096, output_bytes=32768)
S8, QOPERATOR = Form(activations="s8"), Form(format="qoperator")


def model(build, shape=(3, 11, 10), form: Form = DEFAULT) -> onnx.ModelProto:
    return quantized_net(build, shape, form)


def pooled(kernel, stride, pad=0, **attributes):
    """A convolution, a pooling, and a convolution that reads it."""
    def build(net, x):
        x = net.conv(x, 7, act="Relu")
        return net.conv(net.pool("MaxPool", x, kernel, stride, pad, **attributes), 5)
    return build


def strided(net, x):
    x = net.conv(x, 9, 5, 2)
    return net.conv(net.pool("MaxPool", x, 3, 2, 1), 5, 1)


def grouped(net, x):
    x = net.conv(net.conv(x, 12, 1), 12, groups=4)
    x = net.conv(net.pool("MaxPool", x, 2, 2), 12, groups=12)
    return net.linear(net.op("Flatten", net.pool("MaxPool", x, 2, 2)), 4)


def pointwise(net, x):
    return net.conv(net.pool("MaxPool", net.conv(x, 6, 1), 2, 2), 4, 1)


def in_one_axis(net, x):
    x = net.conv(x, 6)
    x = net.op("MaxPool", x, kernel_shape=[1, 3], strides=[1, 2], pads=[0, 1, 0, 1])
    return net.conv(x, 4)


def whole_image(net, x):
    x = net.pool("MaxPool", net.conv(x, 6, stride=3), 4, 4)
    return net.linear(net.op("Flatten", x), 4)


def behind_a_function(net, x):
    x = net.conv(x, 6, act="LeakyRelu")
    return net.conv(net.pool("MaxPool", x, 2, 2), 4)


def before_a_function(net, x):
    x = net.pool("MaxPool", net.conv(x, 6, act=None), 2, 2)
    return net.conv(net.act("Tanh", x), 4)


def read_twice(net, x):
    x = net.conv(x, 6)
    return net.op("Add", net.pool("MaxPool", x, 2, 2), net.conv(x, 6, 2, 2, pad=0))


def an_output(net, x):
    x = net.conv(x, 6)
    return [x, net.conv(net.pool("MaxPool", x, 2, 2), 4)]


def behind_no_monotone_function(net, x):
    x = net.conv(x, 6, act="HardSwish")
    return net.conv(net.pool("MaxPool", x, 2, 2), 4)


def dilated(net, x):
    x = net.pool("MaxPool", net.conv(x, 6), 2, 2, dilations=[2, 2])
    return net.conv(x, 4)


def too_large(net, x):
    return net.linear(net.op("Flatten", net.op("GlobalMaxPool", net.conv(x, 6))), 4)


def averaged(net, x):
    return net.conv(net.pool("AveragePool", net.conv(x, 6), 2, 2), 4)


FUSED = {
    "2x2": (pooled(2, 2), 1), "3x3-2": (pooled(3, 2), 1), "3x3-2-padded": (pooled(3, 2, 1), 1),
    "2x2-1": (pooled(2, 1), 1), "2x2-3": (pooled(2, 3), 1), "5x5-5": (pooled(5, 5, 2), 1),
    "3x3-2-ceil": (pooled(3, 2, 0, ceil_mode=1), 1), "3x3-1-padded": (pooled(3, 1, 1), 1),
    "2x2-2-ceil-padded": (pooled(2, 2, 1, ceil_mode=1), 1),
    "strided": (strided, 1), "grouped": (grouped, 2), "pointwise": (pointwise, 1),
    "one-axis": (in_one_axis, 1), "image": (whole_image, 1), "leaky": (behind_a_function, 1),
    "tanh": (before_a_function, 1),
}
APART = [
    read_twice, an_output, behind_no_monotone_function, dilated, too_large, averaged,
]


def layers_with_pools(made):
    return sum("Conv" in layer.op and "MaxPool" in layer.op for layer in made.layers)


def windows_of(made):
    return [
        window(fields) for _, opcode, fields in walk_program(made.words)
        if opcode == Opcode.VECTOR and fields["scales"]
    ]


FORMS = {"u8": DEFAULT, "s8": S8, "qoperator": QOPERATOR}


@pytest.fixture
def always(monkeypatch):
    """Let every pooling be taken that can be, whatever it costs."""
    monkeypatch.setattr(pools, "_is_worth", lambda *_: True)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(("name", "form"), [
    (name, form) for name in FUSED for form in FORMS
    # Of QOperator's codes the runtime computes no such function alike.
    if form != "qoperator" or name not in ("leaky", "tanh")
])
def test_bits_are_the_same(name, form):
    build, count = FUSED[name]
    given = model(build, form=FORMS[form])
    for machine in (WITH, DEEP):
        made = kiwicha.compile_model(given, machine)
        assert layers_with_pools(made) == count
        assert windows_of(made)
        for samples in (1, 3):
            outcome = kiwicha.run_golden(given, None, machine, samples=samples)
            assert outcome.exact, outcome.verdict
    assert not windows_of(kiwicha.compile_model(given, WITHOUT))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("name", ["2x2", "3x3-2", "3x3-2-padded", "3x3-2-ceil", "2x2-3"])
def test_pieces_of_the_smallest_memories(name):
    """Tiles of some columns, single lines, and channels one piece after the other."""
    given = model(FUSED[name][0], (5, 19, 23))
    for machine in (SMALLEST, SMALLEST.replace(activation_bytes=1024)):
        assert windows_of(kiwicha.compile_model(given, machine))
        outcome = kiwicha.run_golden(given, None, machine, samples=2)
        assert outcome.exact, outcome.verdict


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("build", APART)
def test_what_others_see_is_written(build):
    given = model(build)
    made = kiwicha.compile_model(given, WITH)
    assert layers_with_pools(made) == 0
    assert not windows_of(made)
    assert kiwicha.run_golden(given, None, WITH).exact


@pytest.mark.parametrize("shape", [(3, 32, 32), (8, 16, 16), (1, 28, 28)])
def test_a_pooling_costs_nothing(shape):
    given = model(pooled(2, 2), shape)
    together, apart = (kiwicha.compile_model(given, machine) for machine in (WITH, WITHOUT))
    assert layers_with_pools(together) == 1
    spared = apart.layers[1].cycles
    assert apart.layers[1].op == "MaxPool"
    assert together.cycles < apart.cycles - 0.8 * spared
    first, second = together.layers[0], apart.layers[0]
    assert first.bytes_written < second.bytes_written / 3
    assert first.bytes_read <= second.bytes_read


def test_overlaps_that_cost_more_than_the_pass_are_not_taken():
    """Few accumulators, many taps: what windows share is computed twice."""
    def build(net, x):
        return net.conv(net.pool("MaxPool", net.conv(x, 64, 7, 2), 3, 2, 1), 4, 1)

    many, few = (model(build, (channels, 80, 80)) for channels in (32, 3))
    shallow, deep = (
        preset("default").replace(name="d", accumulator_depth=n, interleave={"rows": ()})
        for n in (128, 2048)
    )
    cycles, taken = [], []
    for given, machine in ((many, shallow), (few, deep)):
        for size in (0, 3):
            made = kiwicha.compile_model(given, machine.replace(pooling={"window": size}))
            cycles.append(made.cycles)
            taken.append(layers_with_pools(made))
    assert taken == [0, 0, 0, 1]
    assert cycles[0] == cycles[1]
    assert cycles[3] < cycles[2]


def test_statistics_need_what_is_counted():
    counting = WITH.replace(name="counting", statistics={"elements": 1024})
    for layer in ("conv0", "maxpool0"):
        run = kiwicha.compile_model(model(pooled(2, 2)), counting, statistics=[layer])
        assert layers_with_pools(run) == 0


def test_sums_that_may_wrap_are_requantized_first():
    """A maximum does not commute with a sum that wraps."""
    graph = legalize(lower(model(pooled(2, 2))))
    node = graph.nodes[0]
    most = _greatest(node)
    reach = np.abs(node.weights.astype(int) - node.weight_zero[:, None, None, None])
    x = max(int(np.iinfo(node.x.dtype).max) - node.x.zero_point, node.x.zero_point)
    assert most == max(
        int(reach[k].sum()) * x + abs(int(node.bias[k])) for k in range(len(node.bias))
    )
    assert most < 1 << 31


def test_tables_that_ascend():
    graph = legalize(lower(model(behind_a_function)))
    (table,) = (node for node in graph.nodes if isinstance(node, TableNode))
    (pool,) = (node for node in graph.nodes if isinstance(node, PoolNode))
    assert _ascends(table, pool)
    other = legalize(lower(model(behind_no_monotone_function)))
    (table,) = (node for node in other.nodes if isinstance(node, TableNode))
    assert not _ascends(table, pool)


def test_report_names_both():
    layer = kiwicha.compile_model(model(behind_a_function), WITH).layers[0]
    assert layer.op == "QLinearConv + QLinearLeakyRelu + MaxPool"
    layer = kiwicha.compile_model(model(before_a_function), WITH).layers[0]
    assert layer.op == "QLinearConv + MaxPool + Tanh"
