# SPDX-License-Identifier: Apache-2.0
"""What an optimizer's step costs near memory, and if its numbers go to a host and back."""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from kiwicha.bench.options import machine, measured
from kiwicha.bench.table import Table, say, terminal
from kiwicha.cost.update import UPDATE_LATENCY, update_beats, update_cycles
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import encode
from kiwicha.machine.isa import Opcode
from kiwicha.machine.optimizer import OPTIMIZERS, optimizer_fields, state_bytes
from kiwicha.sim.simulation import SimulatedMachine, simulated_machine

__all__ = ["host_moves", "main", "updates"]

_COLUMNS = (
    "optimizer", "bytes", "at the host", "ratio", "cycles", "predicted", "at the host", "ratio",
    "weights a cycle",
)
_STATE, _GRADIENTS, _CODES, _PROGRAM = 0x1_0000, 0x8_0000, 0xC_0000, 0x1000


def _measure(
    machine: SimulatedMachine, instructions: list[np.ndarray], latency: int
) -> tuple[int, int]:
    """Run a program; return the bytes that it moves besides itself, and its cycles."""
    words = np.concatenate([*instructions, encode(Opcode.END)])
    octets = words.astype("<u8").view(np.uint8)
    image = np.zeros(0x10_0000, np.uint8)
    image[_PROGRAM : _PROGRAM + octets.size] = octets
    found = machine.run(
        image, (_PROGRAM, octets.size), (0, image.size), (_STATE, image.size), latency=latency
    )
    beat = machine.config.beat_bytes
    beats = found.counters["read_beats"] + found.counters["written_beats"]
    return (beats - -(-octets.size // beat)) * beat, found.cycles


def host_moves(
    config: AcceleratorConfig, state: int, count: int, gradient_bytes: int = 4
) -> list[tuple[Opcode, int, int]]:
    """Return (opcode, byte address, bytes) of what carries over the bus what a host's update reads
    and writes: weights, moments and gradients in, weights, moments and int8 weights out.

    Parameters
    ----------
    state : bytes of weights and moments, 32 bits each.
    gradient_bytes : of one of the ``count`` gradients.
    """
    made = []
    half = min(config.activation_bytes, config.output_bytes) // 2
    for opcode, start, size in (
        (Opcode.LOAD, _STATE, state), (Opcode.LOAD, _GRADIENTS, gradient_bytes * count),
        (Opcode.STORE, _STATE, state), (Opcode.STORE, _CODES, count),
    ):
        for first in range(0, size, half):
            made.append((opcode, start + first, min(half, size - first)))
    # Reads and writes side by side, as they are on the machine.
    loads = [move for move in made if move[0] == Opcode.LOAD]
    stores = [move for move in made if move[0] == Opcode.STORE]
    mixed = [move for pair in zip(loads, stores, strict=False) for move in pair]
    return mixed + loads[len(stores) :] + stores[len(loads) :]


def updates(
    config: AcceleratorConfig,
    *,
    count: int = 8192,
    latency: int = 20,
    progress: Callable[[str], None] = say,
) -> Table:
    """Measure a step of each optimizer.

    Parameters
    ----------
    count : weights, at most 16384.
    latency : cycles from a read address to its first beat.

    Raises
    ------
    ValueError
        For more weights.
    """
    if not 1 <= count <= 16384:
        raise ValueError(f"count is {count}; legal: 1 to 16384")
    if not config.update:
        config = config.replace(update={"lanes": config.axi_data_width // 32})
    built = simulated_machine(config, 0x10_0000)
    values: list[dict[str, Any]] = []
    for name, (momentum, root) in OPTIMIZERS.items():
        progress(f"update: {name} on '{config.name}'")
        fields = optimizer_fields(name, rate=0.01) | {
            "count": count, "state": _STATE, "gradients": _GRADIENTS, "codes": _CODES,
        }
        state = state_bytes(count, momentum, root, config.beat_bytes)
        near = _measure(built, [encode(Opcode.UPDATE, **fields)], latency)
        if near[0] != sum(update_beats(config, fields)) * config.beat_bytes:
            raise RuntimeError(f"{name} moves {near[0]} bytes; no figure is given")
        moves = [
            encode(opcode, address=address, length=length, segments=1)
            for opcode, address, length in host_moves(config, state, count)
        ]
        far = _measure(built, moves, latency)
        values.append({
            "optimizer": name, "bytes": near[0], "host bytes": far[0], "cycles": near[1],
            "predicted": update_cycles(config, fields) + UPDATE_LATENCY, "host cycles": far[1],
            "weights a cycle": count / near[1],
        })
    rows = tuple(
        (
            one["optimizer"], f"{one['bytes']:,}", f"{one['host bytes']:,}",
            f"{one['host bytes'] / one['bytes']:.2f}", f"{one['cycles']:,}",
            f"{one['predicted']:,}", f"{one['host cycles']:,}",
            f"{one['host cycles'] / one['cycles']:.2f}", f"{one['weights a cycle']:.2f}",
        )
        for one in values
    )
    return Table(
        "update",
        f"A step of {count:,} weights: {config.axi_data_width}-bit port, "
        f"{config.update.lanes} lanes",
        _COLUMNS,
        rows,
        (
            "Bytes and cycles are the machine's counters, of whole programs; memory latency "
            f"{latency}. Gradients are int8 near memory. At the host: what its update reads and "
            "writes goes over the same bus, 32-bit weights, moments and gradients in, weights, "
            "moments and int8 weights out; its arithmetic is free.",
            "One read port: a group of weights takes a beat of them, one of each moment and a "
            "quarter of one of int8 gradients, so that plain SGD has 0.8 beats of weights a cycle.",
        ),
        tuple(values),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--latency", type=int, default=20, help="cycles of memory (default 20)")
    arguments = parser.parse_args()
    config = machine(parser, arguments.preset)
    measure = functools.partial(updates, config, latency=arguments.latency)
    measured(parser, config, measure).show(terminal())


if __name__ == "__main__":
    main()
