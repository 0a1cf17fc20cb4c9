# SPDX-License-Identifier: Apache-2.0
"""What is kept of a training behind each epoch, and going on from there."""

import json
import zipfile
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from kiwicha.errors import InputError
from kiwicha.sim.files import write_file
from kiwicha.sim.training.loop import Epoch, Trainer

__all__ = ["checkpoint_path", "resume", "save"]


def checkpoint_path(path: Path, seed: int) -> Path:
    """Return the file of a seed: its number behind the name."""
    return path.with_stem(f"{path.stem}-{seed}")


def _identity(trainer: Trainer) -> dict[str, Any]:
    """What has to be the same to go on; on which machine it is does not matter."""
    plan = asdict(trainer.plan)
    if trainer.plan.optimizer is None:
        del plan["optimizer"]
    # As JSON has it: lists.
    found: dict[str, Any] = json.loads(
        json.dumps({"layers": trainer.task.identity, "plan": plan})
    )
    return found


def save(path: Path, trainer: Trainer, epochs: list[Epoch]) -> None:
    """Write weights and history, whole or not at all."""
    about = {**_identity(trainer), "epochs": [asdict(epoch) for epoch in epochs]}
    made = BytesIO()
    arrays: dict[str, Any] = {"about": np.array(json.dumps(about)), **trainer.learner.kept}
    np.savez_compressed(made, **arrays)
    write_file(path, made.getvalue())


def resume(path: Path, trainer: Trainer) -> list[Epoch]:
    """Give the trainer the weights of a checkpoint, and return the epochs before it.

    Raises
    ------
    InputError
        For a file that is no checkpoint, or one of another network or plan; says what differs.
    """
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            kept = {name: file[name] for name in trainer.learner.kept}
        history = [Epoch(**epoch) for epoch in about["epochs"]]
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such checkpoint") from None
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile):
        raise InputError(f"{path}: not a checkpoint of kiwicha train") from None
    for what, value in _identity(trainer).items():
        if about.get(what) != value:
            raise InputError(f"{path}: has {what} {about.get(what)}; this training has {value}")
    for name, value in trainer.learner.kept.items():
        if kept[name].shape != value.shape or kept[name].dtype != value.dtype:
            raise InputError(f"{path}: '{name}' is {kept[name].dtype} {kept[name].shape}")
    trainer.learner.kept = kept
    return history
