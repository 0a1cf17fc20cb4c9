# SPDX-License-Identifier: Apache-2.0
"""Bytes of a step of training: statistics on the fly against two passes and the host, weights
updated on the way out and near memory against at the host, int8 against more bits.

What the machine moves is counted in its programs, with optimizers near memory and at a host, too;
what the others move besides follows from the elements that are quantized, at the same bandwidth.
"""

from dataclasses import dataclass, replace

from kiwicha.bench.table import Table
from kiwicha.bench.update import host_moves
from kiwicha.compiler.emit.compile import CompiledModel, compile_graph
from kiwicha.compiler.graph.optimizing import optimized
from kiwicha.compiler.graph.training import training_graph
from kiwicha.compiler.graph.training_nodes import Shifted
from kiwicha.compiler.graph.update_nodes import UpdateNode
from kiwicha.cost.update import update_beats
from kiwicha.machine.capabilities import Training
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import preset
from kiwicha.sim.training import tiny
from kiwicha.sim.training.optimizer import RATES, Optimizer
from kiwicha.sim.training.plan import random_network, random_weights
from kiwicha.sim.training.traffic import step_bytes, step_macs

__all__ = ["tiny_machine", "training", "training_steps"]

_SIZES, _BATCH, _BITS = (64, 64, 10), 16, 5
_SUM, _CODE = 4, 1  # bytes


@dataclass(frozen=True)
class _Way:
    """A way to train, the bytes that it moves in a step, and those of them that UPDATE does."""

    name: str
    moved: int
    own: int = 0


def _ways(compiled: CompiledModel) -> list[_Way]:
    moved = step_bytes(compiled)
    all_bytes, fixed = sum(moved.values()), moved["other"]
    results = [node.y for node in compiled.graph.nodes if isinstance(node, Shifted)]
    made = sum(tensor.size for tensor in results)
    # Sums go to memory and come back to be quantized; or to the host, which brings codes.
    twice = all_bytes + made * 2 * _SUM
    at_host = all_bytes + made * (2 * _SUM + _CODE)
    return [
        _Way("this machine, NITI: range and shift on the fly, weights on the way out", all_bytes),
        *_optimized(),
        _Way("NITI, two passes: sums to memory and back *", twice),
        _Way("NITI, statistics and quantization at the host *", at_host),
        _Way("NITI with 16 bits *", 2 * (all_bytes - fixed) + fixed),
        _Way("NITI with binary32 *", 4 * (all_bytes - fixed) + fixed),
    ]


def _optimized() -> list[_Way]:
    """Return steps of optimizers, near memory and at the host; all of them are programs."""
    config = preset("training")
    config = config.replace(
        name="training-update", update={"lanes": config.axi_data_width // 64}
    )
    task = random_network("digits", _SIZES, 0)
    found = []
    for name in ("sgd", "momentum", "adam"):
        optimizer = Optimizer(name=name, rates=(RATES[name],))
        graph = optimized(
            task.graph(_BATCH, _BITS), task.units, optimizer.formats(task.units), _BATCH,
            config.beat_bytes,
        )
        near = sum(step_bytes(compile_graph(graph, config)).values())
        updates = [node for node in graph.nodes if isinstance(node, UpdateNode)]
        idle = [
            replace(node, idle=True) if isinstance(node, UpdateNode) else node
            for node in graph.nodes
        ]
        far = sum(step_bytes(compile_graph(replace(graph, nodes=tuple(idle)), config)).values())
        for node in updates:
            assert node.state is not None
            moves = host_moves(config, node.state.size, node.count, _CODE)
            far += sum(
                -(-length // config.beat_bytes) * config.beat_bytes for _, _, length in moves
            )
        own = sum(
            sum(update_beats(config, {**node.fields, "count": node.count})) for node in updates
        )
        found.append(_Way(f"{name} by UPDATE, near memory", near, own * config.beat_bytes))
        found.append(_Way(f"{name} at the host: weights, moments and gradients in and out", far))
    return found


def training() -> Table:
    """Return the bytes of a step of each way, beside those of the machine."""
    config = preset("training")
    network = random_network("digits", _SIZES, 0).network
    compiled = compile_graph(training_graph(network, _BATCH, _BITS), config)
    ways = _ways(compiled)
    least = ways[0].moved
    rows = tuple(
        (
            way.name, f"{way.moved:,}", f"{way.moved / least:.2f}",
            f"{way.moved // config.beat_bytes:,}", f"{way.own:,}" if way.own else "",
        )
        for way in ways
    )
    return Table(
        "training", "Training: bytes of a step",
        ("way", "bytes", "ratio", "cycles of the memory port", "of the bytes UPDATE's"), rows,
        (
            f"{'-'.join(map(str, _SIZES))}, batch {_BATCH}, machine '{config.name}'; programs, "
            "parameters and counters are the same in each way.",
            "Rows without a star are counted in programs, which `kiwicha train` measures; at the "
            "host, that of a step which writes gradients and the transfers of the update. Those "
            "with one add to NITI's what they would move besides.",
            "UPDATE has the machine's own memory port here, so that the bytes are those of an "
            "update at a host; beside the memory, as in Cambricon-Q, its own would not cross the "
            "bus.",
            "Cambricon-Q (ISCA 2021) says of statistics at a host 2.55 times the data.",
        ),
        tuple(
            {"way": way.name, "bytes": way.moved, "ratio": way.moved / least, "own": way.own}
            for way in ways
        ),
    )


def tiny_machine(depth: int = 2048) -> AcceleratorConfig:
    """Return the ECP5's machine of 8x8 as it trains networks of MLPerf Tiny: results pass the
    requantizers twice, and stay in the accumulators until all of a tensor are there."""
    return preset("ecp5-8x8-full").replace(
        name="ecp5-8x8-training", requantize_lanes=8, accumulator_depth=depth,
        training=Training(classes=16),
    )


def training_steps() -> Table:
    """Return predicted cycles of a step of ResNet-8 and DS-CNN at batch 1, and MACs a cycle."""
    networks = {
        "ResNet-8": (tiny.RESNET8, tiny.RESNET8_IMAGES, 3.11),
        "DS-CNN": (tiny.DSCNN, tiny.DSCNN_IMAGES, 0.81),
    }
    rows, values = [], []
    for depth in (512, 2048):
        config = tiny_machine(depth)
        for name, (layers, images, other) in networks.items():
            network = random_weights(name, images, layers, 0).network
            compiled = compile_graph(training_graph(network, 1, _BITS), config)
            phases, cycles = step_macs(compiled), compiled.timeline.total
            macs = sum(phases.values())
            kinds = [f"{phases[phase]:,}" for phase in ("FP", "EB", "WG")]
            rows.append((
                name, f"{depth}", *kinds, f"{cycles:,}", f"{macs / cycles:.1f}", f"{other:.2f}",
            ))
            values.append({
                "network": name, "depth": depth, "macs": macs, "cycles": cycles,
                "macs_a_cycle": macs / cycles,
            })
    return Table(
        "training_steps", "Training: a step at batch 1 on 8x8",
        ("network", "accumulators", "FP", "EB", "WG", "cycles", "MAC/cycle", "PULP-TrainLib"),
        tuple(rows),
        (
            "Predicted from the program: forward pass, loss, errors, gradients, weights updated "
            "in place; ecp5-8x8-full with eight requantizers and so many accumulators a column.",
            "PULP-TrainLib says so many, in 16-bit floating point on nine cores.",
        ),
        tuple(values),
    )
