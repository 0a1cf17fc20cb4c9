# SPDX-License-Identifier: Apache-2.0
"""What dynamic quantization costs: bytes on the bus and cycles of one layer, beside static int8.

Scales that follow from a whole tensor are known only when all of it is: the host does it, or the
layer is computed twice. A scale for every block of channels is known as soon as the block is.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kiwicha.bench.options import machine, measured
from kiwicha.bench.program import Memory, layer, measure
from kiwicha.bench.table import Table, say, terminal
from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.emit import emit
from kiwicha.compiler.schedule.by_range import Dynamic
from kiwicha.compiler.schedule.contraction import Blocks, Contraction
from kiwicha.compiler.schedule.estimate import estimate
from kiwicha.compiler.schedule.onchip import align_up
from kiwicha.compiler.schedule.search import choose_tiling
from kiwicha.compiler.schedule.tiling import Tiling, legal_tilings
from kiwicha.machine.blocks import scale_bytes
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SLOT_BYTES, SLOTS
from kiwicha.sim.simulation import SimulatedMachine, simulated_machine

__all__ = ["WAYS", "dynamic", "main"]

WAYS = ("static", "static, in blocks", "host", "two passes", "blocks")
_SIZES = (256, 64)
_RECORD = SLOTS * SLOT_BYTES


@dataclass
class _Results(Memory):
    """Memory with room for results other than the tensor, behind it.

    Members
    -------
    size : bytes of the tensor; ``more`` : of the rest.
    """

    size: int = 0
    more: int = 0

    @property
    def extra(self) -> int:
        """Address of the rest."""
        return align_up(self.work.y.address + self.size, 64)

    @property
    def window(self) -> tuple[int, int]:
        """First byte of the results, and the byte after their last."""
        return self.work.y.address, self.extra + self.more


def _in_blocks(work: Contraction, config: AcceleratorConfig, scales: int) -> Contraction:
    """Return the layer with a power of two as scale of every block, from ``scales`` on."""
    size = config.blocks.channels
    blocks = Blocks(size, scale_bytes(config), scales, size // config.columns)
    return replace(work, blocks=blocks, y_zero=0, low=0, high=0)


def _block_tiling(work: Contraction, config: AcceleratorConfig) -> Tiling:
    """Return the best tiling whose groups are blocks of channels, with blocks or without."""
    tilings = [
        t for t in legal_tilings(work, config) if t.group * config.columns == config.blocks.channels
    ]
    return min(tilings, key=lambda t: estimate(work, config, t))


def _program(
    config: AcceleratorConfig, way: str, size: int, seed: int
) -> tuple[ProgramBuilder, _Results]:
    """Return the program of a size x size x size product, and its memory."""
    work, x = layer(config, (size, 1, size), size, 1, seed=seed)
    if way.startswith("static"):
        builder, memory = ProgramBuilder(config), _Results(work, x, size=size * size)
        tiling = (choose_tiling if way == "static" else _block_tiling)(work, config)
        emit(work, tiling, builder, memory.put)
        return builder, memory
    if way == "blocks":
        scales = size * size // config.blocks.channels
        memory = _Results(work, x, size=size * size, more=scales)
        builder, blocks = ProgramBuilder(config), _in_blocks(work, config, memory.extra)
        emit(blocks, _block_tiling(blocks, config), builder, memory.put)
        return builder, memory
    raw = way == "host"
    work = replace(
        work, bias=np.ones(size, np.float32).view(np.int32),
        multiplier=np.full(size, 0.01, np.float32).view(np.uint32), x_zero=0, y_zero=0, low=0,
        high=255, dynamic=Dynamic(0, None if raw else 1, False),
    )
    memory = _Results(work, x, size=work.octets * size * size, more=0 if raw else _RECORD)
    slots = np.zeros(SLOTS, [("scale", "<f4"), ("zero_point", "u1"), ("rest", "V11")])
    slots["scale"], slots["zero_point"] = 0.02, 128
    builder = ProgramBuilder(config)
    builder.load_slots(memory.put(slots.view(np.uint8)))
    emit(work, choose_tiling(work, config), builder, memory.put)
    if not raw:
        builder.store_slot(memory.extra, 1)
    return builder, memory


def _figures(
    config: AcceleratorConfig, machine: SimulatedMachine, way: str, size: int, latency: int,
    seed: int,
) -> dict[str, Any]:
    builder, memory = _program(config, way, size, seed)
    moved = sum(i.bytes_read + i.bytes_written for i in builder.instructions)
    run = measure(builder, memory, machine, latency=latency)
    # The host reads the int32 sums and writes int8 in their place.
    host = 5 * size * size if way == "host" else 0
    return {"bytes": moved + host, "machine_bytes": moved, "cycles": run.cycles,
            "predicted": run.predicted}


def dynamic(
    config: AcceleratorConfig,
    *,
    latency: int = 20,
    seed: int = 1,
    sizes: Sequence[int] = _SIZES,
    progress: Callable[[str], None] = say,
) -> Table:
    """Measure the four ways on one machine, from memory to memory, weights included.

    Parameters
    ----------
    config : gets what it lacks: ``dynamic``, and blocks of four column tiles.
    sizes : of the matrix products, in all three dimensions.
    """
    config = config.replace(
        name=f"{config.name}-dynamic", dynamic=True, blocks={"channels": 4 * config.columns},
    )
    progress(f"dynamic: building the machine '{config.name}'")
    machine = simulated_machine(config, 0)
    values = []
    for size in sizes:
        static: dict[str, Any] = {}
        for way in WAYS:
            progress(f"dynamic: {size} x {size} x {size}, {way}")
            figures = _figures(config, machine, way, size, latency, seed)
            static = static or figures
            ratios = {f"{name}_ratio": figures[name] / static[name] for name in ("bytes", "cycles")}
            values.append({"size": size, "way": way, **figures, **ratios})
    rows = tuple(
        (f"{v['size']} x {v['size']} x {v['size']}, {v['way']}", f"{v['bytes']:,}",
         f"{v['bytes_ratio']:.3f}", f"{v['cycles']:,}", f"{v['cycles_ratio']:.3f}")
        for v in values
    )
    return Table(
        "dynamic",
        f"Dynamic quantization on {config.rows}x{config.columns} ('{config.name}')",
        ("matrix product", "bytes", "to static", "cycles", "to static"),
        rows,
        (
            "static: int8 by scales known before, also cut as the blocks are. host: int32 sums to "
            "memory, which the host reads and writes back as int8; its bytes are counted, its time "
            "is not.",
            "two passes: one scale for the tensor, exact to ONNX Runtime; the layer is computed "
            "twice, but where the accumulators hold all of it. "
            f"blocks: a power of two for every {config.blocks.channels} channels, in one pass.",
            "Every program was simulated, and left in memory what the golden machine leaves there.",
        ),
        tuple(values),
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m kiwicha.bench.dynamic", description=__doc__)
    parser.add_argument("--preset", default="default", help="which machine (default: default)")
    parser.add_argument("--latency", type=int, default=20, help="cycles of memory (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="of the random data (default 1)")
    arguments = parser.parse_args()
    config = machine(parser, arguments.preset)
    settings = {"latency": arguments.latency, "seed": arguments.seed}
    measured(parser, config, lambda: dynamic(config, **settings)).show(terminal())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
