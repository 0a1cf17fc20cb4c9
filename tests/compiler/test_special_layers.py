# SPDX-License-Identifier: Apache-2.0
"""Layers of the special function engine as programs, against the golden operators."""

from dataclasses import replace

import numpy as np
import pytest

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.layer_steps import layer_steps
from kiwicha.compiler.emit.rows import cut_rows
from kiwicha.compiler.graph.graph import AddNode, NormalizeNode, SoftmaxNode, TableNode, Tensor
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout
from kiwicha.errors import KiwichaError
from kiwicha.machine.isa import Engine, LoadTarget, Opcode
from kiwicha.machine.modes import SoftmaxMode

from .random_nodes import (
    CONFIGS,
    codes,
    random_add,
    random_mul,
    random_normalize,
    random_product,
    random_softmax,
    random_table,
    random_tables,
    renamed,
    run_node,
    run_nodes,
    tensor,
)

MAKERS = {
    "table": random_table, "softmax": random_softmax, "normalize": random_normalize,
    "add": random_add, "mul": random_mul, "tables": random_tables,
}


def refused(node, config, match):
    addresses = {tensor.name: 0 for tensor in (*node.inputs, node.y)}
    with pytest.raises(KiwichaError, match=match):
        layer_steps(node, addresses, ProgramBuilder(config), lambda _: 0)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kind", MAKERS)
def test_random(kind, config):
    for seed in range(15):
        rng = np.random.default_rng([seed, len(config)])
        run_node(MAKERS[kind](rng), CONFIGS[config], rng)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", range(5))
def test_one_after_the_other(seed, config):
    """More tables than fit, memories in the middle of use."""
    rng = np.random.default_rng([seed, len(config)])
    makers = [*MAKERS.values(), random_product]
    nodes = []
    for index in range(8):
        node = makers[int(rng.integers(len(makers)))](rng)
        names = {name: f"{name}{index}" for name in "xzy" if name in vars(node)}
        nodes.append(renamed(node, **names))
    run_nodes(nodes, CONFIGS[config], rng)


@pytest.mark.parametrize("mode", SoftmaxMode)
def test_softmax_modes(mode):
    rng = np.random.default_rng(3)
    for config in CONFIGS.values():
        run_node(random_softmax(rng), config.replace(special={"softmax": mode}), rng)


def rows_of(shape, dtype="uint8", zero=7, name="x", layout=ROW_MAJOR, scale=0.05):
    return Tensor(name, shape, np.dtype(dtype), np.float32(scale), zero, layout)


def softmax_of(shape, zero=0, layout=ROW_MAJOR):
    y = rows_of(shape, zero=zero, name="y", layout=layout, scale=1 / 256)
    return SoftmaxNode("s", "QLinearSoftmax", rows_of(shape, layout=layout), y)


@pytest.mark.parametrize("shape", [(1, 250), (3, 1000), (2, 17), (300, 3), (5, 1, 2)])
def test_rows_of_all_lengths(shape):
    """Longer than half of a lane's memory; shorter than a beat; fewer than there are lanes."""
    rng = np.random.default_rng(5)
    for config in CONFIGS.values():
        if shape[-1] + config.beat_bytes <= config.special.bytes:
            run_node(softmax_of(shape), config, rng)
        else:
            refused(softmax_of(shape), config, r"^s \(QLinearSoftmax\): a row of .*special.bytes")


def test_a_normalization_takes_as_many_tables_as_it_needs():
    rng = np.random.default_rng(6)
    x, y = (rows_of((4, 300), name=name) for name in "xy")
    ones = np.ones(300, np.float32)
    node = NormalizeNode("n", "LayerNormalization", x, y, ones, ones, 1e-5)
    builder = run_node(node, CONFIGS["wide"], rng)
    (table,) = (
        i for i in builder.instructions
        if i.engine == Engine.LOAD and i.fields["target"] == LoadTarget.TABLE
    )
    # Room for two tables of 256 entries, of which LOAD fills what a row needs.
    lengths = (table.fields["length"], table.fields["pitch"], table.fields["segments"])
    assert lengths == (300 * 4, 2 * 256 * 4, 2)
    small = CONFIGS["wide"].replace(special={"entries": 256})
    refused(node, small, r"^n \(Layer.*\): a row of 300 .*; special.entries is 256; 512 would do$")


def add_of(x_shape, z_shape, constant=None, layout=ROW_MAJOR, z_layout=None, z_first=False):
    shapes = (x_shape, np.broadcast_shapes(x_shape, z_shape))
    x, y = (rows_of(shape, name=name, layout=layout, scale=s) for name, s, shape in zip(
        "xy", (0.05, 0.0777), shapes, strict=True))
    z = rows_of(z_shape, name="z", layout=layout if z_layout is None else z_layout, scale=0.03)
    return AddNode("a", "QLinearAdd", x, z, y, 0, 255, constant, z_first)


@pytest.mark.parametrize("kind", ["tensor", "constant"])
@pytest.mark.parametrize(
    ("x_shape", "z_shape"),
    [
        ((9, 32), (32,)),  # a vector to every row, whole beats
        ((9, 31), (31,)),  # and not
        ((2, 3, 16, 16), (1, 1, 16, 16)),  # a mask to every head
        ((2, 3, 16, 16), (2, 1, 1, 16)),  # hidden keys of every sample
        ((70, 40), (70, 40)),
        ((1, 1), (1, 1)),
        ((40, 300), (300,)),  # a row that no lane holds twice
        ((4, 20, 30), (4, 1, 30)),  # and others for the next matrix
        ((40, 24), (40, 1)),  # a byte to every row
        ((3, 700), (3, 1)),  # to a long one
        ((70, 200), (70, 1)),
        ((5, 6, 7), (1,)),  # to all
        ((3, 5, 1), (3, 1, 9)),  # a row to every byte
        ((5, 1), (1, 300)),
    ],
)
def test_repeated_operands(x_shape, z_shape, kind):
    rng = np.random.default_rng(7)
    constant = codes(rng, z_shape, np.uint8) if kind == "constant" else None
    for config in CONFIGS.values():
        for first in (False, True):
            node = add_of(x_shape, z_shape, constant, z_first=first)
            run_node(node, config, rng, anywhere=first)


def test_what_is_added_again_stays_on_chip():
    rng = np.random.default_rng(8)
    builder = run_node(add_of((4096, 16), (16,)), CONFIGS["default"], rng, anywhere=False)
    steps = [i for i in builder.instructions if i.opcode == Opcode.SPECIAL]
    assert len(steps) > 20
    assert {i.fields["z"] for i in steps} == {0}
    tables, repeated = 2 * 256 * 4, 8 * 16
    assert sum(i.bytes_read for i in builder.instructions) == 4096 * 16 + tables + repeated


@pytest.mark.parametrize("config", CONFIGS)
def test_one_operand_of_two_layers(config):
    """Shared out over the lanes in two different ways."""
    node = softmax_of((6, 16))
    y = replace(node.y, name="t")
    table = TableNode("t", "Gelu", node.x, y, np.arange(256, dtype=np.uint8))
    for nodes in ([node, table], [table, node]):
        run_nodes(nodes, CONFIGS[config], np.random.default_rng(9))


def test_sum_with_itself():
    rng = np.random.default_rng(9)
    x = rows_of((37, 11))
    y = rows_of((37, 11), name="y", scale=0.1)
    run_node(AddNode("a", "QLinearAdd", x, x, y, 0, 200), CONFIGS["tiny"], rng)


def test_no_lanes():
    rng = np.random.default_rng(0)
    config = CONFIGS["tiny"].replace(special={"lanes": 0})
    for kind, make in MAKERS.items():
        node = make(rng)
        match = rf"^{node.name} .*: {kind} is done by SPECIAL; special.lanes is 0; 4 would do$"
        refused(node, config, match)


def test_rows_in_pieces():
    node = softmax_of((4, 6), layout=Layout((("transpose", (1, 0)),)))
    refused(node, CONFIGS["tiny"], "rows of 'x' do not lie in one piece")


def test_repeated_in_no_order_of_axes():
    turned = Layout((("transpose", (1, 0)),))
    for layout in (turned, Layout((("reshape", (3, 4)), ("transpose", (1, 0))))):
        node = add_of((2, 6), (2, 6), z_layout=layout)
        refused(node, CONFIGS["tiny"], r"^a .*'z' is not repeated along whole axes")


def test_scales_out_of_range_are_named():
    node = softmax_of((4, 6), zero=3)
    tflite = CONFIGS["tiny"].replace(special={"softmax": "tflite"})
    refused(node, tflite, r"^s \(.*\): zero point is 3; .* mode tflite: 0")


@pytest.mark.parametrize("scale", [1e-37, 1e-20, 1e-9, 1e9, 1e37])
def test_sums_have_no_scales_out_of_range(scale):
    rng = np.random.default_rng(1)
    for z_scale in (1.0, 0.06, scale):
        for dtype in ("int8", "uint8"):
            x = tensor(rng, "x", (40, 50), ROW_MAJOR, dtype, 1.0)
            z = tensor(rng, "z", (40, 50), ROW_MAJOR, dtype, z_scale)
            y = tensor(rng, "y", (40, 50), ROW_MAJOR, dtype, scale)
            info = np.iinfo(dtype)
            node = AddNode("a", "QLinearAdd", x, z, y, int(info.min), int(info.max))
            run_node(node, CONFIGS["default"], rng)


@pytest.mark.parametrize("length", [1, 3, 8, 17, 64, 200])
@pytest.mark.parametrize("total", [1, 7, 64, 1000])
@pytest.mark.parametrize("quantum", [0, 5, 64])
def test_cuts(length, total, quantum):
    for config in CONFIGS.values():
        cut = cut_rows(config, total, length, quantum=quantum)
        assert 1 <= cut.together <= cut.rows * config.special.lanes
        assert cut.stride + config.beat_bytes - 1 <= config.special.bytes
        assert cut.stride % config.beat_bytes == 0 or cut.together <= cut.rows
    assert cut_rows(CONFIGS["micro"], 4, 250) is None


def test_a_lane_has_whole_matrices_ready():
    cut = cut_rows(CONFIGS["default"], 8 * 64, 64, aligned=True, quantum=64)
    assert cut.together % 64 == 0
