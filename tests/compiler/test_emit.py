# SPDX-License-Identifier: Apache-2.0
"""Tiled programs, run by the golden interpreter, against the reduction written out directly."""

from itertools import product

import numpy as np
import pytest

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.emit import emit
from kiwicha.compiler.schedule.contraction import Contraction, Place
from kiwicha.compiler.schedule.onchip import align_up
from kiwicha.compiler.schedule.search import Plan, choose_plan
from kiwicha.golden.machine import Machine
from kiwicha.golden.requantize import requantize
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Reduction
from kiwicha.machine.modes import RequantizeMode
from kiwicha.machine.presets import preset
from kiwicha.machine.scales import encode_scale

MICRO = AcceleratorConfig(
    name="micro", rows=3, columns=5, axi_data_width=64, activation_bytes=2048, weight_bytes=256,
    accumulator_depth=16, output_bytes=256, parameter_channels=16, requantize_lanes=2,
    queue_words=16,
)
CONFIGS = {"micro": MICRO, **{name: preset(name) for name in ("tiny", "wide", "default")}}


def expected(work: Contraction, x: np.ndarray) -> np.ndarray:
    """The layer by its definition: x is int64 NHWC with the zero point still on."""
    (kh, kw), (sh, sw), (dh, dw) = work.kernel, work.strides, work.dilations
    y = work.y
    x = x - work.x_zero
    acc = np.zeros((y.images, y.height, y.width, y.channels), np.int64)
    if work.reduction is Reduction.MAX:
        acc[:] = -(1 << 31)
    in_per, out_per = work.x.channels // work.groups, y.channels // work.groups
    for h, w, oy, ox in product(range(kh), range(kw), range(y.height), range(y.width)):
        iy, ix = oy * sh - work.pads[0] + h * dh, ox * sw - work.pads[1] + w * dw
        if not (0 <= iy < work.x.height and 0 <= ix < work.x.width):
            continue
        pixel = x[:, iy, ix]
        if work.weights is None:
            reduce = np.maximum if work.reduction is Reduction.MAX else np.add
            acc[:, oy, ox] = reduce(acc[:, oy, ox], pixel)
            continue
        weights = work.weights[:, h, w].astype(np.int64) - work.weight_zero[:, None]
        for g in range(work.groups):
            o = slice(g * out_per, (g + 1) * out_per)
            acc[:, oy, ox, o] += pixel[:, g * in_per : (g + 1) * in_per] @ weights[o].T
    return requantize(
        acc.astype(np.int32), work.multiplier, work.shift, work.y_zero, work.low, work.high,
        RequantizeMode.ONNX, bias=work.bias,
    )


def random_work(
    rng: np.random.Generator, images: int, height: int, width: int, inputs: int, outputs: int,
    kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, int, int, int],
    dilations: tuple[int, int], groups: int = 1, pool: Reduction | None = None, mixed: bool = False,
) -> tuple[Contraction, np.ndarray]:
    """Return a random layer of this geometry (its output at address 0) and its input bytes."""
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    oh = (height + pads[0] + pads[2] - span[0]) // strides[0] + 1
    ow = (width + pads[1] + pads[3] - span[1]) // strides[1] + 1
    signed = bool(rng.integers(2))
    x = rng.integers(0, 256, (images, height, width, inputs), dtype=np.uint8)
    pools = pool is not None
    outputs = inputs if pools else outputs
    if signed:
        x = x.view(np.int8)
    zero = int(rng.integers(np.iinfo(x.dtype).min, np.iinfo(x.dtype).max + 1))
    scale = rng.uniform(1e-4, 2e-3, outputs).astype(np.float32) * (400 if pools else 1)
    multiplier, shift = encode_scale(RequantizeMode.ONNX, scale)
    weights = rng.integers(-128, 128, (outputs, *kernel, inputs // groups), dtype=np.int8)
    y_address = align_up(x.size, 64) + 64
    work = Contraction(
        name="layer", op="test", x=Place(0, images, height, width, inputs),
        y=Place(y_address, images, oh, ow, outputs), kernel=kernel, strides=strides,
        pads=pads[:2], dilations=dilations, groups=groups, weights=None if pools else weights,
        weight_zero=rng.integers(-128, 128, outputs if mixed else 1) + np.zeros(outputs, np.int64),
        bias=np.zeros(outputs) if pools else rng.integers(-50000, 50000, outputs),
        multiplier=multiplier, shift=np.broadcast_to(shift, outputs), x_signed=signed, x_zero=zero,
        pad=np.iinfo(x.dtype).min - zero if pool is Reduction.MAX else 0, y_zero=3, low=-128,
        high=127, reduction=pool or Reduction.SUM,
    )
    return work, x


def run(
    work: Contraction, x: np.ndarray, config: AcceleratorConfig, plan: Plan | None = None,
    within: np.ndarray | None = None,
) -> ProgramBuilder:
    """Compile one layer, run it on the golden machine and compare its output byte for byte.

    ``x`` lies in memory, or what it is ``within``.
    """
    plan = plan or choose_plan(work, config)
    y = work.y
    size = y.images * y.image_bytes
    top = align_up(y.address + size, 64) + 64
    constants: list[np.ndarray] = []

    def store(data: np.ndarray) -> int:
        address = top + sum(part.size for part in constants)
        constants.append(np.pad(data.reshape(-1), (0, -data.size % 64)))
        return address

    builder = ProgramBuilder(config)
    emit(plan.form(work), plan.tiling, builder, store)
    guard = 0xA5
    memory = np.full(top, guard, np.uint8)
    held = x if within is None else within
    memory[: held.size] = held.reshape(-1).view(np.uint8)
    memory = np.concatenate([memory, *constants])
    before = memory.copy()
    machine = Machine(config, memory, (0, memory.size), (y.address, y.address + size))
    machine.run(builder.words())
    assert not machine.tokens.any(), "tokens left over"
    got = memory[y.address : y.address + size].view(np.int8).astype(np.int64)
    want = expected(work, x.astype(np.int64)).reshape(-1)
    np.testing.assert_array_equal(got, want)
    before[y.address : y.address + size] = memory[y.address : y.address + size]
    np.testing.assert_array_equal(memory, before)  # nothing but the output changed
    return builder


CASES = {
    "conv3x3": (1, 7, 6, 5, 9, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "stride": (2, 9, 8, 3, 4, (3, 3), (2, 2), (0, 1, 1, 0), (1, 1)),
    "dilation": (1, 9, 9, 4, 7, (3, 2), (1, 2), (2, 1, 2, 1), (2, 2)),
    "pointwise": (1, 6, 5, 20, 33, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    "first": (2, 12, 12, 1, 6, (5, 5), (1, 1), (2, 2, 2, 2), (1, 1)),
    "wide_pad": (1, 3, 3, 2, 3, (5, 5), (1, 1), (4, 4, 4, 4), (1, 1)),
    "fc": (1, 1, 1, 130, 21, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    "batch_fc": (1, 37, 1, 50, 21, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    "deep": (1, 4, 4, 150, 20, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("case", CASES)
def test_convolution(case: str, config: str) -> None:
    rng = np.random.default_rng(len(case) * 7 + len(config))
    run(*random_work(rng, *CASES[case]), CONFIGS[config])


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(
    ("inputs", "outputs", "groups"), [(6, 6, 6), (8, 12, 4), (20, 44, 2), (40, 20, 2)]
)
def test_groups(inputs: int, outputs: int, groups: int, config: str) -> None:
    rng = np.random.default_rng(inputs)
    work = random_work(rng, 1, 6, 5, inputs, outputs, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), groups)
    run(*work, CONFIGS[config])


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("channels", [1, 4, 6, 19])
@pytest.mark.parametrize("reduction", Reduction)
def test_pooling(channels: int, config: str, reduction: Reduction) -> None:
    rng = np.random.default_rng(channels)
    for kernel, strides, pads in [((2, 2), (2, 2), (0, 0, 0, 0)), ((3, 3), (2, 1), (1, 1, 1, 1))]:
        shape = (2, 8, 9, channels, channels, kernel, strides, pads, (1, 1))
        run(*random_work(rng, *shape, pool=reduction), CONFIGS[config])


@pytest.mark.parametrize("config", CONFIGS)
def test_weight_zero_per_column(config: str) -> None:
    rng = np.random.default_rng(5)
    shape = (1, 11, 1, 50, 21, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1))
    run(*random_work(rng, *shape, mixed=True), CONFIGS[config])


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(6, 6, 6), (4, 8, 4), (6, 9, 3)])
def test_weight_zero_per_column_of_groups(
    inputs: int, outputs: int, groups: int, config: str
) -> None:
    rng = np.random.default_rng(6)
    shape = (1, 6, 5, inputs, outputs, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), groups)
    run(*random_work(rng, *shape, mixed=True), CONFIGS[config])


@pytest.mark.parametrize("seed", range(60))
def test_random_geometry(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def pick(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    kernel = (pick(1, 4), pick(1, 4))
    dilations = (pick(1, 2), pick(1, 2))
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = tuple(pick(0, 2) for _ in range(4))
    height = pick(max(1, span[0] - pads[0] - pads[2]), 12 + span[0])
    width = pick(max(1, span[1] - pads[1] - pads[3]), 12 + span[1])
    shape = (pick(1, 3), height, width, pick(1, 40), pick(1, 40), kernel, (pick(1, 3), pick(1, 3)))
    work, x = random_work(rng, *shape, pads, dilations)
    builder = run(work, x, CONFIGS[list(CONFIGS)[seed % len(CONFIGS)]])
    assert builder.timeline().layer_end[0] > 0
