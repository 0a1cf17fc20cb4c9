# SPDX-License-Identifier: Apache-2.0
"""The MLPerf Tiny networks, TFLite files as published, on the simulated machine at two sizes.

Every run is compared with LiteRT's reference kernels, every bit of every layer, on random inputs
and on extreme ones. Beside the cycles stands what Vela estimates for an Ethos-U55-64, which has the
multipliers of the smaller machine: asked in the same run where it is installed (extra ``vela``),
else as version 5.2.0 said. The files are not part of Kiwicha: `FOLDER` of the
checkout, or ``KIWICHA_MLPERF_TINY``, says where they are.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kiwicha
from kiwicha.bench.options import with_also
from kiwicha.bench.page import write_tables
from kiwicha.bench.placed import frequencies
from kiwicha.bench.synthesis import design, netlist_digest
from kiwicha.bench.table import Table, say, terminal
from kiwicha.bench.tiny_peers import TITLES, Published, published_table
from kiwicha.bench.vela import find_vela, run_vela
from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.source import lower_source
from kiwicha.compiler.graph.graph import Value
from kiwicha.machine.presets import PRESETS
from kiwicha.places import checkout
from kiwicha.report.report import Report

__all__ = [
    "FOLDER", "MACHINES", "NETWORKS", "VARIABLE", "TinyNetwork", "extreme_inputs", "files_folder",
    "kernels", "main", "tiny_table",
]

FOLDER, VARIABLE = "../shared/data/mlperf-tiny", "KIWICHA_MLPERF_TINY"
OUT, PAGE = Path("build/mlperf-tiny"), Path("docs/tflite.md")
_KNOWN = "5.2.0, as it said in November 2026"


@dataclass(frozen=True)
class TinyNetwork:
    """A network of MLPerf Tiny.

    Members
    -------
    file : its name in mlcommons/tiny.
    vela : cycles that Vela 5.2.0 estimated on an Ethos-U55-64.
    """

    name: str
    file: str
    vela: int

    @property
    def path(self) -> Path | None:
        """Of the file; None where it is not there."""
        folder = files_folder()
        path = None if folder is None else folder / self.file
        return path if path is not None and path.is_file() else None


NETWORKS = {
    network.name: network
    for network in (
        TinyNetwork("resnet8", "pretrainedResnet_quant.tflite", 358_129),
        TinyNetwork("mobilenet", "vww_96_int8.tflite", 359_674),
        TinyNetwork("ds-cnn", "kws_ref_model.tflite", 140_093),
        TinyNetwork("autoencoder", "ad01_int8.tflite", 201_184),
        TinyNetwork("wake-word", "str_ww_ref_model.tflite", 61_945),
    )
}


_PRESETS = {"8x8": "ecp5-8x8", "8x8 full": "ecp5-8x8-full", "16x16": "default"}
MACHINES = {size: with_also(PRESETS[name], "tflite") for size, name in _PRESETS.items()}


def files_folder() -> Path | None:
    """Return the folder of the files, None where there is none."""
    given = os.environ.get(VARIABLE)
    above = checkout()
    folder = Path(given) if given else None if above is None else above / FOLDER
    return folder if folder is not None and folder.is_dir() else None


def extreme_inputs(values: Sequence[Value]) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield inputs that no random ones are like: all lowest, all highest, and by turns."""
    for kind in range(3):
        made: dict[str, NDArray[Any]] = {}
        for value in values:
            info = np.iinfo(value.dtype)
            turn = np.arange(int(np.prod(value.shape))).reshape(value.shape) % 2
            codes = (info.min, info.max, np.where(turn, info.min, info.max))[kind]
            made[value.name] = np.broadcast_to(codes, value.shape).astype(value.dtype)
        yield made


def _inputs(path: Path) -> Iterator[dict[str, NDArray[Any]]]:
    values = lower_source(kiwicha.load_model(path).proto).inputs
    yield random_inputs(values, 1)
    yield from extreme_inputs(values)


def _measured(network: TinyNetwork, path: Path, predict: bool) -> dict[str, Any]:
    """Return one network's figures as plain values."""
    vela = None if find_vela() is None else run_vela(path)
    found: dict[str, Any] = {
        "network": network.name, "vela": network.vela if vela is None else vela.cycles,
        "vela_version": _KNOWN if vela is None else f"{vela.version}, run beside", "machines": {},
    }
    for size, machine in MACHINES.items():
        made = kiwicha.compile_model(path, machine)
        one: dict[str, Any] = {"predicted": made.cycles, "verdict": []}
        found |= {"macs": made.macs}
        for inputs in () if predict else _inputs(path):
            run = kiwicha.simulate(path, inputs, machine)
            assert run.report is not None
            one["cycles"] = run.cycles
            one["verdict"] += run.verdict
            one["whole"] = run.report.reference["whole"]
            one.setdefault("kernels", kernels(run.report))
        found["machines"][size] = one
    return found


def kernels(report: Report) -> str:
    """Return what a report says of LiteRT's optimized kernels, "" if nothing."""
    return next((note["text"] for note in report.notes if note["node"] == "LiteRT"), "")


def _row(found: dict[str, Any]) -> tuple[str, ...]:
    sizes = found["machines"].values()
    ran = [one for one in sizes if "cycles" in one]
    cycles = [one.get(key) for one in sizes for key in ("predicted", "cycles")]
    wrong = any(one["verdict"] or not one["whole"] for one in ran)
    return (
        found["network"], f"{found['macs']:,}",
        *("-" if figure is None else f"{figure:,}" for figure in cycles),
        f"{found['vela']:,}", ("no" if wrong else "yes") if ran else "-",
    )


def tiny_table(networks: Sequence[TinyNetwork], predict: bool) -> Table:
    """Return the table of the networks whose files are there.

    Parameters
    ----------
    predict : compile only; else every bit of every layer is compared with LiteRT as well.
    """
    cycles = [f"{size} {what}" for size in MACHINES for what in ("predicted", "RTL")]
    columns = ("network", "MACs", *cycles, "Vela, U55-64", "bits equal LiteRT")
    values = []
    for network in networks:
        path = network.path
        if path is None:
            say(f"{network.name}: skipped, {network.file} is not there")
            continue
        values.append(_measured(network, path, predict))
        say(" | ".join(_row(values[-1])))
    said = [
        f"{each['network']}, {size}: {text}"
        for each in values for size, one in each["machines"].items() for text in one["verdict"]
    ]
    first = next(iter(MACHINES))
    said += [
        f"{each['network']}: LiteRT, {text.split(';')[0]}"
        for each in values if (text := each["machines"][first].get("kernels"))
    ]
    how = (
        "Cycles at batch 1, everything loaded from and stored to memory, 20 cycles of latency. "
        "Machines: " + "; ".join(
            f"{size}: {machine.name}, {machine.special.lanes} special lanes, "
            f"{machine.axi_data_width}-bit port" for size, machine in MACHINES.items()
        ) + ".",
        "Nothing was simulated, no bits compared." if predict else
        "Bits: every layer and output, random inputs, all lowest, all highest, by turns.",
        *(f"Vela {version}." for version in {each["vela_version"]: 0 for each in values}),
    )
    title = "MLPerf Tiny, TFLite files as published"
    return Table(
        "mlperf-tiny", title, columns, tuple(map(_row, values)), (*how, *said), tuple(values)
    )


def _beside(values: Sequence[dict[str, Any]]) -> Table:
    """Return the table of published results, below ours at the clock after place and route."""
    ours, how, known = [], list[str](), frequencies()
    for size, machine in MACHINES.items():
        # Of the machine itself if it was placed and routed, else of its preset, and it says so.
        name = machine.name if machine.name in known else _PRESETS[size]
        if (placed := known.get(name)) is None:
            continue
        kilocycles, ran = dict[str, tuple[float, float]](), "simulated"
        for each in values:
            one = each["machines"][size]
            ran = ran if "cycles" in one else "predicted"
            kilo = one.get("cycles", one["predicted"]) / 1000
            kilocycles[TITLES[each["network"]]] = (kilo, kilo)
        of = machine if name == machine.name else PRESETS[name]
        whose = "its own" if of is machine else f"{name}'s"
        title = f"Kiwicha {machine.name}"
        ours.append(Published(title, placed.fmax, kilocycles, f"{ran}, {whose} clock"))
        now = netlist_digest(design(of, "machine", "ecp5"), "ecp5")
        seeds = ", ".join(f"{mhz:g}" for mhz in placed.seeds.values())
        how.append(
            f"Clock of {name} on an ECP5-85F: {placed.lut_eq:,} LUT-eq, after routing by nextpnr "
            f"{placed.tool} ({placed.part}), the median of {seeds} MHz, {placed.date}"
            f"{'' if now == placed.digest else '; its Verilog has changed since'}"
            f"{'' if of is machine else f'. Lanes and arithmetic of {machine.name} not in it'}. "
            f"Memory: a {machine.axi_data_width}-bit port at the same clock, 20 cycles of latency, "
            "from and to which everything goes; what is on chip is the machine's own."
        )
    return published_table(ours, how)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the networks that the arguments name, print and write the table; 1 if a bit is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m kiwicha.bench.mlperf_tiny", description=__doc__
    )
    parser.add_argument("names", nargs="*", metavar="NETWORK", help="default: all")
    parser.add_argument("--predict", action="store_true", help="compile and predict only")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE}, too")
    arguments = parser.parse_args(argv)
    for name in arguments.names:
        if name not in NETWORKS:
            parser.error(f"there is no '{name}'; networks: {', '.join(NETWORKS)}")
    if files_folder() is None:
        say(f"skipped: the files are not in {FOLDER}; {VARIABLE}=DIR says where they are")
        return 0
    chosen = [NETWORKS[name] for name in arguments.names or NETWORKS]
    table = tiny_table(chosen, arguments.predict)
    tables = [table, _beside(table.values)]
    for each in tables:
        each.show(terminal())
    write_tables(tables, OUT, page=PAGE if arguments.write else None)
    return int(any(one["verdict"] for each in table.values for one in each["machines"].values()))


if __name__ == "__main__":
    sys.exit(main())
