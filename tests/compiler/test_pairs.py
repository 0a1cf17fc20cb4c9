# SPDX-License-Identifier: Apache-2.0
"""QLinearAdd and QLinearMul from the model to the program: all pairs of codes, equal to ONNX
Runtime."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from kiwicha.compiler.emit.compile import CompiledModel, compile_graph
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.graph.graph import PairNode, Tensor
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.machine import Machine
from kiwicha.machine.config import AcceleratorConfig

from ..golden.test_add import ort_binary, random_scales
from .onnx_models import dq, model, node, scales
from .random_nodes import CONFIGS

__all__ = ["EXACT_PRODUCTS", "EXACT_SUMS", "Case", "all_pairs", "compile_pair"]

Case = tuple[type[Any], tuple[float, float, float], tuple[int, int, int]]

TYPES: dict[type[Any], int] = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}
#: Scales and zero points with which sums lie so close to a half that no binary32 number in place of
#: the first product gives all codes; then the least and greatest ratios, sums past 2^31, infinity.
EXACT_SUMS: list[Case] = [
    (np.int8, (0.06, 0.05, 0.1), (-3, 7, -11)),
    (np.uint8, (0.06, 0.05, 0.1), (128, 128, 128)),
    (np.int8, (0.5, 0.8, 0.6), (-72, -110, -55)),
    (np.uint8, (0.18, 0.27, 0.2), (213, 60, 37)),
    (np.int8, (1.3, 0.1, 2.0), (-50, 77, 5)),
    (np.int8, (0.216, 0.538, 0.284), (43, 23, -39)),
    (np.int8, (0.9, 0.2, 1.0), (79, -107, 70)),
    (np.uint8, (0.7, 0.5, 0.6), (182, 128, 188)),
    (np.uint8, (1e-20, 0.3, 0.2), (3, 200, 77)),
    (np.int8, (0.3, 2e-38, 1e-2), (-128, 127, 1)),
    (np.int8, (2.0**24, 2.0**24, 1.0), (-128, -128, -128)),
    (np.uint8, (3e9, 2e9, 0.7), (10, 19, 5)),
    (np.int8, (1.0, 1.0, 2e-38), (0, 0, 0)),
    (np.uint8, (9.0, 0.1, 2e-38), (0, 0, 0)),
]
#: The same of products: halves, which a fused multiplication and addition rounds to others; zero
#: points at the ends; the least and greatest ratios, products past 2^31, infinity.
EXACT_PRODUCTS: list[Case] = [
    (np.int8, (0.5, 0.25, 1.5), (-3, 7, -11)),
    (np.uint8, (0.06, 0.05, 0.1), (128, 128, 128)),
    (np.uint8, (0.3, 0.1, 0.7), (255, 0, 77)),
    (np.int8, (1.3, 0.7, 9.1), (-128, 127, 5)),
    (np.int8, (0.1, 0.01, 0.002), (-128, -128, -128)),
    (np.uint8, (2.0**-60, 2.0**-60, 2.0**-100), (3, 200, 77)),
    (np.int8, (2.0**20, 2.0**20, 3.0), (0, 0, 0)),
    (np.uint8, (3e19, 2e19, 0.7), (10, 19, 5)),
    (np.int8, (1.0, 1.0, 2e-38), (0, 0, 0)),
]


def all_pairs(dtype: type[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return two arrays of 256 x 256 codes."""
    codes = np.arange(256, dtype=np.uint8).view(dtype)
    return np.repeat(codes, 256).reshape(256, 256), np.tile(codes, (256, 1))


def compile_pair(
    operator: str,
    dtype: type[Any],
    sizes: tuple[float, float, float],
    zeros: tuple[int, int, int],
    config: AcceleratorConfig,
    lines: int = 256,
) -> tuple[CompiledModel, Tensor]:
    """Return the program of a model that adds or multiplies xq and zq, of 256 elements a line,
    and its result."""
    constants = scales(**{
        key: (size, dtype(zero)) for key, size, zero in zip("xzy", sizes, zeros, strict=True)
    })
    names = ["xq", "x_s", "x_z", "zq", "z_s", "z_z", "y_s", "y_z"]
    nodes = [node(operator, names, ["yq"], domain="com.microsoft"), dq("yq", "y", "y")]
    shapes = {"xq": [lines, 256], "zq": [lines, 256]}
    whole = model(nodes, constants, shapes, types=dict.fromkeys(shapes, TYPES[dtype]))
    graph = legalize(lower(whole))
    (made,) = graph.nodes
    assert isinstance(made, PairNode)
    return compile_graph(graph, config), made.y


def check(operator: str, case: Case, config: AcceleratorConfig) -> None:
    dtype, sizes, zeros = case
    x, z = all_pairs(dtype)
    compiled, y = compile_pair(operator, dtype, sizes, zeros, config)
    memory = compiled.load({"xq": x, "zq": z})
    Machine(config, memory, compiled.read_window, compiled.write_window).run(compiled.words)
    real = ort_binary(operator, x, z, sizes, zeros)
    assert np.array_equal(compiled.read(memory, y), real), (sizes, zeros)


@pytest.mark.parametrize("case", EXACT_SUMS, ids=str)
def test_sums_close_to_halves_and_far_from_codes(case: Case) -> None:
    check("QLinearAdd", case, CONFIGS["default"])


@pytest.mark.parametrize("case", EXACT_PRODUCTS, ids=str)
def test_products_of_halves_and_far_from_codes(case: Case) -> None:
    check("QLinearMul", case, CONFIGS["default"])


@pytest.mark.parametrize("kind", ["any", "powers", "decimals", "far"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("operator", ["QLinearAdd", "QLinearMul"])
def test_random_scales(operator: str, dtype: type[Any], kind: str) -> None:
    rng = np.random.default_rng([31, dtype is np.int8, len(kind)])
    bounds = np.iinfo(dtype)
    for _ in range(5):
        x_zero, z_zero, y_zero = rng.integers(bounds.min, bounds.max + 1, 3).tolist()
        x_scale, z_scale, y_scale = random_scales(rng, kind)
        case = (dtype, (x_scale, z_scale, y_scale), (x_zero, z_zero, y_zero))
        check(operator, case, CONFIGS["default"])
