# SPDX-License-Identifier: Apache-2.0
"""Real numbers in and out by the C driver: the compiler's bits."""

import ctypes

import numpy as np
import pytest

from kiwicha.compiler.graph.graph import HostDequantize, HostQuantize
from kiwicha.compiler.graph.layout import ROW_MAJOR
from kiwicha.compiler.graph.tensor import Tensor as Edge
from kiwicha.models.variants import build, random_input

from .c_driver import U8P, Memory, Tensor
from .c_networks import Made

pytestmark = pytest.mark.cc


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    model, shape = build("flatten")
    return Made(tmp_path_factory.mktemp("c"), model, {"x": random_input(shape)}, "tiny")


def hard_values(scale, seed):
    """Halves, what is no number, what overflows, and numbers of any size."""
    rng = np.random.default_rng(abs(seed))
    halves = (np.arange(-600, 600) / np.float32(2)).astype(np.float32) * scale
    bits = rng.integers(0, 1 << 32, 4096, np.uint32).view(np.float32)
    bits[np.isnan(bits)] = np.nan  # none that signals
    edge = np.float32([0, -0.0, np.inf, -np.inf, np.nan, 2.0**31, -(2.0**31), 3e38, -3e38, 1e-45])
    around = np.nextafter(halves, np.float32(np.inf)), np.nextafter(halves, np.float32(-np.inf))
    return np.concatenate([halves, *around, edge, edge * scale, bits]).astype(np.float32)


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize(("dtype", "zero"), [
    ("int8", 0), ("int8", -128), ("int8", 127), ("uint8", 0), ("uint8", 255), ("uint8", 113),
])
@pytest.mark.parametrize("scale", [1.0, 0.0039215689, 3.7e-20])
def test_every_kind_of_number(dtype, zero, scale, away, made):
    """As the compiler's own edges have it, bit for bit, and back."""
    scale = np.float32(scale)
    with np.errstate(over="ignore"):
        values = hard_values(scale, zero)
    kind = np.dtype(dtype)
    edge = HostQuantize("q", "x", ROW_MAJOR, Edge("t", values.shape, kind, scale, zero), away)
    expected = edge(values)
    _, driver = made.start()
    memory = np.full(values.size, 0xA5, np.uint8)
    driver.device.memory = Memory(memory.ctypes.data_as(U8P), 0, memory.size)
    shape, strides = (ctypes.c_uint32 * 1)(values.size), (ctypes.c_uint32 * 1)(1)
    tensor = Tensor(b"t", 0, values.size, 2 if away else 1, dtype == "int8", scale, zero, 1, shape,
                    strides)
    device, floats = ctypes.byref(driver.device), ctypes.POINTER(ctypes.c_float)
    assert driver.library.kiwicha_quantize(
        device, ctypes.byref(tensor), values.ctypes.data_as(floats)
    )
    np.testing.assert_array_equal(memory.view(kind), expected)
    back = np.empty(values.size, np.float32)
    assert driver.library.kiwicha_dequantize(
        device, ctypes.byref(tensor), back.ctypes.data_as(floats)
    )
    right = HostDequantize("d", edge.tensor, "y")(expected)
    assert back.tobytes() == right.tobytes()


def test_tensors_that_are_no_affine_codes(made):
    _, driver = made.start()
    tensor = driver.program.inputs[0]
    values = (ctypes.c_float * tensor.bytes)()
    for kind in (0, 3, 4, 5):
        other = Tensor.from_buffer_copy(tensor)
        other.kind = kind
        for name in ("quantize", "dequantize"):
            function = getattr(driver.library, f"kiwicha_{name}")
            function.restype = ctypes.c_bool
            assert not function(ctypes.byref(driver.device), ctypes.byref(other), values)
