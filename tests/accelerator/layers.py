# SPDX-License-Identifier: Apache-2.0
"""Single layers as jobs for the board, with the bytes they must produce."""

from dataclasses import dataclass

import numpy as np

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.emit import emit
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.onchip import align_up
from kiwicha.compiler.schedule.search import Plan, choose_plan
from kiwicha.golden.machine import Machine
from kiwicha.machine.config import AcceleratorConfig

from ..compiler.test_emit import expected
from .board import Done, Job

__all__ = ["GUARD", "CompiledLayer", "check", "compile_layer"]

GUARD = 0xA5
"""Every byte that nothing is meant to change has this value, or is input."""


@dataclass(frozen=True, eq=False)
class CompiledLayer:
    """A layer's job, what memory must hold afterwards, and the predicted cycles."""

    name: str
    job: Job
    memory: np.ndarray
    predicted: int


def compile_layer(
    name: str, work: Contraction, x: np.ndarray, config: AcceleratorConfig,
    plan: Plan | None = None,
) -> CompiledLayer:
    """Compile one layer, output at ``work.y.address``, guard bytes around it."""
    y = work.y
    size = y.images * y.image_bytes
    top = align_up(y.address + size, 64) + 64
    constants: list[np.ndarray] = []

    def store(data: np.ndarray) -> int:
        address = top + sum(part.size for part in constants)
        constants.append(np.pad(data.reshape(-1), (0, -data.size % 64)))
        return address

    builder = ProgramBuilder(config)
    plan = plan or choose_plan(work, config)
    emit(plan.form(work), plan.tiling, builder, store)
    words = builder.words()
    memory = np.full(top, GUARD, np.uint8)
    memory[: x.size] = x.reshape(-1).view(np.uint8)
    image = np.concatenate([memory, *constants, words.view(np.uint8)])
    program = (image.size - 8 * words.size, 8 * words.size)
    # A window holds whole beats; the guard bytes in the last one are the strobes' business.
    window = (y.address, align_up(y.address + size, config.beat_bytes))
    job = Job(
        image=image, program=program, write_window=window,
        read_window=(0, align_up(image.size, config.beat_bytes)),
    )
    golden = image.copy()
    Machine(config, golden, job.read_window, window).run(words)
    want = image.copy()
    want[y.address : y.address + size] = expected(work, x.astype(np.int64)).reshape(-1)
    np.testing.assert_array_equal(golden, want, f"{name}: the golden machine is wrong")
    return CompiledLayer(name, job, want, int(builder.timeline().end.max()))


def check(layer: CompiledLayer, done: Done, what: str = "") -> None:
    """Fail unless a job ended well and memory is right, bit for bit and everywhere."""
    where = f"{layer.name} {what}".strip()
    assert done.interrupted, where
    assert done.error == 0, f"{where}: {done.error!r} at {done.address:#x}"
    wrong = np.flatnonzero(done.memory != layer.memory)
    assert wrong.size == 0, f"{where}: {wrong.size} bytes differ, the first at {wrong[0]:#x}"
