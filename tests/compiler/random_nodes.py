# SPDX-License-Identifier: Apache-2.0
"""Random nodes of products and special functions, and running some in the middle of guard bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.layer_steps import layer_steps
from kiwicha.compiler.graph.graph import (
    AddNode,
    Graph,
    MulNode,
    NormalizeNode,
    PairNode,
    ProductNode,
    SoftmaxNode,
    TableNode,
    TablesNode,
    Tensor,
    Value,
)
from kiwicha.compiler.graph.layout import Layout
from kiwicha.compiler.schedule.onchip import align_up
from kiwicha.golden.machine import Machine
from kiwicha.golden.network import evaluate
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SpecialOperation
from kiwicha.machine.pair_tables import factor_tables, sum_tables
from kiwicha.machine.presets import preset

from .any_order import EAGER_LOAD, LAZY_STORE, run_in_order_of

__all__ = [
    "CONFIGS",
    "random_add",
    "random_mul",
    "random_normalize",
    "random_product",
    "random_softmax",
    "random_table", "random_tables",
    "renamed",
    "run_node",
    "run_nodes",
    "tensor",
]

MICRO = AcceleratorConfig(
    name="micro", rows=3, columns=5, axi_data_width=64, activation_bytes=2048, weight_bytes=256,
    accumulator_depth=16, output_bytes=256, parameter_channels=16, requantize_lanes=2,
    queue_words=16, transposer=True, special={"lanes": 2, "bytes": 256, "entries": 256},
)
CONFIGS = {
    "micro": MICRO,
    "tiny": preset("tiny").replace(
        transposer=True, special={"lanes": 1, "bytes": 256, "entries": 512},
    ),
    "wide": preset("wide").replace(transposer=True, special={"lanes": 4, "bytes": 512}),
    "default": preset("default").replace(transposer=True, special={"lanes": 8, "bytes": 1024}),
}
GUARD = 0xA5


def run_node(node: object, *arguments, **named) -> ProgramBuilder:
    """`run_nodes` with one."""
    return run_nodes([node], *arguments, **named)


def run_nodes(
    nodes: Sequence, config: AcceleratorConfig, rng: np.random.Generator, *, anywhere: bool = True
) -> ProgramBuilder:
    """Compile nodes, their tensors ``anywhere`` in memory or at multiples of 64; run them in any
    order that the tokens allow, and compare every byte there."""
    written = {node.y.name: node.y for node in nodes}
    reads = {tensor.name: tensor for node in nodes for tensor in node.inputs}
    given = {name: tensor for name, tensor in reads.items() if name not in written}
    values = [Value(t.name, t.shape, t.dtype) for t in given.values()]
    graph = Graph(tuple(values), (), (), tuple(nodes), ())
    inputs = {tensor.name: codes(rng, tensor.shape, tensor.dtype) for tensor in given.values()}
    tensors = evaluate(graph, inputs, config.requantize_mode, config.special.softmax)
    addresses, top = {}, 0
    for name, tensor in (given | written).items():
        addresses[name] = top + (int(rng.integers(0, 70)) if anywhere else 0)
        top = align_up(addresses[name] + tensor.size, 64) + 64
    constants, known = [], {}

    def store(data: np.ndarray) -> int:
        octets = data.reshape(-1).view(np.uint8)
        if octets.tobytes() not in known:
            known[octets.tobytes()] = top + sum(part.size for part in constants)
            constants.append(np.pad(octets, (0, -octets.size % 64)))
        return known[octets.tobytes()]

    builder = ProgramBuilder(config)
    for node in nodes:
        for step in layer_steps(node, addresses, builder, store):
            step.emit()

    def memory_of(present: Mapping[str, Tensor]) -> np.ndarray:
        memory = np.full(top, GUARD, np.uint8)
        for name, tensor in present.items():
            octets = tensor.to_memory(tensors[name]).view(np.uint8)
            memory[addresses[name] : addresses[name] + tensor.size] = octets
        return np.concatenate([memory, *constants])

    memory, want = memory_of(given), memory_of(given | written)
    window = (min(addresses[name] for name in written), top)
    machine = Machine(config, memory, (0, memory.size), window)
    words = builder.words()
    early, late = (run_in_order_of(order, machine, words) for order in (EAGER_LOAD, LAZY_STORE))
    machine.run(words)
    assert not machine.tokens.any(), "tokens left over"
    np.testing.assert_array_equal(memory, want)
    np.testing.assert_array_equal(early, want, "tokens are missing")
    np.testing.assert_array_equal(late, want, "tokens are missing")
    return builder


def renamed(node, **names: str):
    """The node with tensors ``x``, ``z`` or ``y`` of other names."""
    return replace(node, **{k: replace(getattr(node, k), name=v) for k, v in names.items()})


def codes(rng: np.random.Generator, shape, dtype) -> np.ndarray:
    """Random values of an 8-bit type."""
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def tensor(rng, name, shape, layout, dtype=None, scale=None) -> Tensor:
    """A tensor with random type, scale and zero point where they are not given."""
    dtype = np.dtype(dtype or rng.choice(["int8", "uint8"]))
    info = np.iinfo(dtype)
    scale = np.float32(scale or rng.uniform(0.01, 0.1))
    return Tensor(name, tuple(shape), dtype, scale, pick(rng, info.min, info.max), layout)


def pick(rng: np.random.Generator, low: int, high: int) -> int:
    """A number from ``low`` to ``high``."""
    return int(rng.integers(low, high + 1))


def permuted(rng: np.random.Generator, rank: int, inner: int) -> Layout:
    """Axes in memory in any order, but ``inner`` last: views of heads, and more."""
    others = [axis for axis in range(rank) if axis != inner]
    return Layout((("transpose", (*(int(a) for a in rng.permutation(others)), inner)),))


def random_product(rng: np.random.Generator, largest: int = 24) -> ProductNode:
    """Stacks that broadcast, rows with others between, second operands either way."""
    lead = [pick(rng, 1, 3) for _ in range(pick(rng, 0, 2))]
    rows, depth, columns = (pick(rng, 1, largest) for _ in range(3))

    def stack() -> list[int]:
        some = [size if rng.integers(4) else 1 for size in lead]
        return some[pick(rng, 0, len(some)) if rng.integers(3) == 0 else 0 :]

    x_shape, z_shape = [*stack(), rows, depth], [*stack(), depth, columns]
    full = np.broadcast_shapes(tuple(x_shape[:-2]), tuple(z_shape[:-2]))
    y_shape = [*full, rows, columns]
    dtype = rng.choice(["int8", "uint8"])
    rank = len(z_shape)
    x = tensor(rng, "x", x_shape, permuted(rng, len(x_shape), len(x_shape) - 1), dtype)
    z = tensor(rng, "z", z_shape, permuted(rng, rank, rank - 1 - int(rng.integers(2))), dtype)
    y = tensor(rng, "y", y_shape, permuted(rng, len(y_shape), len(y_shape) - 1), dtype)
    scale = np.float32(rng.uniform(1e-3, 1e-2) / depth**0.5)
    info = np.iinfo(dtype)
    low, high = int(info.min), int(info.max)
    # Not quite the other one: a mode that took the wrong one would be found.
    scale64 = np.float64(scale) * (1 + 2.0**-25)
    return ProductNode("product", "QLinearMatMul", x, z, y, scale, scale64, low, high)


def shape_of(rng: np.random.Generator) -> list[int]:
    """Up to four axes; rows may have any length."""
    return [*(pick(rng, 1, 4) for _ in range(pick(rng, 0, 2))), pick(rng, 1, 20), pick(rng, 2, 70)]


def random_table(rng: np.random.Generator) -> TableNode:
    """A table of any bytes."""
    shape = shape_of(rng)
    x = tensor(rng, "x", shape, permuted(rng, len(shape), pick(rng, 0, len(shape) - 1)))
    y = tensor(rng, "y", shape, x.layout)
    return TableNode("table", "Gelu", x, y, codes(rng, 256, np.uint8))


def random_softmax(rng: np.random.Generator) -> SoftmaxNode:
    """A softmax whose output every arithmetic takes."""
    shape = shape_of(rng)
    x = tensor(rng, "x", shape, permuted(rng, len(shape), len(shape) - 1))
    low = int(np.iinfo(x.dtype).min)
    y = Tensor("y", tuple(shape), x.dtype, np.float32(1 / 256), low, x.layout)
    return SoftmaxNode("softmax", "QLinearSoftmax", x, y)


def random_normalize(rng: np.random.Generator) -> NormalizeNode:
    """A normalization with gains around one."""
    shape = shape_of(rng)
    x = tensor(rng, "x", shape, permuted(rng, len(shape), len(shape) - 1))
    y = tensor(rng, "y", shape, x.layout)
    gamma = rng.normal(1, 0.2, shape[-1]).astype(np.float32)
    beta = rng.normal(0, 0.2, shape[-1]).astype(np.float32)
    return NormalizeNode("norm", "LayerNormalization", x, y, gamma, beta, 1e-5)


def random_add(rng: np.random.Generator) -> PairNode:
    """A sum of operands that are repeated along any axes, or whole."""
    return _random_pair(rng, AddNode, "QLinearAdd", 0.0777)


def random_mul(rng: np.random.Generator) -> PairNode:
    """A product of such operands."""
    return _random_pair(rng, MulNode, "QLinearMul", 0.05)


def random_tables(rng: np.random.Generator) -> PairNode:
    """A sum or a product of any functions of such operands."""
    node = _random_pair(rng, TablesNode, "Sub", 1.0)
    values = rng.normal(0, 50, (2, 256))
    if rng.integers(2):
        return replace(node, tables=sum_tables(*values))
    steps, offsets = rng.integers(-255, 256, (2, 256))
    tables = factor_tables(steps, offsets, values[0] / 128)
    return replace(node, operation=SpecialOperation.MUL, tables=tables)


def _random_pair(
    rng: np.random.Generator, kind: type[PairNode], op: str, y_scale: float
) -> PairNode:
    shape = shape_of(rng)
    layout = permuted(rng, len(shape), pick(rng, 0, len(shape) - 1))
    dtype = rng.choice(["int8", "uint8"])
    kept = rng.integers(0, 4, len(shape))  # by both, by one of them
    if rng.integers(2):
        kept = np.where(kept == 1, 0, kept)
    x_shape, z_shape = (
        [1 if axis == place else size for axis, size in zip(kept, shape, strict=True)]
        for place in (1, 2)
    )
    x = tensor(rng, "x", x_shape, layout, dtype, 0.05)
    z = tensor(rng, "z", z_shape, layout, dtype, 0.03)
    y = tensor(rng, "y", shape, layout, dtype, y_scale)
    info = np.iinfo(dtype)
    constant = codes(rng, z_shape, dtype) if rng.integers(2) else None
    return kind(
        kind.kind, op, x, z, y, int(info.min), int(info.max), constant,
        z_first=bool(rng.integers(2)), zero_last=bool(rng.integers(2)),
    )
