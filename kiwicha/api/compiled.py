# SPDX-License-Identifier: Apache-2.0
"""Programs: what a model becomes on a machine, and how many cycles it will take."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kiwicha.api.machine import MachineLike, chosen_machine
from kiwicha.api.model import ModelLike, load_model
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.report.prediction import PredictedLayer, Prediction
from kiwicha.sim import export, export_plan
from kiwicha.sim.fallback import check_asked
from kiwicha.sim.files import check_folder
from kiwicha.sim.partition import partition
from kiwicha.sim.predict import predict, predict_plan
from kiwicha.sim.prepare import Asked, Listener, prepare, quiet

__all__ = ["CompiledModel", "compile_model", "predict_cycles", "write_program"]


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A program for one machine and one batch.

    Members
    -------
    words : uint64, the instructions; of all programs, where nodes run on the host in between.
    prediction : what is known before it runs; the members below are of it, and `to_dict` is what
        ``kiwicha sim --predict --report`` writes.
    """

    machine: AcceleratorConfig
    words: NDArray[np.uint64]
    prediction: Prediction

    @property
    def model(self) -> str:
        """The model's name."""
        return self.prediction.model

    @property
    def layers(self) -> tuple[PredictedLayer, ...]:
        """Each with cycles, what bounds it, utilization, bytes and MACs."""
        return self.prediction.layers

    @property
    def cycles(self) -> int:
        """Predicted, from start to interrupt, with a memory latency of 20 cycles."""
        return self.prediction.cycles

    @property
    def memory_bytes(self) -> int:
        """What program, constants and all tensors take, from address 0 on."""
        return self.prediction.memory_bytes

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return self.prediction.macs

    @property
    def utilization(self) -> float:
        """macs / (cycles x rows x columns)."""
        return self.prediction.utilization

    @property
    def bytes_read(self) -> int:
        """Of all layers."""
        return self.prediction.bytes_read

    @property
    def bytes_written(self) -> int:
        """Of all layers."""
        return self.prediction.bytes_written


def compile_model(
    model: ModelLike,
    machine: MachineLike | None = None,
    *,
    samples: int | None = None,
    statistics: Sequence[str] = (),
    blocks: Sequence[str] = (),
    host_fallback: bool = False,
    progress: Listener = quiet,
) -> CompiledModel:
    """Compile a quantized model; nothing is built or written.

    Parameters
    ----------
    model : path of an ONNX file, ``onnx.ModelProto``, or the name of a model that comes along.
    machine : name of a preset, path of a TOML file, or `AcceleratorConfig`; None for the machine
        called default with what the model needs besides.
    samples : the batch, where the model leaves it open (default: 1).
    statistics, blocks, host_fallback, progress : as of `simulate`.

    Raises
    ------
    ModelError, UnsupportedModel
        For a model that is broken, not quantized, or has nodes that no machine can run.
    ConfigError
        For a machine that there is not.
    UnfitMachine
        When a layer needs another machine; names field and value that would do.
    KiwichaError
        When a layer does not fit any, or the batch not the model; names what is in the way.
    """
    loaded, config = load_model(model), chosen_machine(machine)
    if host_fallback:
        check_asked(blocks, statistics)
        plan = partition(loaded.only_onnx("host_fallback"), config, samples, progress)
        words = [one.compiled.words for one in plan.programs] or [np.empty(0, np.uint64)]
        return CompiledModel(plan.config, np.concatenate(words), predict_plan(loaded.name, plan))
    asked = Asked(statistics=statistics, blocks=blocks)
    made = prepare(loaded.proto, config, samples=samples, asked=asked, listener=progress)
    compiled = made.compiled
    return CompiledModel(compiled.config, compiled.words.copy(), predict(loaded.name, made))


def predict_cycles(
    model: ModelLike, machine: MachineLike | None = None, *, samples: int | None = None
) -> int:
    """Return the cycles that a model will take; parameters and errors as of `compile_model`."""
    return compile_model(model, machine, samples=samples).cycles


def write_program(
    model: ModelLike,
    folder: str | Path,
    machine: MachineLike | None = None,
    *,
    samples: int | None = None,
    host_fallback: bool = False,
    c_source: bool = False,
    progress: Listener = quiet,
) -> list[Path]:
    """Compile a model and write it for a driver, to a folder which is made if need be.

    ``program.json`` (the machine and its fingerprint, windows, where inputs and outputs lie and
    what the host does with them, layers), ``program.bin`` (instructions), ``image.bin`` (memory
    from address 0, inputs zero), ``relocations.bin`` (what to add a base to) and, for hosts that
    need arrays, ``host.bin``; with ``c_source`` ``program.h`` and ``program.c``, the same for
    firmware with the C driver. With
    ``host_fallback`` there may be several programs, each in a folder of its own, and ``plan.json``
    says what runs when. All of them, or none. Parameters and errors as of `compile_model`; returns
    the files.

    Raises
    ------
    DestinationError
        For a folder that cannot be written.
    """
    folder = Path(folder)
    check_folder("folder", folder)
    loaded, config = load_model(model), chosen_machine(machine)
    if host_fallback:
        plan = partition(loaded.only_onnx("host_fallback"), config, samples, progress)
        return export_plan.write_plan(loaded.name, plan, folder, c_source=c_source)
    made = prepare(loaded.proto, config, samples=samples, listener=progress)
    return export.write_program(loaded.name, made.compiled, folder, c_source=c_source)
