# SPDX-License-Identifier: Apache-2.0
"""A machine with SPECIAL: bytes through its lanes and back to memory, its tokens and its faults."""

import numpy as np

from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.add import to_integers
from kiwicha.golden.network import evaluate
from kiwicha.machine.encoding import encode
from kiwicha.machine.isa import Engine, ErrorCode, LoadTarget, Opcode, SpecialOperation, StoreSource
from kiwicha.machine.pair_tables import add_tables
from kiwicha.machine.presets import preset
from kiwicha.models.variants import build

from ..compiler.test_fixed_pairs import CASES as FIXED
from ..compiler.test_fixed_pairs import FUNCTIONS, graph_of
from ..compiler.test_float_pairs import pair_model
from ..compiler.test_pairs import EXACT_PRODUCTS, EXACT_SUMS, Case, all_pairs, compile_pair
from ..golden.test_add import ort_binary
from .board import Job, board
from .layers import GUARD
from .programs import END, WINDOW, job, load, program, store
from .test_faults import check_fault, outside

CONFIG = preset("tiny").replace(name="special", special={"lanes": 2, "bytes": 256, "entries": 256})
TABLE, OPERAND = 0x1000, 0x1400
LENGTH, ROWS = 7, 3  # of a row; rows of all lanes, two in the first and one in the second
TO_SPECIAL, TO_STORE = 1 << Engine.SPECIAL, 1 << Engine.STORE


def special(**fields: int) -> np.ndarray:
    """Return a legal SPECIAL on the rows below, with some fields changed."""
    legal = {"operation": SpecialOperation.TABLE, "rows": 2, "total": ROWS, "length": LENGTH,
             "x": 5, "y": 8, "low": -128, "high": 255}
    return encode(Opcode.SPECIAL, **{**legal, **fields})


def lookup(rng: np.random.Generator) -> tuple[Job, np.ndarray]:
    """Return a program that looks bytes up in a table, and the bytes that it must store."""
    table = rng.integers(0, 256, 256, np.uint8)
    rows = rng.integers(0, 256, (ROWS, LENGTH), np.uint8)
    lane = CONFIG.special.bytes
    first = OPERAND + 5  # both on chip and in memory five bytes into a beat
    words = program(
        load(target=LoadTarget.TABLE, address=TABLE, length=1024),
        load(target=LoadTarget.OPERAND, address=first, local=5, length=2 * LENGTH),
        load(target=LoadTarget.OPERAND, address=first + 24, local=lane + 5, length=LENGTH,
             signal=TO_SPECIAL),
        special(wait=1 << Engine.LOAD, signal=TO_STORE),
        store(source=StoreSource.RESULT, address=WINDOW[0] + 8, local=8, length=2 * LENGTH,
              wait=TO_SPECIAL),
        store(source=StoreSource.RESULT, address=WINDOW[0] + 32, local=lane + 8, length=LENGTH),
    )
    made = job(words)
    image = np.full(0x1800, GUARD, np.uint8)
    image[: len(made.image)] = made.image
    image[TABLE : TABLE + 1024] = table.astype("<u4").view(np.uint8)
    image[first : first + 2 * LENGTH] = rows[:2].reshape(-1)
    image[first + 24 : first + 24 + LENGTH] = rows[2]
    expected = image[WINDOW[0] : WINDOW[1]].copy()
    expected[8 : 8 + 2 * LENGTH] = table[rows[:2]].reshape(-1)
    expected[32 : 32 + LENGTH] = table[rows[2]]
    return made.but(image=image, read_window=(0, len(image))), expected


def faults() -> list[tuple[str, ErrorCode, int, Job]]:
    """Return (name, code, address, job)."""
    field, beyond = ErrorCode.ILLEGAL_FIELD, ErrorCode.SCRATCHPAD_RANGE
    size = CONFIG.special.lanes * CONFIG.special.bytes
    result, operand = StoreSource.RESULT, LoadTarget.OPERAND
    return [
        ("operation", field, Engine.SPECIAL, job(program(special(operation=15)))),
        ("no rows", field, Engine.SPECIAL, job(program(special(total=0)))),
        ("operand range", beyond, Engine.SPECIAL, job(program(special(x=250)))),
        ("operand", beyond, Engine.LOAD, job(program(load(target=operand, local=size)))),
        ("result", beyond, Engine.STORE, job(program(store(source=result, local=size)))),
        ("waits for ever", ErrorCode.WATCHDOG, 0,
         job(program(special(wait=1 << Engine.COMPUTE)))),
    ]


def telling_pairs(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return all codes beside those 8 with which a rounded product most often gives others."""
    dtype, scales, zeros = case
    (x_scale, z_scale, y_scale), (x_zero, z_zero, y_zero) = scales, zeros
    x, z = all_pairs(dtype)
    a, b, shift = add_tables(x_scale, x_zero, dtype, z_scale, z_zero, dtype, y_scale, y_zero)
    products = np.where(x[:, :1] < 0, -1, 1) * a[:, None].astype(np.int64) * 2.0**shift
    with np.errstate(over="ignore", invalid="ignore"):
        sums = to_integers(products.astype(np.float32) + b.view(np.float32))
    bounds = np.iinfo(dtype)
    other = np.clip(sums, bounds.min, bounds.max) != ort_binary("QLinearAdd", x, z, scales, zeros)
    lines = np.argsort(-other.sum(axis=1), kind="stable")[:8]
    return x[lines], z[lines]


def some_products(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return all codes beside 8: the ends, zeros, and others."""
    x, z = all_pairs(case[0])
    lines = [0, 1, 100, 127, 128, 129, 200, 255]
    return x[lines], z[lines]


def test_sums_and_products_are_exact_for_all_scales() -> None:
    """Equal to ONNX Runtime, most of all where the product in a sum may not be rounded."""
    cases = [("QLinearAdd", case) for case in EXACT_SUMS]
    cases += [("QLinearMul", case) for case in EXACT_PRODUCTS]
    compiled = [compile_pair(operator, *case, CONFIG, lines=8) for operator, case in cases]
    operands = [telling_pairs(case) for case in EXACT_SUMS]
    operands += [some_products(case) for case in EXACT_PRODUCTS]
    jobs = [
        Job(image=made.load({"xq": x, "zq": z}), program=made.program,
            read_window=made.read_window, write_window=made.write_window)
        for (made, _), (x, z) in zip(compiled, operands, strict=True)
    ]
    results = board(CONFIG).run(jobs)
    for (operator, case), (made, y), (x, z), done in zip(
        cases, compiled, operands, results, strict=True
    ):
        assert done.error == ErrorCode.NONE
        real = ort_binary(operator, x, z, case[1], case[2])
        np.testing.assert_array_equal(made.read(done.memory, y), real, f"{operator} {case}")


def test_sums_and_products_in_fixed_point() -> None:
    """LiteRT's arithmetic, on a machine of its mode; the golden network is held to LiteRT itself by
    the compiler's tests."""
    config = CONFIG.replace(name="fixed", requantize_mode="tflite")
    rng, made = np.random.default_rng(8), []
    for name in FUNCTIONS:
        for dtype, case in zip((np.int8, np.uint8) * 3, FIXED, strict=False):
            graph = graph_of(name, dtype, case, lines=8)
            codes = np.arange(256, dtype=np.uint8).view(dtype)
            pair = {"a": np.tile(codes, (8, 1)), "b": np.repeat(rng.choice(codes, 8), 256)}
            pair["b"] = pair["b"].reshape(8, 256)
            made.append((f"{name} {case}", compile_graph(graph, config),
                         evaluate(graph, pair, "tflite")))
    jobs = [
        Job(image=compiled.load(tensors), program=compiled.program,
            read_window=compiled.read_window, write_window=compiled.write_window)
        for _, compiled, tensors in made
    ]
    for (what, compiled, tensors), done in zip(made, board(config).run(jobs), strict=True):
        assert done.error == ErrorCode.NONE
        y = compiled.graph.nodes[-1].y
        np.testing.assert_array_equal(compiled.read(done.memory, y), tensors[y.name], what)


BROADCAST = [
    ([9, 33], [33]), ([70, 6], [70, 1]), ([2, 130], [2, 1]), ([3, 5, 1], [3, 1, 9]),
    ([4, 20, 7], [4, 1, 7]), ([1, 3, 1, 1], [2, 1, 4, 5]),
]


def test_gates_and_operands_that_broadcast() -> None:
    """A network whose products broadcast by channel and by place, and operands of all kinds; every
    tensor is compared."""
    network, shape = build("gates")
    graphs = [legalize(lower(network, shape[0]))]
    graphs += [
        legalize(lower(pair_model(op, shapes, "int8")))
        for shapes in BROADCAST for op in ("Add", "Mul")
    ]
    compiled = [compile_graph(graph, CONFIG) for graph in graphs]
    tensors = [evaluate(graph, random_inputs(graph.inputs, 5)) for graph in graphs]
    jobs = [
        Job(image=made.load(values), program=made.program, read_window=made.read_window,
            write_window=made.write_window)
        for made, values in zip(compiled, tensors, strict=True)
    ]
    results = board(CONFIG).run(jobs)
    for graph, made, values, done in zip(graphs, compiled, tensors, results, strict=True):
        assert done.error == ErrorCode.NONE
        for name, tensor in graph.tensors.items():
            np.testing.assert_array_equal(made.read(done.memory, tensor), values[name], name)


def test_rows_through_the_lanes_and_faults() -> None:
    rng = np.random.default_rng(4)
    plain, made = [lookup(rng) for _ in range(3)], faults()
    # A stall makes STORE wait for its results with the bus busy.
    jobs = [asked.but(stall=60 * index) for index, (asked, _) in enumerate(plain)]
    again, expected_again = lookup(rng)
    jobs += [each for *_, asked in made for each in (asked, again)] + [job(END)]
    results = iter(board(CONFIG).run(jobs))

    def right(asked: Job, expected: np.ndarray, name: str) -> None:
        done = next(results)
        assert done.error == ErrorCode.NONE, name
        outside(name, asked, done)
        assert np.array_equal(done.memory[WINDOW[0] : WINDOW[1]], expected), name
        assert done.registers["special_busy"] > 0

    for asked, expected in plain:
        right(asked, expected, "lookup")
    for case in made:
        check_fault(*case, next(results))
        right(again, expected_again, f"after {case[0]}")
