# SPDX-License-Identifier: Apache-2.0
"""Programs: what a model becomes on a machine, and how many cycles it will take."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiwicha.api.machine import MachineLike, find_machine
from kiwicha.api.model import ModelLike, load_model
from kiwicha.compiler.emit import compile as emit
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.prepare import prepare

__all__ = ["CompiledLayer", "CompiledModel", "compile_model", "predict_cycles"]


@dataclass(frozen=True)
class CompiledLayer:
    """A layer of a program, or layers that run side by side, " + " between their names.

    Members
    -------
    x_shape, y_shape : input and output in ONNX order, the batch in front.
    macs : multiply-accumulates, taps in the padding included.
    cycles : predicted; the sum over all layers is that of the program.
    bound_by : what the busiest engine does: "fill" (the array), "read", "requantize", "special" or
        "write".
    bytes_read, bytes_written : over the memory port, whole beats.
    weight_bytes, stored_bytes : of the constant weights, if all were dense and as they are.
    """

    name: str
    op: str
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    macs: int
    cycles: int
    bound_by: str
    bytes_read: int
    bytes_written: int
    weight_bytes: int
    stored_bytes: int


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A program for one machine and one batch.

    Members
    -------
    cycles : predicted, from start to interrupt, with a memory latency of 20 cycles.
    memory_bytes : that the program, its constants and all tensors take, from address 0 on.
    words : uint64, the instructions.
    """

    model: str
    machine: AcceleratorConfig
    layers: tuple[CompiledLayer, ...]
    cycles: int
    memory_bytes: int
    words: NDArray[np.uint64]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def bytes_read(self) -> int:
        """Of all layers."""
        return sum(layer.bytes_read for layer in self.layers)

    @property
    def bytes_written(self) -> int:
        """Of all layers."""
        return sum(layer.bytes_written for layer in self.layers)


def compile_model(
    model: ModelLike, machine: MachineLike = "default", *, samples: int | None = None
) -> CompiledModel:
    """Compile a quantized model; nothing is built or written.

    Parameters
    ----------
    model : path of an ONNX file, ``onnx.ModelProto``, or the name of a model that comes along.
    machine : name of a preset, path of a TOML file, or `AcceleratorConfig`.
    samples : the batch, where the model leaves it open (default: 1).

    Raises
    ------
    ModelError, UnsupportedModel
        For a model that is broken, not quantized, or has nodes that no machine can run.
    ConfigError
        For a machine that there is not.
    KiwichaError
        When a layer does not fit this machine, or the batch not the model; names what is in the
        way.
    """
    loaded, config = load_model(model), find_machine(machine)
    return _described(loaded.name, prepare(loaded.proto, config, samples=samples).compiled)


def predict_cycles(
    model: ModelLike, machine: MachineLike = "default", *, samples: int | None = None
) -> int:
    """Return the cycles that a model will take; parameters and errors as of `compile_model`."""
    return compile_model(model, machine, samples=samples).cycles


def _described(name: str, compiled: emit.CompiledModel) -> CompiledModel:
    return CompiledModel(
        name,
        compiled.config,
        tuple(_layer(layer) for layer in compiled.layers),
        compiled.timeline.total,
        compiled.image.size,
        compiled.words.copy(),
    )


def _layer(layer: emit.Layer) -> CompiledLayer:
    return CompiledLayer(
        name=layer.name,
        op=layer.op,
        x_shape=layer.nodes[0].x.shape,
        y_shape=layer.nodes[-1].y.shape,
        macs=layer.macs,
        cycles=layer.predicted_cycles,
        bound_by=layer.bound_by,
        bytes_read=layer.bytes_read,
        bytes_written=layer.bytes_written,
        weight_bytes=layer.weights.dense_bytes,
        stored_bytes=layer.weights.stored_bytes,
    )
