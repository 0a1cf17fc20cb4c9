# SPDX-License-Identifier: Apache-2.0
"""A row of the report, as the compiler knows it."""

from collections.abc import Sequence
from dataclasses import dataclass

from kiwicha.compiler.emit.instruction import Instruction
from kiwicha.compiler.graph.graph import Node, Whole
from kiwicha.compiler.schedule.compress import LayerWeights
from kiwicha.cost.advice import Work
from kiwicha.machine.isa import Engine

__all__ = ["Layer", "work"]

_BUSY_WITH = {
    Engine.COMPUTE: "fill",
    Engine.LOAD: "read",
    Engine.VECTOR: "requantize",
    Engine.SPECIAL: "special",
    Engine.STORE: "write",
}


@dataclass(frozen=True, eq=False)
class Layer:
    """What the report says of a node, or of nodes that run side by side, and where the counter
    record is written.

    Members
    -------
    nodes : one, or those of a chain (`compiler.emit.chains`) or of a whole.
    work : what it is for the engines.
    whole : the operator of the model that they are the steps of.
    dense_cycles : predicted cycles of the same program if no weights were compressed; 0 unless
        the layer has compressed ones and would be bound by reading then.
    """

    nodes: tuple[Node, ...]
    record: int
    predicted_cycles: int
    work: Work
    dense_cycles: int
    bytes_read: int
    bytes_written: int
    weights: LayerWeights
    whole: Whole | None = None

    @property
    def node(self) -> Node:
        """The last of its nodes."""
        return self.nodes[-1]

    @property
    def name(self) -> str:
        """Names of its nodes."""
        if self.whole is not None:
            return self.whole.name
        return " + ".join(node.name for node in self.nodes)

    @property
    def op(self) -> str:
        """Operators of its nodes."""
        if self.whole is not None:
            return self.whole.op
        return " + ".join(node.op for node in self.nodes)

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates, those on padding included."""
        return self.work.macs

    @property
    def bound_cycles(self) -> int:
        """Cycles that the busiest engine needs if it never waits."""
        return self.work.bound_cycles

    @property
    def bound_by(self) -> str:
        """What that engine is busy with."""
        return self.work.bound_by

    @property
    def needed_cycles(self) -> int:
        """What `cost.shares.layer_shares` gives it at least."""
        return self.bound_cycles if self.macs else 0


def work(
    nodes: Sequence[Node], instructions: Sequence[Instruction], *, dense: bool = False
) -> Work:
    """Return what the nodes of a layer are for the engines.

    Parameters
    ----------
    dense : as if no weights were compressed.
    """
    busy = dict.fromkeys(_BUSY_WITH.values(), 0)
    for each in instructions:
        if each.engine == Engine.UPDATE:
            busy["update"] = busy.get("update", 0) + each.cycles
            continue
        busy[_BUSY_WITH[each.engine]] += each.dense_cycles if dense else each.cycles
    most = max(nodes, key=lambda node: node.macs)
    macs = sum(node.macs for node in nodes)
    if not most.macs:
        return Work(busy, macs)
    outputs = most.y.image[1]
    return Work(busy, macs, most.macs // most.y.size, outputs, getattr(most, "groups", 1))
