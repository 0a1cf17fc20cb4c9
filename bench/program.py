# SPDX-License-Identifier: Apache-2.0
"""One layer as a program in memory, run on the simulated machine and checked."""

from dataclasses import dataclass, field

import numpy as np

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.schedule.contraction import Contraction, Place
from kiwicha.compiler.schedule.onchip import align_up
from kiwicha.golden.machine import Machine
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Engine
from kiwicha.machine.scales import encode_scale
from kiwicha.sim.simulation import SimulatedMachine

__all__ = ["Measured", "Memory", "layer", "measure"]

_ALIGN = 64
_BUSY_WITH = {
    Engine.COMPUTE: "array",
    Engine.LOAD: "read",
    Engine.VECTOR: "requantize",
    Engine.STORE: "write",
}


@dataclass(frozen=True)
class Measured:
    """What a program cost.

    Members
    -------
    cycles : from START to the interrupt, by the machine's own counter.
    predicted : by the compiler's performance model.
    bound, bound_by : cycles of the busiest engine if it never waits, and which that is or are.
    seconds, processor : of the simulation, wall time and that of the processor.
    """

    cycles: int
    predicted: int
    bound: int
    bound_by: str
    seconds: float
    processor: float


@dataclass
class Memory:
    """Memory from address 0: input, output, then the constants in the order of their loading."""

    work: Contraction
    x: np.ndarray
    constants: list[np.ndarray] = field(default_factory=list)
    _known: dict[bytes, int] = field(default_factory=dict)

    @property
    def window(self) -> tuple[int, int]:
        """First byte of the output, and the byte after its last."""
        start = self.work.y.address
        return start, start + self.work.y.images * self.work.y.image_bytes

    def put(self, data: np.ndarray) -> int:
        """Append constants that are not there yet, and return their address."""
        flat = data.reshape(-1).view(np.uint8)
        if flat.tobytes() not in self._known:
            address = align_up(self.window[1], _ALIGN) + sum(part.size for part in self.constants)
            self._known[flat.tobytes()] = address
            self.constants.append(np.pad(flat, (0, -flat.size % _ALIGN)))
        return self._known[flat.tobytes()]

    def copy(self) -> "Memory":
        """Return what can be added to without changing this one."""
        return Memory(self.work, self.x, list(self.constants), dict(self._known))

    def image(self) -> np.ndarray:
        """Return the bytes."""
        head = np.zeros(align_up(self.window[1], _ALIGN), np.uint8)
        head[: self.x.size] = self.x.reshape(-1)
        return np.concatenate([head, *self.constants])


def layer(
    config: AcceleratorConfig,
    image: tuple[int, int, int],
    outputs: int,
    kernel: int,
    *,
    groups: int = 1,
    seed: int = 1,
) -> tuple[Contraction, np.ndarray]:
    """Return a layer of stride 1 and its uint8 input (asymmetric), int8 weights (symmetric).

    Parameters
    ----------
    image : height, width, channels of the input; the output has the same height and width.
    kernel : its height and width, odd; half of it is padded on every side.
    """
    rng = np.random.default_rng(seed)
    height, width, inputs = image
    x = rng.integers(0, 256, image, dtype=np.uint8)
    weights = rng.integers(-127, 128, (outputs, kernel, kernel, inputs // groups), dtype=np.int8)
    # About the scale that spreads the results over the output's range.
    scale = rng.uniform(0.5, 1.0, outputs) * 60 / (5400 * np.sqrt(weights[0].size))
    multiplier, shift = encode_scale(config.requantize_mode, scale.astype(np.float32))
    zeros = np.zeros(outputs, np.int64)
    work = Contraction(
        name="layer",
        op="bench",
        x=Place(0, 1, height, width, inputs),
        y=Place(align_up(x.size, _ALIGN), 1, height, width, outputs),
        kernel=(kernel, kernel),
        strides=(1, 1),
        pads=(kernel // 2, kernel // 2),
        dilations=(1, 1),
        groups=groups,
        weights=weights,
        weight_zero=zeros,
        bias=rng.integers(-50_000, 50_000, outputs),
        multiplier=multiplier,
        shift=np.broadcast_to(shift, outputs),
        x_signed=False,
        x_zero=128,
        pad=0,
        y_zero=-3,
        low=-128,
        high=127,
    )
    return work, x


def _bound(builder: ProgramBuilder) -> tuple[int, str]:
    cycles = {
        engine: sum(i.cycles for i in builder.instructions if i.engine == engine)
        for engine in _BUSY_WITH
    }
    most = max(cycles.values())
    return most, ", ".join(name for e, name in _BUSY_WITH.items() if cycles[e] == most)


def measure(
    builder: ProgramBuilder, memory: Memory, machine: SimulatedMachine, *, latency: int = 20
) -> Measured:
    """Run what ``builder`` holds; all of memory must be what the golden machine leaves there.

    Raises
    ------
    RuntimeError
        When one byte differs.
    """
    words = builder.words()
    start = memory.put(words)
    image = memory.image()
    golden = image.copy()
    windows = (0, image.size), memory.window
    Machine(builder.config, golden, *windows).run(words)
    result = machine.run(image, (start, words.size * 8), *windows, latency=latency)
    if wrong := int(np.count_nonzero(result.memory != golden)):
        raise RuntimeError(f"{wrong} bytes differ from the golden machine: no figure from a fault")
    end = builder.timeline().total
    return Measured(result.cycles, end, *_bound(builder), result.seconds, result.processor)
