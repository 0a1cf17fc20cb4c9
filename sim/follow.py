# SPDX-License-Identifier: Apache-2.0
"""The machine follows the model: the machine called default, and what the model needs besides."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from kiwicha.compiler.graph.graph import Graph, Note, SoftmaxNode
from kiwicha.errors import UnfitMachine
from kiwicha.machine.config import NAME_LENGTH, AcceleratorConfig
from kiwicha.machine.fields import changes, with_fields
from kiwicha.machine.modes import RequantizeMode, SoftmaxMode
from kiwicha.machine.presets import PRESETS

__all__ = ["BASE", "additions", "compile_following", "with_arithmetic"]

Compiled = TypeVar("Compiled")

BASE = PRESETS["default"]
"""What a model gets that needs no more."""


def compile_following(
    compiled: Callable[[AcceleratorConfig], Compiled], base: AcceleratorConfig = BASE
) -> Compiled:
    """Return a model, or several, compiled for ``base``, or for it and what the compiler says that
    it lacks.

    Parameters
    ----------
    compiled : compiles the model for a machine.

    Raises
    ------
    KiwichaError
        When there is no such machine; names every node in the way.
    """
    config, added = base, dict[str, Any]()
    while True:
        try:
            return compiled(config)
        except UnfitMachine as error:
            if not error.needs:
                raise
            # Each value is one that the machine has not, and the larger of two: this ends.
            added |= {need.field: need.enough for need in error.needs}
            config = with_fields(base, {**added, "name": _name(base.name, added)})


def with_arithmetic(
    graph: Graph, config: AcceleratorConfig, named: bool
) -> tuple[Graph, AcceleratorConfig]:
    """Return a graph and a machine whose arithmetic is that of the model's own runtime.

    No machine of another rounding could run a TFLite model, and no preset has TFLite's: it follows
    the model, and the graph has a note that says so. A machine of one of TFLite's modes stays as it
    is, as does any for an ONNX model.

    Parameters
    ----------
    named : whether somebody chose the machine.
    """
    if graph.requantize is RequantizeMode.ONNX:
        return graph, config
    fields: dict[str, Any] = {}
    if config.requantize_mode not in (RequantizeMode.TFLITE, RequantizeMode.TFLITE_SINGLE):
        fields["requantize_mode"] = graph.requantize
    softmax = any(isinstance(node, SoftmaxNode) for node in graph.nodes)
    if softmax and config.special.softmax is not SoftmaxMode.TFLITE:
        fields["special.softmax"] = SoftmaxMode.TFLITE
    if not fields:
        return graph, config
    made = with_fields(config, {**fields, "name": _name(config.name, {"tflite": True})})
    if named:
        shown = ", ".join(f"{name} {value.value}" for name, value in fields.items())
        note = Note("machine", f"{config.name} with {shown}: the arithmetic of a TFLite model")
        graph = replace(graph, notes=(*graph.notes, note))
    return graph, made


def _name(base: str, added: Mapping[str, Any]) -> str:
    """Return a name that files may have; it need not tell machines apart."""
    words = "-".join([base, *map(_shown, added.items())])
    return re.sub(r"[^\w]+", "-", words, flags=re.ASCII)[:NAME_LENGTH].rstrip("-")


def additions(config: Mapping[str, Any]) -> str:
    """Return in words what a machine, as plain values, has beyond `BASE`; "" if nothing."""
    return ", ".join(map(_shown, changes(BASE.to_dict(), config).items()))


def _shown(field: tuple[str, Any]) -> str:
    name, value = field
    return name if value is True else f"{name} {value}"
