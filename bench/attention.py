# SPDX-License-Identifier: Apache-2.0
"""How busy the array is in attention: both products, with the softmax hidden behind them."""

import argparse
import functools
from collections.abc import Callable
from typing import Any

from kiwicha.bench.options import machine, measured
from kiwicha.bench.table import Table, say, terminal
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.models.attention import attention_block, attention_inputs
from kiwicha.sim.inference import run_model

__all__ = ["attention", "main"]

_COLUMNS = ("heads", "MACs", "cycles", "predicted", "utilization", "mismatches")


def _run(
    config: AcceleratorConfig, size: int, batch: int, latency: int, seed: int
) -> dict[str, Any]:
    model = attention_block(
        sequence=size, embedding=size, heads=1, head_dim=size, batch=batch, projected=False,
        seed=seed,
    )
    inputs = attention_inputs(model, seed)
    report = run_model(model, config, inputs, name=f"attention x{batch}", latency=latency).report
    wrong = report.mismatches + report.reference["mismatches"]
    if wrong:
        raise RuntimeError(f"{wrong} elements of {batch} heads are wrong; no figure is given")
    return {
        "heads": batch,
        "macs": report.macs,
        "cycles": report.cycles,
        "predicted": report.predicted_cycles,
        "mismatches": wrong,
    }


def attention(
    config: AcceleratorConfig,
    *,
    size: int = 64,
    batches: tuple[int, ...] = (1, 16, 32),
    latency: int = 20,
    seed: int = 1,
    progress: Callable[[str], None] = say,
) -> Table:
    """Measure single-head attention blocks of ``size`` tokens and as many channels.

    Parameters
    ----------
    batches : independent heads in one program, ascending; the last two give the steady state.
    latency : cycles from a read address to its first beat.
    """
    values = []
    for batch in batches:
        progress(f"attention: {batch} heads of {size}x{size} on '{config.name}'")
        values.append(_run(config, size, batch, latency, seed))
    before, after = values[-2:]
    steady = {name: after[name] - before[name] for name in before}
    values.append({**steady, "heads": f"each of {steady['heads']} more"})
    for figures in values:
        figures["utilization"] = figures["macs"] / (
            figures["cycles"] * config.rows * config.columns
        )
    rows = tuple(
        (
            str(figures["heads"]),
            f"{figures['macs']:,}",
            f"{figures['cycles']:,}",
            f"{figures['predicted']:,}",
            f"{figures['utilization']:.2%}",
            str(figures["mismatches"]),
        )
        for figures in values
    )
    return Table(
        "attention",
        f"MAC utilization of attention, S = E = {size}, one head each: {config.rows}x"
        f"{config.columns} array, {config.special.lanes} special lanes",
        _COLUMNS,
        rows,
        (
            "softmax(Q K^T) V as QLinearMatMul, QLinearSoftmax, QLinearMatMul; Q, K and V are read "
            f"from memory (latency {latency}), K through the transposer, the result is written "
            "back. Every layer is equal to the golden model and to ONNX Runtime, or there is no "
            "table.",
            "A head's products need each other's result through the softmax, so that a single one "
            "leaves the array idle; several are interleaved. The last row is the steady state: "
            "MACs and cycles of the heads by which the two rows before it differ.",
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
    measure = functools.partial(attention, config, latency=arguments.latency)
    measured(parser, config, measure).show(terminal())


if __name__ == "__main__":
    main()
