# SPDX-License-Identifier: Apache-2.0
"""Options of ``kiwicha train`` that take weights away half-way."""

import argparse
from typing import TYPE_CHECKING

from kiwicha.errors import InputError

if TYPE_CHECKING:  # what trains is imported when something is trained
    from kiwicha.machine.config import AcceleratorConfig
    from kiwicha.sim.training.loop import Trainer
    from kiwicha.sim.training.plan import Data, Plan
    from kiwicha.sim.training.task import NetworkTask

__all__ = ["pruned_if_asked", "pruning_options"]


def pruning_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--prune", metavar="FRACTION", type=float,
        help="of the digits: half-way, take away the filters of the least L2 norm, or single "
        "weights (--prune-groups weights), in each layer",
    )
    parser.add_argument(
        "--prune-at", metavar="EPOCH", type=int,
        help="epochs before that (default: half of them)",
    )
    parser.add_argument(
        "--prune-groups", choices=("filters", "weights"), help="what goes (default: filters)"
    )


def pruned_if_asked(
    args: argparse.Namespace, task: "NetworkTask", config: "AcceleratorConfig", plan: "Plan",
    data: "Data",
) -> "Trainer":
    """Return a training, which prunes if it is asked for.

    Raises
    ------
    KiwichaError
        For options that do not go together, or as `sim.training.pruning.PrunedTrainer`.
    """
    from kiwicha.sim.training.loop import Trainer
    from kiwicha.sim.training.pruning import PrunedTrainer, Pruning

    if args.prune is None:
        for option in ("prune_at", "prune_groups"):
            if getattr(args, option) is not None:
                raise InputError(f"--{option.replace('_', '-')}: only with --prune FRACTION")
        return Trainer(task, config, plan, data)
    at = plan.epochs // 2 if args.prune_at is None else args.prune_at
    return PrunedTrainer(
        task, config, plan, data, Pruning(args.prune, at, args.prune_groups or "filters")
    )
