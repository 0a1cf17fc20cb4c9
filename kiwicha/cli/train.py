# SPDX-License-Identifier: Apache-2.0
"""The command ``kiwicha train``: a network learns on the simulated machine."""

import argparse
import json
from collections.abc import Callable

from kiwicha.cli.hardware import configuration
from kiwicha.errors import InputError
from kiwicha.report.terminal import output_console
from kiwicha.report.training import TrainingReport, curve, phase_table, traffic_table
from kiwicha.sim.files import check_destinations, write_files
from kiwicha.sim.progress import Progress
from kiwicha.sim.scratch import temporary_files
from kiwicha.sim.training.digits import HIDDEN, digits
from kiwicha.sim.training.loop import Difference, Trainer
from kiwicha.sim.training.plan import Plan, random_network
from kiwicha.sim.training.run import train

__all__ = ["run_train"]

_PICTURES = (".png", ".svg")


def run_train(args: argparse.Namespace) -> int:
    """Train, compare every step, print the tables; returns 0, or 1 where a byte differs.

    Raises
    ------
    KiwichaError
        For bad input, before anything is built or written.
    SimulatorError, MachineStopped
        When the simulation cannot be built or breaks, or the machine reports an error.
    """
    args.preset = args.preset or (None if args.config else "training")
    config = configuration(args)
    if args.resume and args.checkpoint is None:
        raise InputError("--resume: goes on from a file that --checkpoint names")
    plots = {f"--plot {path}": path for path in args.plot}
    check_destinations(
        {"--report": args.report, "--checkpoint": args.checkpoint, **plots},
        {"--report": (".json",), "--checkpoint": (".npz",), **dict.fromkeys(plots, _PICTURES)},
        [path for path in (args.config,) if path is not None],
    )
    if args.plot:
        curve((), "png")  # says what is missing, if anything is
    data = digits()
    sizes = (data.images.shape[1], *(args.hidden or HIDDEN), data.classes)
    trainers = []
    for seed in range(args.seed, args.seed + args.seeds):
        plan = Plan(args.batch, args.epochs, tuple(args.bits), seed)
        task = random_network("digits", sizes, seed)
        trainers.append(Trainer(task, config, plan, data))
    console = output_console()
    try:
        with temporary_files(), Progress() as progress:
            report = train(trainers, progress, args.checkpoint, args.resume)
    except Difference as error:
        console.print(str(error), soft_wrap=True, highlight=False, markup=False)
        return 1
    files = {path: curve(report.runs, path.suffix[1:]) for path in args.plot}
    if args.report is not None:
        files[args.report] = (json.dumps(report.to_dict(), indent=2) + "\n").encode()
    write_files(files)
    for table in (phase_table(report), traffic_table(report)):
        console.print(table)
    _say(report, lambda text: console.print(text, soft_wrap=True, highlight=False))
    return 0


def _say(report: TrainingReport, tell: Callable[[str], None]) -> None:
    for run in report.runs:
        tell(
            f"seed {run.seed}: loss {run.loss[0]:.3f} to {run.loss[-1]:.3f}, "
            f"{100 * run.accuracy[-1]:.1f} % of {report.held_out} held-out images, "
            f"{run.steps:,} steps, {run.cycles:,} cycles, {run.saturated[-1]} weights at a bound"
        )
    steps = sum(run.steps for run in report.runs)
    tell(
        f"held-out images right, mean: {100 * report.accuracy:.2f} %; every byte of {steps:,} "
        f"steps equal to the golden model; {report.seconds:.0f} s"
    )
