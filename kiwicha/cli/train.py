# SPDX-License-Identifier: Apache-2.0
"""The command ``kiwicha train``: a network learns on the simulated machine."""

import argparse
import json
from collections.abc import Callable

from kiwicha.api.model import load_model
from kiwicha.cli.hardware import configuration
from kiwicha.cli.pruning import pruned_if_asked
from kiwicha.compiler.frontend.inputs import load_inputs
from kiwicha.errors import InputError
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.optimizer import OPTIMIZERS
from kiwicha.report.terminal import output_console
from kiwicha.report.training import TrainingReport, curve, phase_table, traffic_table
from kiwicha.sim.files import check_destinations, write_files
from kiwicha.sim.progress import Progress
from kiwicha.sim.scratch import temporary_files
from kiwicha.sim.training.digits import HIDDEN, LENET5, digits, large_digits, small_images
from kiwicha.sim.training.loop import Difference, Trainer
from kiwicha.sim.training.model_task import ModelTask
from kiwicha.sim.training.optimizer import NITI, RATES, ROOM, Optimizer
from kiwicha.sim.training.plan import Plan, random_network, random_weights
from kiwicha.sim.training.pruning import PrunedTrainer
from kiwicha.sim.training.run import train
from kiwicha.sim.training.tiny import DIGITS_DSCNN, DIGITS_RESNET8

__all__ = ["run_train"]

DIGITS = "digits"
_IMAGES = {
    "digits-lenet5": (LENET5, large_digits),
    "digits-resnet8": (DIGITS_RESNET8, small_images),
    "digits-dscnn": (DIGITS_DSCNN, small_images),
}
"""What learns from random weights: besides that, networks of images."""

_BITS = (5, 4, 3, 2)
_FILTERED = "digits-dscnn"
_NAMES = ", ".join(OPTIMIZERS)
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
    optimizer = _optimizer(args)
    config = _machine(args, optimizer)
    if args.resume and args.checkpoint is None:
        raise InputError("--resume: goes on from a file that --checkpoint names")
    plots = {f"--plot {path}": path for path in args.plot}
    check_destinations(
        {"--report": args.report, "--checkpoint": args.checkpoint, "--out": args.out, **plots},
        {
            "--report": (".json",), "--checkpoint": (".npz",), "--out": (".onnx",),
            **dict.fromkeys(plots, _PICTURES),
        },
        [path for path in (args.config, args.data) if path is not None],
    )
    if args.plot:
        curve((), "png")  # says what is missing, if anything is
    ours = args.model in (DIGITS, *_IMAGES)
    plans = _plans(args, optimizer)
    trainers = _of_digits(args, config, plans) if ours else _of_model(args, config, plans)
    before = [each.accuracy() for each in trainers]
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
    task = trainers[0].task
    if args.out is not None and isinstance(task, ModelTask):
        files[args.out] = task.tuned(trainers[0].weights).SerializeToString()
    write_files(files)
    for table in (phase_table(report), traffic_table(report)):
        console.print(table)
    _say(report, before, lambda text: console.print(text, soft_wrap=True, highlight=False))
    for each in trainers:
        if isinstance(each, PrunedTrainer):
            console.print(each.pruned, soft_wrap=True, highlight=False)
    return 0


def _optimizer(args: argparse.Namespace) -> Optimizer | None:
    """Return what moves the weights; None for NITI's difference."""
    others = {name: getattr(args, name) for name in ("rate", "decay", "accumulate")}
    if args.optimizer == NITI:
        if named := [name for name, value in others.items() if value is not None]:
            raise InputError(f"--{named[0]}: NITI's rate is --bits; legal with: {_NAMES}")
        return None
    if args.bits is not None:
        raise InputError(f"--bits: only with --optimizer {NITI}; {args.optimizer} has --rate")
    return Optimizer(
        name=args.optimizer, rates=tuple(args.rate or [RATES.get(args.optimizer, 0.0)]),
        decay=args.decay or 0.0, accumulate=args.accumulate or 1,
    )


def _machine(args: argparse.Namespace, optimizer: Optimizer | None) -> AcceleratorConfig:
    """Return the machine; one that nobody named has what network and optimizer need."""
    named = args.preset or args.config
    args.preset = args.preset or (None if args.config else "training")
    config = configuration(args)
    if not named and args.model == _FILTERED:
        # Without, each channel is a work of its own, and a step takes forty times the cycles.
        config = config.replace(name=f"{config.name}-depthwise", depthwise=True)
    if not named and optimizer is not None:
        lanes = config.axi_data_width // 64
        config = config.replace(name=f"{config.name}-update", update={"lanes": lanes})
    return config


def _plans(args: argparse.Namespace, optimizer: Optimizer | None) -> list[Plan]:
    return [
        Plan(args.batch, args.epochs, tuple(args.bits or _BITS), seed, optimizer)
        for seed in range(args.seed, args.seed + args.seeds)
    ]


def _of_digits(
    args: argparse.Namespace, config: AcceleratorConfig, plans: list[Plan]
) -> list[Trainer]:
    """Return trainings from random weights."""
    for option in ("data", "layers", "out"):
        if getattr(args, option) is not None:
            raise InputError(f"--{option}: only with an ONNX model; {args.model} has its own")
    room = 0 if args.optimizer == NITI else ROOM
    if args.model in _IMAGES:
        if args.hidden is not None:
            raise InputError(f"--hidden: only with {DIGITS}; {args.model} has layers of its own")
        layers, given = _IMAGES[args.model]
        data = given()
        shape = data.images.shape[1:]
        return [
            pruned_if_asked(
                args, random_weights(args.model, shape, layers, plan.seed, room), config, plan, data
            )
            for plan in plans
        ]
    data = digits()
    sizes = (data.images.shape[1], *(args.hidden or HIDDEN), data.classes)
    return [
        pruned_if_asked(args, random_network(DIGITS, sizes, plan.seed, room), config, plan, data)
        for plan in plans
    ]


def _of_model(
    args: argparse.Namespace, config: AcceleratorConfig, plans: list[Plan]
) -> list[Trainer]:
    """Return trainings of layers of a model."""
    if args.data is None:
        raise InputError("--data: names a file with images and labels, which a model needs")
    if args.hidden is not None:
        raise InputError(f"--hidden: only with {DIGITS}; a model has layers of its own")
    for option in ("prune", "prune_at", "prune_groups"):
        if getattr(args, option) is not None:
            raise InputError(
                f"--{option.replace('_', '-')}: only with digits, whose layers are ours; a model "
                "keeps its own"
            )
    if args.out is not None and args.seeds > 1:
        raise InputError("--out: one model, and so one of --seeds")
    model = load_model(args.model)
    task = ModelTask(model.name, model.only_onnx("train"), args.layers or ["last"])
    data = task.data(load_inputs(args.data), str(args.data))
    return [Trainer(task, config, plan, data) for plan in plans]


def _say(report: TrainingReport, before: list[float], tell: Callable[[str], None]) -> None:
    for run, share in zip(report.runs, before, strict=True):
        tell(
            f"seed {run.seed}: loss {run.loss[0]:.3f} to {run.loss[-1]:.3f}, "
            f"{100 * share:.1f} to {100 * run.accuracy[-1]:.1f} % of {report.held_out} held-out "
            f"images, {run.steps:,} steps, {run.cycles:,} cycles, {run.saturated[-1]} weights at "
            f"a bound, {sum(run.overflows):,} saturated in steps"
        )
    steps = sum(run.steps for run in report.runs)
    tell(
        f"held-out images right, mean: {100 * report.accuracy:.2f} %; every byte of {steps:,} "
        f"steps equal to the golden model; {report.seconds:.0f} s"
    )
