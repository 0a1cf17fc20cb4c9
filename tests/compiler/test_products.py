# SPDX-License-Identifier: Apache-2.0
"""Products of two activations as programs, against the golden operator."""

import numpy as np
import pytest

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.layer_steps import layer_steps
from kiwicha.compiler.graph.graph import ProductNode, Tensor
from kiwicha.compiler.graph.layout import ROW_MAJOR, Layout
from kiwicha.errors import KiwichaError
from kiwicha.machine.isa import Engine, LoadTarget, WeightFormat

from .random_nodes import CONFIGS, random_product, renamed, run_node, run_nodes


def product_of(x, z, x_order=None, z_order=None, y_order=None, zero=5, z_zero=9):
    """x and z are shapes, orders are of their axes in memory."""

    def tensor(name, shape, order, zero):
        layout = Layout((("transpose", order),)) if order else ROW_MAJOR
        return Tensor(name, shape, np.dtype("uint8"), np.float32(0.02), zero, layout)

    y = (*np.broadcast_shapes(x[:-2], z[:-2]), x[-2], z[-1])
    return ProductNode(
        "p", "QLinearMatMul", tensor("x", x, x_order, zero), tensor("z", z, z_order, z_zero),
        tensor("y", y, y_order, 100), np.float32(2e-4), np.float64(2e-4), 0, 255,
    )


def loads(builder, target):
    return [
        i.fields for i in builder.instructions
        if i.engine == Engine.LOAD and i.fields["target"] == target
    ]


@pytest.mark.parametrize("config", CONFIGS)
def test_random(config):
    for seed in range(40):
        rng = np.random.default_rng([seed, len(config)])
        run_node(random_product(rng), CONFIGS[config], rng)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("transposed", [False, True])
def test_heads(config, transposed):
    """Heads side by side in memory, on the way in and out."""
    shape, order = ((2, 3, 9, 8), (0, 2, 1, 3))
    z, z_order = ((2, 3, 8, 9), (0, 3, 1, 2)) if transposed else ((2, 3, 8, 8), order)
    node = product_of(shape, z, order, z_order, order)
    builder = run_node(node, CONFIGS[config], np.random.default_rng(1))
    formats = {fields["format"] for fields in loads(builder, LoadTarget.WEIGHT)}
    assert formats == {WeightFormat.COLUMNS if transposed else WeightFormat.ROWS}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("z_order", [None, (1, 0)])
@pytest.mark.parametrize(
    ("rows", "depth", "columns"), [(40, 150, 37), (1, 300, 1), (70, 1, 90), (2, 2500, 7)]
)
def test_larger_than_half_of_a_memory(config, z_order, rows, depth, columns):
    """Cut along all three axes in the smallest machine."""
    node = product_of((rows, depth), (depth, columns), z_order=z_order)
    run_node(node, CONFIGS[config], np.random.default_rng(2))


def test_what_is_left_in_the_weights_does_not_count():
    """The last weight tile has rows beyond the depth, which hold what the matrix before left."""
    for zero in (0, 255):
        node = product_of((3, 4, 18), (3, 18, 16), zero=zero, z_zero=255 - zero)
        run_node(node, CONFIGS["default"], np.random.default_rng(3))


def test_an_operand_for_all_matrices_is_loaded_once():
    rng = np.random.default_rng(4)
    builder = run_node(product_of((6, 8, 16), (16, 16)), CONFIGS["default"], rng)
    assert len(loads(builder, LoadTarget.WEIGHT)) == 1
    builder = run_node(product_of((8, 16), (6, 16, 16)), CONFIGS["default"], rng)
    rows = loads(builder, LoadTarget.ACTIVATION)
    assert sum(fields["length"] for fields in rows) == 8 * 16
    assert len(loads(builder, LoadTarget.PARAMETER)) == 1


@pytest.mark.parametrize("config", CONFIGS)
def test_one_operand_of_products_of_different_sizes(config):
    """What the first one left on chip serves the second only as far as it goes."""
    for sizes in ((4, 90), (90, 4), (33, 34, 1)):
        nodes = [
            renamed(product_of((40, 16), (16, size)), z=f"z{index}", y=f"y{index}")
            for index, size in enumerate(sizes)
        ]
        run_nodes(nodes, CONFIGS[config], np.random.default_rng(6))


@pytest.mark.parametrize("config", CONFIGS)
def test_one_matrix_for_operands_of_different_sizes(config):
    nodes = [
        renamed(product_of((size, 16), (16, 90)), x=f"x{index}", y=f"y{index}")
        for index, size in enumerate((1, 60, 7))
    ]
    run_nodes(nodes, CONFIGS[config], np.random.default_rng(7))


def test_a_large_matrix_waits_for_all_that_it_overwrites():
    """Five matrices fill the weights of the smallest machine; the next one covers two of them."""
    depths = [6] * 5 + [12]
    nodes = [
        renamed(product_of((2, depth), (depth, 5)), x=f"x{index}", z=f"z{index}", y=f"y{index}")
        for index, depth in enumerate(depths)
    ]
    run_nodes(nodes, CONFIGS["micro"], np.random.default_rng(8))


def test_a_tensor_times_itself():
    x = product_of((7, 7), (7, 7)).x
    y = product_of((7, 7), (7, 7)).y
    node = ProductNode("p", "QLinearMatMul", x, x, y, np.float32(1e-4), np.float64(1e-4), 0, 255)
    run_node(node, CONFIGS["tiny"], np.random.default_rng(5))


def refused(node, config, match):
    addresses = {"x": 0, "z": 0, "y": 0}
    with pytest.raises(KiwichaError, match=match):
        layer_steps(node, addresses, ProgramBuilder(config), lambda _: 0)


def test_refusals():
    tiny = CONFIGS["tiny"]
    node = product_of((3, 4), (4, 5))
    match = r"^p \(QLinearMatMul\): .*; transposer is false; true would do$"
    refused(node, tiny.replace(transposer=False), match)
    refused(product_of((3, 4), (4, 5), x_order=(1, 0)), tiny, "rows of 'x' do not lie in one")
    stack = product_of((2, 3, 4), (2, 4, 5), z_order=(1, 2, 0))
    refused(stack, tiny, "neither axis of 'z' lies in one piece")
    refused(product_of((32768, 1), (1, 1)), tiny, "32768x1 by 1x1; the machine counts to 32767")
    refused(product_of((1, 65536), (65536, 1)), tiny, "counts to 32767 rows, and to 65535")
    mixed = Layout((("reshape", (2, 6)), ("transpose", (1, 0))))
    x = Tensor("x", (3, 4), np.dtype("uint8"), np.float32(1), 0, mixed)
    y = node.y
    refused(
        ProductNode(
            "p", "QLinearMatMul", x, node.z, y, np.float32(0.01), np.float64(0.01), 0, 255
        ), tiny,
        "'x' lies in memory in no order of its axes",
    )
    refused(
        ProductNode(
            "p", "QLinearMatMul", node.x, node.z, y, np.float32(1e-40), np.float64(1e-40), 0, 255
        ), tiny,
        r"^p \(QLinearMatMul\): .*scale",
    )
