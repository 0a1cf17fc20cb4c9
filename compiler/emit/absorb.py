# SPDX-License-Identifier: Apache-2.0
"""Copies that need not be made: parts read where they lie in the whole, and operands of a
concatenation written where they lie in its result."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kiwicha.compiler.graph.graph import (
    Box,
    Graph,
    MoveNode,
    Node,
    Note,
    Piece,
    ProductNode,
    Tensor,
    ViewNode,
)
from kiwicha.compiler.schedule.average import window_contractions
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.estimate import run_cycles
from kiwicha.compiler.schedule.mapping import conv_contractions, matmul_contractions
from kiwicha.compiler.schedule.nest import places_of
from kiwicha.compiler.schedule.product import product_contractions
from kiwicha.compiler.schedule.search import fits
from kiwicha.compiler.schedule.within import Within, placed, within
from kiwicha.errors import KiwichaError
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["Absorbed", "absorb"]

_MAKERS: dict[str, Callable[[Any, Mapping[str, int], AcceleratorConfig], list[Contraction]]] = {
    "conv": conv_contractions, "matmul": matmul_contractions, "pool": window_contractions,
    "product": product_contractions,
}
_SPECIAL = ("table", "add", "softmax", "normalize")


@dataclass
class Absorbed:
    """What lies inside something else.

    Members
    -------
    within : by name; views of a tensor are where it is.
    nodes : names of the nodes of which nothing is left to do.
    pieces : what need not be copied of others.
    notes : for the report.
    """

    within: dict[str, Within] = field(default_factory=dict)
    nodes: set[str] = field(default_factory=set)
    pieces: set[Piece] = field(default_factory=set)
    notes: list[Note] = field(default_factory=list)

    def left(self, parts: Sequence[tuple[Node, ...]]) -> list[tuple[Node, ...]]:
        """Return layers without the nodes of which nothing is left to do."""
        kept = (tuple(node for node in part if node.name not in self.nodes) for part in parts)
        return [part for part in kept if part]


def absorb(
    graph: Graph, config: AcceleratorConfig, chained: Collection[str], counted: Collection[str]
) -> Absorbed:
    """Return which tensors of a graph lie inside others.

    Parameters
    ----------
    chained : names of nodes that run side by side with others.
    counted : names of nodes whose results are counted.
    """
    return _Absorber(graph, config, {*chained}, {*counted}).run()


class _Absorber:
    def __init__(
        self, graph: Graph, config: AcceleratorConfig, chained: set[str], counted: set[str]
    ) -> None:
        self.graph, self.config, self.chained, self.counted = graph, config, chained, counted
        self.done = Absorbed()
        self.root: dict[str, str] = {}
        self.readers: dict[str, list[Node]] = defaultdict(list)
        self.makers: dict[str, Node] = {}
        for node in graph.nodes:
            if isinstance(node, ViewNode) and node.is_whole:
                self.root[node.y.name] = self._root(node.x)
                continue
            self.makers.update((tensor.name, node) for tensor in node.results)
            for tensor in node.inputs:
                self.readers[self._root(tensor)].append(node)
        self.kept = {self._root(tensor) for tensor in graph.output_tensors}

    def run(self) -> Absorbed:
        """Parts first: what reads them may be a concatenation."""
        moves = [
            node for node in self.graph.nodes
            if isinstance(node, MoveNode) and node.name not in self.counted
        ]
        for node in moves:
            if len(node.pieces) == 1:
                self._read_in_place(node)
        for node in moves:
            if node.name not in self.done.nodes and self._root(node.y) not in self.done.within:
                self._write_in_place(node)
        steps = {node.name for node in self.graph.nodes if node.y.name in self.graph.wholes}
        self.done.notes = [note for note in self.done.notes if note.node not in steps]
        for name, root in self.root.items():
            if root in self.done.within:
                self.done.within[name] = self.done.within[root]
        return self.done

    def _root(self, tensor: Tensor) -> str:
        return self.root.get(tensor.name, tensor.name)

    def _read_in_place(self, node: MoveNode) -> None:
        """A part whose readers can have it where it lies, in fewer cycles than a copy takes."""
        (piece,) = node.pieces
        source, name = self._root(piece.x), node.y.name
        if not _is_copy(piece, node.y) or name in self.kept or source in self.done.within:
            return
        order = node.y.layout.index(node.y.shape)
        found = within(source, places_of(piece.x)[piece.source.index].reshape(-1)[order])
        if found is None or not (found.is_dense or self._is_worth(name, found)):
            return
        self.done.within[name] = found
        self.done.nodes.add(node.name)
        self.done.notes.append(Note(
            node.name, f"nothing is copied: '{name}' is read where it lies in '{source}'"
        ))

    def _is_worth(self, name: str, found: Within) -> bool:
        """Whether its readers can read short runs, and these cost them less than the copy."""
        run, readers = found.run, self.readers[name]
        if not all(self._fits(reader, name, found) for reader in readers):
            return False
        each = run_cycles(self.config, run) - run / self.config.beat_bytes
        # A copy picks what it wants anyway, and so does a product of heads.
        layers = sum(
            not isinstance(reader, MoveNode)
            and not (
                isinstance(reader, ProductNode)
                and min(reader.x.shape[-1], reader.y.shape[-1]) < run
            )
            for reader in readers
        )
        return each * layers <= run / self.config.requantize_lanes + 1

    def _write_in_place(self, node: MoveNode) -> None:
        """Operands that nobody else reads, of layers that can write them apart."""
        saved = [piece for piece in node.pieces if self._writes(node, piece)]
        if len(saved) == len(node.pieces):
            self.done.nodes.add(node.name)
        self.done.pieces.update(saved)
        if saved:
            names = ", ".join(f"'{piece.x.name}'" for piece in saved)
            how = "nothing" if len(saved) == len(node.pieces) else "not all"
            self.done.notes.append(Note(
                node.name, f"{how} is copied: {names} written where it is in '{node.y.name}'"
            ))

    def _writes(self, node: MoveNode, piece: Piece) -> bool:
        """Have the maker of an operand write it in place, if that is possible."""
        name, done = self._root(piece.x), self.done
        if piece.values is not None:
            return False
        maker = self.makers.get(name)
        if maker is None or maker.name in done.nodes or not _is_copy(piece, node.y):
            return False
        others = name in {each.into for each in done.within.values()}
        if others or name in self.kept or self.readers[name] != [node]:
            return False
        if piece.source != Box.whole(piece.x.shape):
            return False
        order = piece.x.layout.index(piece.x.shape)
        found = within(node.y.name, places_of(node.y)[piece.target.index].reshape(-1)[order])
        if found is None:
            return False
        if found.is_dense:
            able = maker.kind in (*_MAKERS, *_SPECIAL, MoveNode.kind)
        else:
            able = maker.name not in self.chained and self._fits(maker, name, found)
        if able:
            done.within[name] = found
        return able

    def _fits(self, node: Node, name: str, found: Within) -> bool:
        """Whether a layer can read or write a tensor that is no run of bytes."""
        if isinstance(node, MoveNode):
            return True
        if node.kind not in _MAKERS:
            return False
        tensors = (*node.inputs, node.y)
        addresses = {tensor.name: 0 for tensor in tensors}
        inside = {tensor.name: found for tensor in tensors if self._root(tensor) == name}
        try:
            works = _MAKERS[node.kind](node, addresses, self.config)
        except KiwichaError:
            return False
        # Few of its bytes side by side take more room on chip.
        lie = [placed(work, node, addresses, inside) for work in works]
        return all(work is not None and fits(work, self.config) for work in lie)


def _is_copy(piece: Piece, y: Tensor) -> bool:
    """Whether codes stay what they are."""
    info = np.iinfo(y.dtype)
    same = piece.x.dtype == y.dtype and piece.x.zero_point == y.zero_point
    return same and piece.scale == 1 and (piece.low, piece.high) == (info.min, info.max)
