# SPDX-License-Identifier: Apache-2.0
"""Layers that the user wants quantized by blocks: golden machine, golden network, and the host."""

import numpy as np
import pytest

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.inputs import input_batch, random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.blocks import BlocksNode
from kiwicha.compiler.ops.blocks import with_blocks
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import KiwichaError
from kiwicha.golden.block_quantize import QuantizedBlocks, dequantize
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate, outputs, sums
from kiwicha.machine.modes import BlockScale
from kiwicha.machine.presets import preset
from kiwicha.models.attention import attention_block
from kiwicha.models.variants import build
from kiwicha.sim.blocks import block_noise, require_random
from kiwicha.sim.statistics import layer_statistics

from .any_order import EAGER_LOAD, LAZY_STORE, run_in_order_of
from .onnx_models import dq, model, node, q, scales
from .test_dynamic import SMALL, mlp, quantized

TINY = preset("tiny").replace(name="blocks", blocks={"channels": 8}, statistics={"elements": 256})
CONFIGS = {
    "pot": TINY,
    "free": TINY.replace(blocks={"channels": 16, "scale": "free", "rounding": "half_away"}),
    "multiway": TINY.replace(
        blocks={"scale": "multiway", "rounding": "pseudo", "ways": ((4, 0), (8, 0), (4, 2))},
    ),
    "random": TINY.replace(blocks={"rounding": "lfsr"}),
    # Blocks end with every fourth column tile; and a tile has several blocks.
    "odd": TINY.replace(rows=5, columns=6, requantize_lanes=2, blocks={"scale": "free"}),
    "wide": preset("small").replace(
        name="wide", columns=16, blocks={"channels": 8}, output_bytes=1024,
        statistics={"elements": 512},
    ),
}
SEED = (7, 2**32 - 3)


def legal(network, batch=None):
    made, _ = build(network)
    return legalize(lower(made, batch or input_batch(made, {})))


def run(graph, config, given, asked):
    """Run with layers in blocks and all counted; compare memory and tensors; return all of it."""
    blocked = with_blocks(graph, asked, config)
    compiled = compile_graph(blocked, config, statistics=["all"])
    tensors = evaluate(blocked, given, random=SEED)
    memory = compiled.load(tensors)
    windows = compiled.read_window, compiled.write_window
    machine = Machine(config, memory, *windows, seed=SEED[0], step=SEED[1])
    orders = () if config.blocks.random else (EAGER_LOAD, LAZY_STORE)
    others = [run_in_order_of(order, machine, compiled.words) for order in orders]
    machine.run(compiled.words)
    assert not machine.tokens.any()
    for other in others:
        np.testing.assert_array_equal(other, memory)
    for name, tensor in blocked.tensors.items():
        np.testing.assert_array_equal(compiled.read(memory, tensor), tensors[name], name)
    assert not any(found.mismatches for found in layer_statistics(compiled, memory, tensors))
    return blocked, tensors, outputs(blocked, tensors)


def by_definition(blocked, tensors, config):
    """The float output of a graph that ends with a layer in blocks, pixel by pixel."""
    (layer,) = (n for n in blocked.nodes if isinstance(n, BlocksNode))
    linear, size = layer.linear, config.blocks.channels
    codes = layer.y.layout.apply(tensors[layer.y.name])
    scale = tensors[layer.scales.name]
    codes = codes.reshape(len(scale), -1)
    rows = np.zeros(codes.shape)
    for row, code, entry in zip(rows, codes, scale, strict=True):
        if config.blocks.scale is BlockScale.FREE:
            found = QuantizedBlocks(code, entry.view("<u4")[:, 0].astype(np.int64), entry[:, 0])
            row[:] = dequantize(found, size, "free")
        else:
            row[:] = dequantize(QuantizedBlocks(code, entry[:, 0], entry[:, 0]), size)
    values = rows * (linear.scale64 * float(linear.y.scale))
    bounds = np.array([linear.low, linear.high]) - linear.y.zero_point
    low, high = bounds * float(linear.y.scale)
    values = np.clip(values, low, high).astype(np.float32)
    return layer.y.layout.invert(values.reshape(-1), layer.y.shape)


@pytest.mark.parametrize(("name", "config"), [
    *((name, "pot") for name in ("conv_batch", "conv_mixed", "conv_odd_channels", "conv_clip")),
    *((name, "free") for name in ("conv_depthwise", "matmul_3d", "gemm_trans_b")),
    *((name, "multiway") for name in ("conv_grouped", "flatten", "conv_1x1")),
    *((name, "random") for name in ("conv_batch", "wide_gemm", "conv_non_square")),
    *((name, "odd") for name in ("deep_conv", "conv_odd_channels", "matmul_relu")),
    *((name, "wide") for name in ("separable", "conv_1x1", "conv_batch")),
])
def test_last_layer(name, config):
    graph = legal(name)
    given = random_inputs(graph.inputs, 1)
    last = graph.nodes[-1].name
    blocked, tensors, made = run(graph, CONFIGS[config], given, [last])
    expected = by_definition(blocked, tensors, CONFIGS[config])
    np.testing.assert_array_equal(made["y"], expected)
    (report,) = block_noise(blocked, tensors, CONFIGS[config], made)
    # What the model's own scale makes of the sums is what it makes without blocks.
    plain = outputs(graph, evaluate(graph, given))["y"].astype(np.float64)
    linear = graph.nodes[-1]
    total = sums(linear, tensors[linear.x.name]).astype(np.float64)
    channel = (-1, 1, 1) if linear.kind == "conv" else (-1,)
    step, zero = float(linear.y.scale), linear.y.zero_point
    exact = total * np.reshape(linear.scale64 * step, channel)
    exact = np.clip(exact, (linear.low - zero) * step, (linear.high - zero) * step)
    for found, y in ((report.static_decibels, plain), (report.decibels, expected)):
        noise = np.square(y.reshape(exact.shape) - exact).sum()
        assert found == pytest.approx(10 * np.log10(np.square(exact).sum() / noise), abs=1e-3)
    assert report.decibels > 24
    assert report.code_bytes == total.size


def matrix_product(weights, rows):
    """The graph of a product, called so, and its float output."""
    constants = scales(x=(0.05, np.uint8(128)), w=(0.01, np.int8(0)), y=(0.5, np.uint8(128)))
    constants["w"] = weights
    names = ["x_q", "x_s", "x_z", "w", "w_s", "w_z", "y_s", "y_z"]
    product = node("QLinearMatMul", names, ["y_q"], name="product")
    shape = {"x": [rows, len(weights)]}
    made = model([q("x", "x_q", "x"), product, dq("y_q", "y", "y")], constants, shape)
    return legalize(lower(made, rows))


def test_blocks_are_worth_it():
    """Of heavy-tailed sums a scale for each block keeps more than one for all."""
    rng = np.random.default_rng(4)
    weights = (rng.standard_t(2, (16, 64)) * 20).clip(-127, 127).astype(np.int8)
    graph = matrix_product(weights, 3)
    config = CONFIGS["free"]
    blocked, tensors, produced = run(graph, config, random_inputs(graph.inputs, 1), ["product"])
    (report,) = block_noise(blocked, tensors, config, produced)
    assert report.decibels > report.static_decibels + 6


def test_compressed_weights():
    config = TINY.replace(sparse={"formats": ("csc8", "run-length")})
    weights = np.zeros((40, 30), np.int8)
    weights[::7, ::3] = 9
    graph = matrix_product(weights, 3)
    given = random_inputs(graph.inputs, 1)
    run(graph, config, given, ["product"])
    found = [
        compile_graph(each, config).layers[0].weights
        for each in (graph, with_blocks(graph, ["product"], config))
    ]
    assert found[0].compressed
    assert found[0] == found[1]


def two_outputs():
    """Two layers of one input, each an output, one of them transposed behind; and a third that is
    read by another layer."""
    rng = np.random.default_rng(2)
    constants = scales(x=(0.05, np.uint8(100)), w=(0.01, np.int8(0)), y=(0.1, np.uint8(0)))
    for name, columns in (("w0", 9), ("w1", 12), ("w2", 12)):
        constants[name] = rng.integers(-99, 99, (12, columns), np.int8)

    def product(source, weights, target, name):
        names = [source, "x_s", "x_z", weights, "w_s", "w_z", "y_s", "y_z"]
        return node("QLinearMatMul", names, [target], name=name)
    nodes = [
        q("x", "x_q", "x"), product("x_q", "w0", "a", "left"), product("x_q", "w1", "b", "right"),
        product("x_q", "w2", "m", "middle"), product("m", "w0", "c", "behind"),
        node("Transpose", ["a"], ["a_t"], perm=[0, 2, 1], name="turn"),
        dq("a_t", "ya", "y"), dq("b", "yb", "y"), dq("c", "yc", "y"),
    ]
    made = model(nodes, constants, {"x": [2, 5, 12]}, ("ya", "yb", "yc", "c"),
                 types={"c": 2})
    return legalize(lower(made, 2))


def test_a_scale_that_the_machine_cannot_have():
    """Shifting machines have powers of two only; blocks need none."""
    graph = legal("gemm")
    config = TINY.replace(requantize_mode="shift")
    with pytest.raises(KiwichaError, match="legal in mode shift: a power of two"):
        compile_graph(graph, config)
    blocked, tensors, made = run(graph, config, random_inputs(graph.inputs, 1), ["gemm1"])
    (report,) = block_noise(blocked, tensors, config, made)
    assert report.decibels > 24
    assert report.static_decibels is None


def test_several_layers_and_views_behind_them():
    graph = two_outputs()
    given = random_inputs(graph.inputs, 1)
    plain = outputs(graph, evaluate(graph, given))
    blocked, tensors, made = run(graph, TINY, given, ["left,right"])
    assert made["ya"].shape == plain["ya"].shape == (2, 9, 5)
    assert {n.name for n in blocked.nodes} == {n.name for n in graph.nodes} - {"turn"}
    for name in ("ya", "yb"):
        np.testing.assert_allclose(made[name], plain[name], atol=0.06 + plain[name].max() / 60)
        assert (made[name] != plain[name]).any()
    for name in ("yc", "c"):
        np.testing.assert_array_equal(made[name], plain[name])
    reports = block_noise(blocked, tensors, TINY, made)
    assert [(r.layer, r.output) for r in reports] == [("left", "ya"), ("right", "yb")]


@pytest.mark.parametrize("scale", ["pot", "free", "multiway"])
def test_dynamic_layers(tmp_path, scale):
    rng = np.random.default_rng(3)
    nodes, constants = mlp(rng, (13, 21, 9), relu=False)
    graph = legalize(lower(quantized(tmp_path, nodes, constants, [None, 13]), 7))
    first, last = (n.name for n in graph.nodes)
    config = SMALL.replace(
        blocks={"channels": 8, "scale": scale, "ways": ((8, 0), (7, 0))},
        statistics={"elements": 256},
    )
    given = {"x": rng.normal(0.5, 2, (7, 13)).astype(np.float32)}
    exact = outputs(graph, evaluate(graph, given))["y"]
    blocked, tensors, made = run(graph, config, given, [last])
    (report,) = block_noise(blocked, tensors, config, made)
    noise = np.square(made["y"].astype(np.float64) - exact).sum()
    assert report.decibels == pytest.approx(10 * np.log10(np.square(exact).sum() / noise), abs=1e-3)
    assert report.decibels > 30
    assert report.static_decibels is None
    with pytest.raises(KiwichaError, match=rf"'{first}' .* is quantized by its whole range, which"):
        with_blocks(graph, [first], config)


@pytest.mark.parametrize(("network", "asked", "config", "message"), [
    ("gemm", "gemm1", preset("tiny"),
     "blocks of 'gemm1': the machine makes none, its blocks.channels is 0"),
    ("gemm", "other", TINY, "blocks: no layer is called 'other'; there are gemm1"),
    ("flatten", "conv1", TINY, r"'conv1' \(QLinearConv\) is read by 'gemm1', which takes codes of"),
    ("flatten", "flatten1", TINY, r"'flatten1' \(Flatten\) moves no data: it has no sums"),
    ("pool_2x2", "maxpool1", TINY, r"'maxpool1' \(MaxPool\) takes codes to codes: it has no sums"),
    ("softmax", "softmax1", TINY, r"'softmax1' \(QLinearSoftmax\) is computed by SPECIAL; blocks"),
    ("conv_depthwise", "conv1", CONFIGS["odd"],
     r"conv1 \(QLinearConv\): its groups of channels do not fill 6 columns, and blocks o"),
    ("wide_gemm", "gemm1", TINY.replace(blocks={"channels": 64}, accumulator_depth=16),
     r"blocks of 64 channels end with every 16th tile of 4 columns; the machine's accumulator_de"),
    ("wide_gemm", "gemm1", TINY.replace(blocks={"channels": 64}, parameter_channels=64),
     r"every 16th tile of 4 columns; the machine's parameter_channels 64 allows 8"),
    ("wide_gemm", "gemm1", CONFIGS["free"].replace(
        blocks={"channels": 32}, axi_data_width=256, output_bytes=256, parameter_channels=256,
    ),
     r"one output pixel does not fit half of the machine's memories"),
])
def test_refused(network, asked, config, message):
    graph = legal(network)
    with pytest.raises(KiwichaError, match=message):
        compile_graph(with_blocks(graph, [asked], config), config)


def test_more_refusals():
    graph = two_outputs()
    with pytest.raises(KiwichaError, match="'behind' .* makes graph output 'c', whose codes have"):
        with_blocks(graph, ["behind"], TINY)
    block = attention_block(sequence=3, embedding=4, heads=1, head_dim=4, projected=False, seed=5)
    attention = legalize(lower(block, None))
    product = next(n for n in attention.nodes if n.kind == "product")
    with pytest.raises(KiwichaError, match="multiplies two activations; blocks are for constant w"):
        with_blocks(attention, [product.name], TINY)
    require_random((0, 0), TINY)
    require_random(SEED, CONFIGS["random"])
    with pytest.raises(KiwichaError, match="random_seed is 7; the machine's blocks are not "):
        require_random(SEED, TINY)


def test_a_pixel_with_more_results_than_a_record():
    config = TINY.replace(
        columns=2, blocks={"channels": 512}, parameter_channels=1024, accumulator_depth=512,
        output_bytes=2048,
    )
    graph = matrix_product(np.ones((4, 300), np.int8), 2)
    blocked = with_blocks(graph, ["product"], config)
    compile_graph(blocked, config)
    with pytest.raises(KiwichaError, match="'product' has 300 results a pixel; the machine"):
        compile_graph(blocked, config, statistics=["product"])
    compile_graph(graph, config, statistics=["product"])
    # One channel of them is few enough, where the instruction can name it.
    compile_graph(blocked, config, statistics=["product[127]"])
    with pytest.raises(KiwichaError, match="channel 128 of 'product' is number 128 of an instruc"):
        compile_graph(blocked, config, statistics=["product[128]"])
