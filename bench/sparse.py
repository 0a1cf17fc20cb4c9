# SPDX-License-Identifier: Apache-2.0
"""Compressed weights: a memory-bound layer dense and compressed, and what each format costs."""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kiwicha.bench.table import Table, say, terminal
from kiwicha.compiler.schedule.footprint import minimum_pass
from kiwicha.machine.capabilities import WEIGHT_FORMATS, Sparse
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.formats import INDEX_BITS, encode
from kiwicha.machine.isa import WeightFormat
from kiwicha.sim.inference import run_model

__all__ = ["CONFIG", "formats", "main", "pruned_product", "sparse"]

CONFIG = AcceleratorConfig(
    name="narrow-port", rows=8, columns=128, weight_bytes=131072, requantize_lanes=8,
    sparse=Sparse(formats=("bitmask", "csc5"), entries=16),
)
"""Eight beats a weight row: a batch of one waits for memory, compressed or not."""

_GOALS = {"bytes": 0.2, "cycles": 0.25}
_DENSITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
_POINTER_BITS, _VALUE_BITS = 16, 8
_COLUMN = 1024  # elements of a column of absolute indices


def random_weights(
    rng: np.random.Generator, shape: tuple[int, int], density: float
) -> NDArray[np.int8]:
    """Return int8 values, each not 0 with this probability."""
    values = rng.integers(1, 128, shape) * rng.choice([-1, 1], shape)
    return np.where(rng.random(shape) < density, values, 0).astype(np.int8)


def pruned_product(
    size: int, density: float, seed: int, outputs: int = 0
) -> onnx.ModelProto:
    """Return a model of one QLinearMatMul, 1 x size by size x outputs (0: as many)."""
    outputs = outputs or size
    rng = np.random.default_rng(seed)
    weights = random_weights(rng, (size, outputs), density)
    spread = 2 / (5400 * np.sqrt(max(density, 1 / size) * size))
    constants = {
        "x_scale": np.float32(1), "x_zero": np.uint8(128), "w": weights,
        "w_scale": np.float32(spread), "w_zero": np.int8(0), "y_scale": np.float32(0.04),
        "y_zero": np.uint8(120),
    }
    names = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero"]
    node = helper.make_node("QLinearMatMul", names, ["y"], name="fc")
    graph = helper.make_graph(
        [node],
        "pruned",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, (1, size))],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, (1, outputs))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )


def _measured(
    config: AcceleratorConfig, size: int, density: float, latency: int, seed: int, simulator: str
) -> dict[str, Any]:
    model = pruned_product(size, density, seed)
    report = run_model(model, config, simulator=simulator, latency=latency, seed=seed).report
    if not report.exact:
        raise RuntimeError("results differ: no figure from a fault")
    layer, beat = report.layers[0], config.beat_bytes
    return {
        "format": ", ".join(layer.weight_formats),
        "bytes": layer.stored_bytes,
        "cycles": report.cycles,
        "predicted": report.predicted_cycles,
        "memory": -(-layer.bytes_read // beat),
        "array": size // config.rows * -(-size // config.columns) * minimum_pass(config, size),
    }


def sparse(
    config: AcceleratorConfig = CONFIG,
    *,
    size: int = 1024,
    density: float = 0.1,
    latency: int = 20,
    seed: int = 1,
    simulator: str = "verilator",
    progress: Callable[[str], None] = say,
) -> Table:
    """Measure a fully connected layer, batch 1: dense, then with each format of the machine's.

    Parameters
    ----------
    config : each run is on this machine with no format or only one.
    """
    values: list[dict[str, Any]] = []
    for chosen in ((), *((name,) for name in config.sparse.formats)):
        what = "".join(chosen) or "none"
        progress(f"sparse: {size} x {size} at {density:.0%}, {what}")
        machine = config.replace(sparse={"formats": chosen})
        found = {"machine": what, **_measured(machine, size, density, latency, seed, simulator)}
        first = values[0] if values else found
        ratios = {f"{name}_ratio": found[name] / first[name] for name in _GOALS}
        values.append({**found, **ratios})
    both = [v["machine"] for v in values if all(v[f"{k}_ratio"] <= g for k, g in _GOALS.items())]
    return Table(
        "sparse",
        f"Compressed weights: {size} x {size} at {density:.0%}, batch 1, on {config.rows}x"
        f"{config.columns}, {config.axi_data_width}-bit AXI, latency {latency}",
        (
            "machine's format", "in use", "weights B", "ratio", "cycles", "ratio", "predicted",
            "memory bound", "array bound",
        ),
        tuple(
            (
                v["machine"], v["format"], f"{v['bytes']:,}", f"{v['bytes_ratio']:.3f}",
                f"{v['cycles']:,}", f"{v['cycles_ratio']:.3f}", f"{v['predicted']:,}",
                f"{v['memory']:,}", f"{v['array']:,}",
            )
            for v in values
        ),
        (
            f"A QLinearMatMul model through ONNX Runtime, compiler and simulated RTL, random data "
            f"of seed {seed}; outputs and all of memory were compared. Weights are "
            "not 0 with the given probability, one by one.",
            "Cycles are the machine's own counter, from START to the interrupt. The memory bound "
            "is all beats read; the array bound is a weight row a cycle, as fast as they are "
            "written to the scratchpad, too, but 7 cycles for a tile at least.",
            f"Goals: bytes <= {_GOALS['bytes']}, cycles <= {_GOALS['cycles']} of dense; both are "
            f"reached by: {', '.join(both) or 'none'}. An array of half the columns would have "
            f"twice the array bound: {2 * values[0]['array'] / values[0]['cycles']:.3f} of dense.",
        ),
        tuple(values),
    )


def _formula(form: WeightFormat, density: float) -> float:
    """Bits of each value that is not 0, if such values are independent of each other."""
    if form == WeightFormat.BITMASK:
        return _VALUE_BITS + 1 / density
    if form in (WeightFormat.CSR, WeightFormat.CSC_ABSOLUTE):
        return _VALUE_BITS + 10 + _POINTER_BITS / (density * _COLUMN)
    bits = INDEX_BITS[form]
    value = 4 if form == WeightFormat.CSC4_CODEBOOK else _VALUE_BITS
    return (value + bits) / (1 - (1 - density) ** (1 << bits))


def formats(
    *, size: int = 1 << 20, seed: int = 1, progress: Callable[[str], None] = say
) -> Table:
    """Count the stored bits of each value that is not 0, for all formats and some densities."""
    progress("sparse: stored bits of all formats")
    rng = np.random.default_rng(seed)
    values = []
    for density in _DENSITIES:
        rows = random_weights(rng, (size // 64, 64), density)
        used = np.count_nonzero(rows)
        coded = np.sign(rows) * (1 + np.abs(rows) % 7)  # 14 values
        found: dict[str, Any] = {"density": density}
        for name in WEIGHT_FORMATS:
            form = WeightFormat[name.upper().replace("-", "_")]
            matrix = coded if form == WeightFormat.CSC4_CODEBOOK else rows
            stream = encode(form, matrix.view(np.uint8), 16)
            assert stream is not None
            found[name] = 8 * stream.octets.size / used
            found[f"{name} formula"] = _formula(form, used / rows.size)
        values.append(found)
    return Table(
        "formats",
        "Stored bits of a weight that is not 0, measured / by formula",
        ("density", *WEIGHT_FORMATS),
        tuple(
            (
                f"{v['density']:.2f}",
                *(f"{v[name]:.2f} / {v[f'{name} formula']:.2f}" for name in WEIGHT_FORMATS),
            )
            for v in values
        ),
        (
            f"{size:,} random int8 weights of seed {seed} in rows of 64, each not 0 with that "
            "probability; 14 different values for the codebook. Dense weights take 8 / density.",
            "Formulas, for the density d that was drawn: bitmask 8 + 1 / d; relative index of b "
            "bits and values of v (8, or 4 with a codebook) (v + b) / (1 - (1 - d) ** (2 ** b)), "
            "since of the gaps those of 2 ** b zeros or more take further entries; absolute "
            "18 + 16 / (1024 d), a pointer for each column of 1024 weights.",
        ),
        tuple(values),
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=int, default=20, help="cycles of memory (default 20)")
    parser.add_argument("--density", type=float, default=0.1, help="of the layer (default 0.1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--columns", type=int, default=CONFIG.columns,
        help="of the array; with 64 it is bound by the array, not by memory (default 128)",
    )
    arguments = parser.parse_args()
    formats(seed=arguments.seed).show(terminal())
    settings = {"latency": arguments.latency, "seed": arguments.seed}
    config = CONFIG.replace(columns=arguments.columns)
    sparse(config, density=arguments.density, **settings).show(terminal())


if __name__ == "__main__":
    main()
