# SPDX-License-Identifier: Apache-2.0
"""Which parts a machine must have for a node, before it is asked how large they are."""

from collections.abc import Iterable, Mapping

import numpy as np

from kiwicha.compiler.graph.graph import (
    BlocksNode,
    DynamicConvNode,
    DynamicLinearNode,
    DynamicProductNode,
    DynamicRealNode,
    DynamicScaleNode,
    FixedPairNode,
    Node,
    NormalizeNode,
    PairNode,
    ProductNode,
    SoftmaxNode,
    TableNode,
    Whole,
)
from kiwicha.compiler.graph.training_nodes import CrossEntropyNode, TrainingNode
from kiwicha.compiler.graph.update_nodes import UpdateNode
from kiwicha.errors import Need, UnfitMachine
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.modes import RequantizeMode
from kiwicha.machine.scales import FIELDS

__all__ = ["SpecialNode", "require_units"]

SpecialNode = TableNode | PairNode | SoftmaxNode | NormalizeNode
"""What the engine SPECIAL does."""

_DYNAMIC = DynamicLinearNode | DynamicProductNode | DynamicRealNode | DynamicScaleNode
_LANES = 4  # that would do: as many as the machine called default has
_REAL_BYTES = 16384  # that would do


def _missing(node: Node, config: AcceleratorConfig, where: str) -> UnfitMachine | None:
    """Return the refusal of a machine that has not what ``node`` needs; None where it has."""
    linear = node.linear if isinstance(node, BlocksNode) else node
    if isinstance(linear, _DYNAMIC):
        needs = [] if config.dynamic else [Need("dynamic", False, True)]
        what = "is quantized dynamically"
        if _has_reals(linear) and not config.real:
            needs.append(Need("real.bytes", 0, _REAL_BYTES))
            what = "has values in binary32" if config.dynamic else what
        if _has_functions(linear) and not config.real.functions:
            needs.append(Need("real.functions", False, True))
            what = "has functions of binary32 values" if config.dynamic and config.real else what
        size = max(linear.pool[0]) if isinstance(linear, DynamicConvNode) and linear.pool else 0
        if size > config.pooling.window:
            needs.append(Need("pooling.window", config.pooling.window, size))
            what = "pools before it quantizes" if config.dynamic and config.real else what
        if needs:
            return UnfitMachine(f"{where}: {what}", needs)
    if isinstance(node, ProductNode | DynamicProductNode) and not config.transposer:
        return UnfitMachine(f"{where}: multiplies activations", [Need("transposer", False, True)])
    if isinstance(node, TrainingNode) and not config.training:
        return UnfitMachine(f"{where}: is part of a training step", _training(node, config))
    if isinstance(node, UpdateNode) and not config.update:
        lanes = Need("update.lanes", 0, max(1, config.axi_data_width // 64))
        return UnfitMachine(f"{where}: is done by UPDATE", [lanes])
    if isinstance(node, SpecialNode) and not config.special.lanes:
        need = Need("special.lanes", 0, _LANES)
        return UnfitMachine(
            f"{where}: {node.kind} is done by SPECIAL", [need, *_arithmetic(node, config)]
        )
    if needs := _arithmetic(node, config):
        runtime = "ONNX Runtime" if config.fixed_pairs else "LiteRT"
        return UnfitMachine(f"{where}: has the arithmetic of {runtime}", needs)
    return None


def _training(node: Node, config: AcceleratorConfig) -> list[Need]:
    """Return what a machine that learns has and this one has not."""
    classes = node.x.shape[-1] if isinstance(node, CrossEntropyNode) else 1
    most = max(16, 1 << (classes - 1).bit_length())
    needs = [
        Need("special.lanes", config.special.lanes, config.special.lanes or _LANES),
        Need("residual.tables", config.residual.tables, 2),
        Need("transposer", config.transposer, True),
        Need("training.classes", 0, most),
    ]
    return [need for need in needs if need.enough != need.value]


def _has_reals(node: Node) -> bool:
    """Return whether there are binary32 values that more is done to than quantizing them."""
    if isinstance(node, DynamicLinearNode):
        pooled = isinstance(node, DynamicConvNode) and node.pool is not None
        return bool(node.real or pooled or node.slope is not None or node.functions)
    return isinstance(node, DynamicRealNode)


def _has_functions(node: Node) -> bool:
    """Return whether there are bounds of such values, their factors with offsets, or products."""
    if isinstance(node, DynamicLinearNode):
        return bool(node.functions)
    return isinstance(node, DynamicRealNode) and any(
        part.bounds is not None or part.factor is not None for part in node.parts
    )


def _arithmetic(node: Node, config: AcceleratorConfig) -> list[Need]:
    """Return the mode that a node needs and the machine has not."""
    mode, wanted = config.requantize_mode, config.requantize_mode
    fields = np.asarray(getattr(node, "scale64", 0.0)).dtype == FIELDS
    if fields or isinstance(node, FixedPairNode):
        wanted = RequantizeMode.TFLITE
    elif isinstance(node, PairNode) and config.fixed_pairs:
        wanted = RequantizeMode.ONNX
    return [] if mode is wanted else [Need("requantize_mode", mode, wanted)]


def require_units(
    nodes: Iterable[Node], config: AcceleratorConfig, wholes: Mapping[str, Whole] | None = None
) -> None:
    """Refuse a machine that has not what some of ``nodes`` need.

    Parameters
    ----------
    wholes : as of `Graph`; of the steps of one operator a need is said once.

    Raises
    ------
    UnfitMachine
        Names all of these nodes.
    """
    missing: dict[object, UnfitMachine] = {}
    for node in nodes:
        whole = (wholes or {}).get(node.y.name)
        named = node if whole is None else whole
        error = _missing(node, config, f"{named.name} ({named.op})")
        if error is not None:
            key = id(node) if whole is None else (whole, error.needs[0].field)
            missing.setdefault(key, error)
    if missing:
        raise UnfitMachine.together(list(missing.values()))
