# SPDX-License-Identifier: Apache-2.0
"""The zoo's networks on the simulated machine: cycles, bytes, how well they were predicted.

Every run is compared with ONNX Runtime, every bit of every layer as it promises.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

import kiwicha
from kiwicha.bench.page import write_tables
from kiwicha.bench.table import Table, say, terminal
from kiwicha.bench.zoo_dynamic import dynamic_zoo
from kiwicha.errors import KiwichaError
from kiwicha.models.quantize import DEFAULT
from kiwicha.models.zoo import FULL, NETWORKS, ZooNetwork

__all__ = ["main", "zoo"]

OUT, PAGE = Path("build/zoo"), Path("docs/zoo.md")
LONG = 1000  #: cycles of a layer whose prediction is judged

_COLUMNS = (
    "network", "input", "weights", "MMAC", "kB read", "kB written", "cycles predicted",
    "cycles", "worst layer", "MAC in use", "is",
)


def _weights(model: onnx.ModelProto) -> int:
    """Elements of the integer constants of more than one dimension."""
    arrays = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer)
    return sum(array.size for array in arrays if array.dtype.itemsize == 1 and array.ndim > 1)


def _measured(network: ZooNetwork, samples: int, predict: bool) -> dict[str, Any]:
    """Return one network's figures as plain values."""
    model = network.model()
    found: dict[str, Any] = {
        "network": network.name, "shape": [samples, *network.shape], "weights": _weights(model),
    }
    try:
        made = kiwicha.compile_model(model, samples=samples)
    except KiwichaError as error:
        return found | {"refused": str(error)}
    found |= {
        "macs": made.macs, "predicted": made.cycles,
        "read": made.bytes_read, "written": made.bytes_written,
        "machine": made.machine.name, "pes": made.machine.rows * made.machine.columns,
    }
    if predict:
        return found
    run = kiwicha.simulate(model, {"x": network.inputs(samples, 1)}, made.machine)
    assert run.report is not None
    errors = [
        layer.predicted_cycles / layer.cycles - 1
        for layer in run.report.layers if layer.cycles > LONG
    ]
    return found | {
        "cycles": run.cycles, "worst": max(errors, key=abs, default=0.0),
        "verdict": list(run.verdict), "seconds": run.report.seconds,
    }


def _row(found: dict[str, Any]) -> tuple[str, ...]:
    head = (found["network"], "x".join(map(str, found["shape"])), f"{found['weights']:,}")
    if "refused" in found:
        return (*head, *("-" for _ in _COLUMNS[3:-1]), "refused")
    cycles = found.get("cycles")
    used = found["macs"] / found["pes"] / (cycles or found["predicted"])
    verdict = "wrong" if found.get("verdict") else "exact" if cycles else "predicted"
    return (
        *head, f"{found['macs'] / 1e6:,.1f}", f"{found['read'] / 1e3:,.0f}",
        f"{found['written'] / 1e3:,.0f}", f"{found['predicted']:,}",
        f"{cycles:,}" if cycles else "-", f"{found['worst']:+.1%}" if cycles else "-",
        f"{used:.1%}", verdict,
    )


def zoo(networks: Iterable[ZooNetwork], samples: int, predict: bool, name: str = "zoo") -> Table:
    """Return the table of some networks, each on ``default`` with what it needs besides."""
    values = []
    for network in networks:
        values.append(_measured(network, samples, predict))
        say(" | ".join(_row(values[-1])))
    said = [
        f"{each['network']}: {each.get('refused') or '; '.join(each['verdict'])}".replace("\n", " ")
        for each in values if "refused" in each or each.get("verdict")
    ]
    how = (
        f"Weights are random; quantized by ONNX Runtime ({DEFAULT.name}); the machine is `default` "
        "with what the network needs besides (16x16 multipliers).",
        f"Worst layer: predicted to simulated cycles, of the layers above {LONG:,} cycles.",
        "Exact: every bit of every layer is as it promises, by ONNX Runtime on the same inputs.",
    )
    title = "Networks of the zoo" if name == "zoo" else "Networks as published"
    return Table(
        name, title, _COLUMNS, tuple(map(_row, values)), (*how, *said), tuple(values)
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments name, print and write the table; 1 if a bit is wrong."""
    parser = argparse.ArgumentParser(prog="python -m kiwicha.bench.zoo", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NETWORK", help="default: all")
    parser.add_argument("--full", action="store_true", help="as published, not small")
    parser.add_argument("--predict", action="store_true", help="compile and predict only")
    parser.add_argument("--dynamic", action="store_true", help="by quantize_dynamic; golden")
    parser.add_argument("--samples", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE}, too")
    arguments = parser.parse_args(argv)
    known = FULL if arguments.full else NETWORKS
    for name in arguments.names:
        if name not in known:
            parser.error(f"there is no '{name}'; networks: {', '.join(known)}")
    chosen = [known[name] for name in arguments.names or known]
    name = "zoo-full" if arguments.full else "zoo"
    if arguments.dynamic:
        table = dynamic_zoo(chosen, arguments.samples)
    else:
        table = zoo(chosen, arguments.samples, arguments.predict, name)
    table.show(terminal())
    write_tables([table], OUT, page=PAGE if arguments.write else None)
    return int(any(value.get("verdict") or value.get("wrong") for value in table.values))


if __name__ == "__main__":
    sys.exit(main())
