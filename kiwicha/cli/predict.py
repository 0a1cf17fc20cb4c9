# SPDX-License-Identifier: Apache-2.0
"""``kiwicha sim --predict``: compiles, and prints what the machine will do, without running it."""

import argparse
from time import perf_counter

from rich.markup import escape

from kiwicha.api.compiled import compile_model
from kiwicha.api.model import load_model
from kiwicha.cli.hardware import machine, print_additions
from kiwicha.cli.reports import print_advice, report_files, report_paths
from kiwicha.errors import InputError, printable
from kiwicha.report.host import host_tables
from kiwicha.report.tables import prediction_tables
from kiwicha.report.terminal import output_console
from kiwicha.sim.files import check_destinations, write_files
from kiwicha.sim.progress import Progress
from kiwicha.sim.shipped import find_model

__all__ = ["run_predict"]

_LATENCY = 20  # of the memory that predictions reckon with


def run_predict(args: argparse.Namespace) -> int:
    """Predict a run; returns 0.

    Raises
    ------
    KiwichaError
        For a model that does not fit, or an option that only a run can follow.
    """
    _check(args)
    files, config = find_model(args.model), machine(args)
    read = [path for path in (files.path, args.config) if path is not None]
    check_destinations(report_paths(args.report), {}, read)
    start = perf_counter()
    with Progress() as progress:
        compiled = compile_model(
            load_model(args.model, dict(args.dim)), config, samples=args.samples,
            statistics=args.statistics, blocks=args.blocks, host_fallback=args.host_fallback,
            progress=progress,
        )
    seconds, prediction = perf_counter() - start, compiled.prediction
    if args.report is not None:
        write_files(report_files(prediction, args.report))
    console = output_console()
    if config is None:
        print_additions(prediction.config, console)
    for table in prediction_tables(prediction, console):
        console.print(table)
    for table in host_tables(prediction.host, console):
        console.print(table)
    for note in prediction.notes:
        text = f"{printable(note['node'])}: {printable(note['text'])}"
        console.print(escape(text), soft_wrap=True)
    print_advice(prediction, console)
    console.print(prediction.spent, soft_wrap=True, highlight=False)
    console.print(
        f"{prediction.cycles:,} cycles predicted in {seconds:.1f} s (memory latency {_LATENCY}, "
        f"{prediction.memory_bytes:,} bytes of memory); nothing was run",
        soft_wrap=True,
    )
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raise InputError for options that a prediction cannot follow."""
    for option in ("input", "waves", "outputs"):
        if getattr(args, option) is not None:
            hint = "; --samples sets the batch" if option == "input" else ""
            raise InputError(f"--{option}: --predict runs nothing{hint}")
    if (args.latency, args.stall) != (_LATENCY, 0):
        raise InputError(
            f"--latency {args.latency} --stall {args.stall}: --predict reckons with a latency of "
            f"{_LATENCY} and no stalls"
        )
