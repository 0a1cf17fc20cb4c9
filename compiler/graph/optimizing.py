# SPDX-License-Identifier: Apache-2.0
"""A training step whose weights are moved by an optimizer instead of by NITI's difference.

It is made of NITI's step (`compiler.graph.training`, `compiler.graph.tuning`): gradients go to
memory, where UPDATE reads them, and the 32-bit weights of which the int8 ones are copies. Exponents
that nobody needs in NITI's arithmetic are right here: errors have those of loss, weights and
shifts, and slots are taken so that UPDATE finds what a gradient's is.

=====  =======================================================================================
Slot   Has the exponent of
=====  =======================================================================================
0, 1   forward pass: what a layer reads and what it makes, by turns; WG: the layer's input once
       more, a constant or from where it was kept (`KeepNode`), in the slot that it had, and in the
       other WG's result: its input's and its shift
2, 3   the errors, by turns: those that a layer reads in one, those that it makes in the other
=====  =======================================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from kiwicha.compiler.graph.graph import Graph, MoveNode, Node, Value, ViewNode
from kiwicha.compiler.graph.tensor import Tensor
from kiwicha.compiler.graph.training_nodes import CrossEntropyNode, ShiftedNode, ShiftedSumNode
from kiwicha.compiler.graph.update_nodes import KeepNode, UpdateNode, record_of
from kiwicha.errors import KiwichaError
from kiwicha.machine.optimizer import state_bytes
from kiwicha.machine.shifts import ACTIVATION_BITS

__all__ = ["LayerFormat", "Phase", "Units", "loss_exponent", "optimized", "state_of"]

Phase = Literal["step", "begin", "add", "last"]
"""What becomes of gradients: a step; the first of a sum; one more; the last one, and a step."""

_FORWARD = (0, 1, 0)  # NITI's slots 0 to 2 of the forward pass, which never needs more than two
_ERRORS = (2, 3)
_ERROR_UNIT = -7  # of the loss's errors, of one image
_WIDEST = 32  # bytes of a beat: the slots that a LOAD of one overwrites


@dataclass(frozen=True, kw_only=True)
class Units:
    """Exponents that are known before the step runs.

    Members
    -------
    weights : by tensor.
    given : of tensors whose numbers have one always, by name: images, activations of a model.
    passing : what errors are multiplied by, by the name of the node (EB).
    """

    weights: Mapping[str, int]
    given: Mapping[str, int]
    passing: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class LayerFormat:
    """How UPDATE sees a layer's weights.

    Members
    -------
    fields : of UPDATE, for its arithmetic.
    unit : exponent of a gradient's last bit, 23 below its format's; that of int32 sums over
        batches, too.
    """

    fields: Mapping[str, int]
    unit: int


def loss_exponent(batch: int) -> int:
    """Return the exponent of the loss's errors: their mean over the images, or over the greatest
    power of two that is not above their number."""
    return _ERROR_UNIT - (batch.bit_length() - 1)


def state_of(weights: str, count: int, fields: Mapping[str, int], beat: int) -> Tensor:
    """Return where the 32-bit weights and moments of a layer are."""
    size = state_bytes(count, fields["momentum"], fields["root"], beat)
    return Tensor(f"{weights}:state", (size,), np.dtype(np.uint8), np.float32(1), 0)


def optimized(
    graph: Graph, units: Units, formats: Mapping[str, LayerFormat], batch: int, beat: int,
    phase: Phase = "step", batches: int = 1,
) -> Graph:
    """Return the step with UPDATEs.

    Parameters
    ----------
    graph : NITI's step, whose gradients may keep any number of bits.
    formats : by the tensors of weights that change.
    beat : bytes of the memory port.
    batches : of a sum, of which a step follows the mean, or the sum over the greatest power of two
        that is not above their number. Steps of all phases have the same tensors.

    Raises
    ------
    KiwichaError
        For sums of branches; where exponents of more tensors are needed at once than there are
        slots; for a port of more than 256 bits.
    """
    if beat > _WIDEST:
        raise KiwichaError(f"axi_data_width is {8 * beat}; legal with optimizers: 32 to 256")
    for node in graph.nodes:
        if isinstance(node, ShiftedSumNode):
            raise KiwichaError(
                f"{node.name}: branches and biases learn by NITI's step alone; legal: "
                "--optimizer niti"
            )
    maker = _Maker(graph, units, formats, loss_exponent(batch), beat, phase, batches)
    for node in graph.nodes:
        maker.add(node)
    given = [Value(t.name, t.shape, t.dtype) for t in maker.given]
    return replace(graph, nodes=tuple(maker.nodes), inputs=(*graph.inputs, *given))


@dataclass
class _Maker:
    graph: Graph
    units: Units
    formats: Mapping[str, LayerFormat]
    loss: int
    beat: int
    phase: Phase
    batches: int
    nodes: list[Node] = field(default_factory=list)
    given: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.same: dict[str, str] = {}  # tensors that have another's exponent
        self.held: dict[int, str] = {}  # which tensor's exponent a slot has, in the backward pass
        self.kept: dict[str, int] = {}  # in which slot a tensor's exponent was
        self.errors = ""  # of the loss
        self.wanted = {  # what WG reads
            self._root(node.x.name, self._sources()) for node in self.graph.nodes
            if isinstance(node, ShiftedNode) and node.updates is not None
        }

    def _sources(self) -> dict[str, str]:
        return {
            node.y.name: node.x.name if isinstance(node, ViewNode) else node.pieces[0].x.name
            for node in self.graph.nodes if isinstance(node, ViewNode | MoveNode)
        }

    def _root(self, name: str, sources: Mapping[str, str] | None = None) -> str:
        sources = self.same if sources is None else sources
        while name in sources:
            name = sources[name]
        return name

    def add(self, node: Node) -> None:
        """Append what a node becomes."""
        if isinstance(node, ViewNode):
            self.same[node.y.name] = node.x.name
        elif isinstance(node, MoveNode):
            self.same[node.y.name] = node.pieces[0].x.name
        if isinstance(node, CrossEntropyNode):
            self.errors = node.y.name
            node = replace(node, slot=_FORWARD[node.slot])
        if not isinstance(node, ShiftedNode):
            self.nodes.append(node)
        elif not self.errors:
            self._forward(node)
        elif node.updates is None:
            self._error(node)
        else:
            self._gradient(node)

    def _forward(self, node: ShiftedNode) -> None:
        node = replace(node, slot=_FORWARD[node.slot], target=_FORWARD[node.target])
        self.nodes.append(node)
        if node.y.name in self.wanted:
            record = record_of(node.y.name)
            self.nodes.append(KeepNode(
                name=record.name, x=node.y, y=record, slot=node.target
            ))
            self.kept[node.y.name] = node.target

    def _slot(self, node: ShiftedNode, x: Tensor) -> int:
        """Return the slot of an error's exponent."""
        name = self._root(x.name)
        for slot, held in self.held.items():
            if held == name:
                return slot
        raise KiwichaError(
            f"{node.name}: the exponents of more than {len(_ERRORS)} errors are needed at once; "
            "legal: --optimizer niti"
        )

    def _error(self, node: ShiftedNode) -> None:
        """Append EB, with the exponents of what it reads and makes."""
        known, (first, second) = None, _ERRORS
        if self._root(node.x.name) == self.errors:
            known, slot = self.loss, first
        else:
            slot = self._slot(node, node.x)
        target = second if slot == first else first
        self.held = {slot: self._root(node.x.name), target: node.y.name}
        self.nodes.append(replace(
            node, slot=slot, target=target, known=known,
            exponent=self.units.passing.get(node.name, 0),
        ))

    def _gradient(self, node: ShiftedNode) -> None:
        """Append WG, and the UPDATE of its weights."""
        assert node.updates is not None
        weights, error = node.updates, node.operands[1]
        root = self._root(node.x.name)
        known = self.units.given.get(root)
        if known is None and root not in self.kept:
            raise KiwichaError(f"{node.name}: nobody knows the exponent of '{root}'")
        gradient = replace(node.y, name=f"{weights.name}:gradient")
        slot = 0 if known is not None else self.kept[root]
        made = replace(
            node, y=gradient, slot=slot, target=1 - slot, bits=ACTIVATION_BITS, gradient=False,
            updates=None, known=known, record=None if known is not None else record_of(root),
            exponent=0,
        )
        self.nodes.append(made)
        of, mask, constant = [gradient], 1 << made.target, self.loss
        if self._root(error.name) != self.errors:
            mask |= 1 << self._slot(node, error)
            of, constant = [gradient, error], 0
        self._update(node, weights, gradient, {"slots": mask}, tuple(of), constant)

    def _update(
        self, node: ShiftedNode, weights: Tensor, gradient: Tensor, slots: dict[str, int],
        of: tuple[Tensor, ...], constant: int,
    ) -> None:
        form, count = self.formats[weights.name], weights.size
        name, fields = weights.name, {"wide": 0, "accumulate": 0, "begin": 0, **form.fields}
        x, shift = gradient, form.unit - constant
        if self.phase != "step":
            sums = Tensor(f"{name}:sums", (4 * count,), np.dtype(np.uint8), np.float32(1), 0)
            self.given.append(sums)
            added = replace(sums, name=f"{name}:sums:new")
            adding = dict.fromkeys(fields, 0) | {
                "accumulate": 1, "begin": int(self.phase == "begin"),
                "gradient_shift": shift, **slots,
            }
            self.nodes.append(UpdateNode(
                name=f"{name}:sum:UP", op="sum", x=x, y=added, updates=sums, fields=adding,
                count=count, beat=self.beat, exponents=of,
            ))
            x, shift, slots, of = added, self.batches.bit_length() - 1, {"slots": 0}, ()
            fields["wide"] = 1
        state = state_of(name, count, fields, self.beat)
        self.given.append(state)
        self.nodes.append(UpdateNode(
            name=f"{name}:UP", op="update", x=x, y=node.y, updates=weights,
            fields={**fields, "gradient_shift": shift, **slots}, count=count, beat=self.beat,
            exponents=of, state=state, after=replace(state, name=f"{state.name}:new"),
            idle=self.phase in ("begin", "add"),
        ))
