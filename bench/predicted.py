# SPDX-License-Identifier: Apache-2.0
"""How well cycles are predicted: layer by layer, beside those of the simulated machine."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import onnx

import kiwicha
from kiwicha.bench.table import Table, say, terminal
from kiwicha.errors import KiwichaError
from kiwicha.models.zoo import NETWORKS

__all__ = ["LIMIT", "LONG", "main", "predicted"]

LONG, LIMIT = 1000, 0.02
"""A layer of more than so many cycles is predicted within this share of them."""

_Model = str | onnx.ModelProto


def _layers(name: str, model: _Model, machine: str, samples: int) -> list[dict[str, Any]]:
    """Return a row of plain values for each layer, and one for the run."""
    run = kiwicha.simulate(model, machine=machine, samples=samples)
    assert run.report is not None
    assert run.cycles is not None
    if not run.exact:
        raise KiwichaError(f"{name} on {machine}: {'; '.join(run.verdict)}")
    rows = [(each.name, each.predicted_cycles, each.cycles) for each in run.report.layers]
    return [
        {"network": name, "machine": machine, "layer": layer, "predicted": guess, "cycles": cycles,
         "error": guess / cycles - 1}
        for layer, guess, cycles in [*rows, ("(all)", run.predicted_cycles, run.cycles)]
    ]


def predicted(
    models: Iterable[tuple[str, _Model]], machines: Sequence[str], samples: int = 1
) -> Table:
    """Return the table of the layers above `LONG` cycles, and of whole networks, every bit of which
    is compared as well.

    Parameters
    ----------
    models : names, and what `kiwicha.simulate` takes.
    machines : names of presets.

    Raises
    ------
    KiwichaError
        When a model does not run, or a bit is wrong.
    """
    found: list[dict[str, Any]] = []
    for name, model in models:
        for machine in machines:
            found += _layers(name, model, machine, samples)
            say(f"{name} on {machine}: {found[-1]['error']:+.1%}")
    shown = [each for each in found if each["cycles"] > LONG or each["layer"] == "(all)"]
    wrong = [each for each in shown if abs(each["error"]) > LIMIT]
    return Table(
        "predicted", "Predicted cycles",
        ("network", "machine", "layer", "predicted", "cycles", "error"),
        tuple(
            (each["network"], each["machine"], each["layer"], f"{each['predicted']:,}",
             f"{each['cycles']:,}", f"{each['error']:+.1%}")
            for each in shown
        ),
        (
            f"Layers above {LONG:,} cycles, batch {samples}, a memory latency of 20 cycles.",
            f"{len(wrong)} of {len(shown)} are more than {LIMIT:.0%} off.",
        ),
        tuple(found),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table of what the arguments name; 1 if a prediction is further off than `LIMIT`."""
    parser = argparse.ArgumentParser(prog="python -m kiwicha.bench.predicted", description=__doc__)
    parser.add_argument(
        "models", nargs="+", metavar="MODEL",
        help="a network of the zoo, a model that comes along, or a file",
    )
    parser.add_argument("--preset", action="append", help="machines (default: default)")
    parser.add_argument("--samples", type=int, default=1, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    models: list[tuple[str, _Model]] = [
        (f"zoo {name}", NETWORKS[name].model()) if name in NETWORKS and not Path(name).exists()
        else (Path(name).stem, name)
        for name in arguments.models
    ]
    try:
        table = predicted(models, arguments.preset or ["default"], arguments.samples)
    except (KiwichaError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")
    table.show(terminal())
    long = (each for each in table.values if each["cycles"] > LONG)
    return int(any(abs(each["error"]) > LIMIT for each in long))


if __name__ == "__main__":
    sys.exit(main())
