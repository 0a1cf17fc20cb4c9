# SPDX-License-Identifier: Apache-2.0
"""Sums with a tensor in memory that the layer before computes on its way out: which can be, how."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.emit.absorb import Absorbed
from kiwicha.compiler.emit.pair_arithmetic import pair_arithmetic
from kiwicha.compiler.graph.graph import (
    Graph,
    JoinNode,
    Node,
    PairNode,
    TableNode,
    Tensor,
    ViewNode,
)
from kiwicha.compiler.schedule.contraction import Addend, Contraction
from kiwicha.compiler.schedule.mapping import (
    conv_contractions,
    matmul_contractions,
    pool_contractions,
)
from kiwicha.compiler.schedule.product import product_contractions, stack_contractions
from kiwicha.compiler.schedule.tiling import legal_tilings
from kiwicha.errors import KiwichaError
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SpecialOperation
from kiwicha.machine.sum_tables import fixed_tables, multiplied_sums

__all__ = ["Sum", "Sums", "addends_of"]

_MAKERS: dict[str, Callable[[Any, Mapping[str, int], AcceleratorConfig], list[Contraction]]] = {
    "conv": conv_contractions, "matmul": matmul_contractions, "matmul_stack": stack_contractions,
    "pool": pool_contractions, "product": product_contractions,
}


@dataclass(frozen=True, eq=False)
class Sum:
    """A sum, or another function of real functions of two bytes added up.

    Members
    -------
    node : what is computed besides.
    before : a function of the results that comes first, None if there is none.
    addend : what is in memory; ``constant`` its bytes there, one for each result, None for a tensor
        of the network.
    entries : int32[256, 2], what VECTOR's tables have for the result and for the addend.
    """

    node: PairNode
    before: TableNode | None
    addend: Tensor
    constant: NDArray[np.uint8] | None
    entries: NDArray[np.int32]

    def image(self, beat_bytes: int) -> NDArray[np.uint8]:
        """Return the tables as LOAD writes them (`machine.isa.LoadTarget.SUMS`)."""
        made = np.zeros((257, beat_bytes), np.uint8)
        made[:256, :8] = np.ascontiguousarray(self.entries, "<i4").view(np.uint8)
        made[256, :4] = np.array([self.node.low, self.node.high], "<i2").view(np.uint8)
        return made.reshape(-1)


class Sums:
    """Finds what a machine's VECTOR can add up."""

    def __init__(
        self, graph: Graph, config: AcceleratorConfig, absorbed: Absorbed, apart: Collection[str]
    ) -> None:
        self.graph, self.config = graph, config
        self.apart = {*apart}
        #: Tensors that may not begin with a beat, or have others' bytes in between.
        self.inside = {*absorbed.within}
        self.made: dict[str, int] = {}
        for place, node in enumerate(graph.nodes):
            if isinstance(node, JoinNode):
                self.inside.update(tensor.name for tensor in (node.y, *node.parts))
            elif isinstance(node, ViewNode):
                if not node.is_whole or node.x.name in self.inside:
                    self.inside.add(node.y.name)
                self.made[node.y.name] = self.made.get(node.x.name, -1)
                continue
            elif node.name in self.apart:
                self.inside.update(tensor.name for tensor in node.results)
            self.made.update((tensor.name, place) for tensor in node.results)

    def find(
        self, node: Node, results: Collection[str], before: TableNode | None, reader: Node
    ) -> Sum | None:
        """Return how ``reader`` is computed on the way out of ``node``, None if it cannot be.

        Parameters
        ----------
        results : names of the result of ``node``, or of the function ``before``, and of its views:
            ``reader`` alone reads them, and one of them once.
        """
        if not (self.config.residual and isinstance(reader, PairNode) and node.kind in _MAKERS):
            return None
        of_x = reader.x.name in results
        own, addend = (reader.x, reader.z) if of_x else (reader.z, reader.x)
        alike = all(
            tensor.shape == reader.y.shape and tensor.layout.same(reader.y.layout, tensor.shape)
            for tensor in ((own, addend) if reader.constant is None else (own,))
        )
        if not alike or {node.name, reader.name} & self.apart:
            return None
        names = {node.y.name, *results, addend.name, reader.y.name}
        if names & self.inside or names & {*self.graph.wholes}:
            return None
        constant = None
        if reader.constant is not None:
            full = np.broadcast_to(reader.constant, reader.y.shape).astype(reader.z.dtype)
            constant = reader.y.to_memory(full).view(np.uint8)
        elif self.made.get(addend.name, -1) >= self.made[node.y.name]:
            return None  # it will be there too late
        entries = _entries(reader, before, of_x) if self._fits(node) else None
        return None if entries is None else Sum(reader, before, addend, constant, entries)

    def _fits(self, node: Node) -> bool:
        """Whether the results can be cut so that what they are added to has room as well."""
        addend = Addend(0, np.zeros(0, np.uint8))
        addresses = {tensor.name: 0 for tensor in (*node.inputs, node.y)}
        try:
            works = _MAKERS[node.kind](node, addresses, self.config)
        except KiwichaError:
            return False
        made = (replace(work, addend=addend) for work in works)
        return all(any(True for _ in legal_tilings(work, self.config)) for work in made)


def _entries(node: PairNode, before: TableNode | None, of_x: bool) -> NDArray[np.int32] | None:
    """Return the tables for the result and for the addend, None where there are no such."""
    fields, (a, b), multiplier = pair_arithmetic(node)
    if fields["operation"] != SpecialOperation.ADD:
        return None
    shared = (fields[name] for name in _FIELDS)
    found = _found(a.tobytes(), b.tobytes(), multiplier, *shared)
    if found is None:
        return None
    # SPECIAL's x, of table A, is the operator's first operand.
    first = of_x != node.z_first
    own, other = found if first else found[::-1]
    return np.stack([own if before is None else own[before.table], other], axis=1)


_FIELDS = ("x_signed", "shift", "zero_point", "low", "high")


@lru_cache(maxsize=256)
def _found(
    a: bytes, b: bytes, multiplier: int | None, signed: int, shift: int, zero_point: int, low: int,
    high: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
    """Return VECTOR's tables that do what SPECIAL's do."""
    if multiplier is not None:
        x, z = (np.frombuffer(table, "<i4").astype(np.int64) for table in (a, b))
        wanted = multiplied_sums(x, z, multiplier, shift, zero_point, low, high)
        unit = np.float64(multiplier * 2.0 ** (shift - 31))
        return fixed_tables(x * unit, z * unit, zero_point, low, high, wanted)
    codes = np.arange(256, dtype=np.uint8).view(np.int8 if signed else np.uint8)
    first = np.where(codes < 0, -1.0, 1.0) * np.frombuffer(a, "<u4") * 2.0**shift
    second = np.frombuffer(b, "<f4").astype(np.float64)
    return fixed_tables(first, second, zero_point, low, high)


def addends_of(
    sums: Mapping[str, Sum], addresses: Mapping[str, int], graph: Graph, beat_bytes: int,
    put: Callable[[NDArray[np.uint8]], int],
) -> dict[str, Addend]:
    """Return what the results of layers are added to, by the names of their nodes.

    Parameters
    ----------
    put : puts constants into memory.
    """
    results = {node.name: node.y.name for node in graph.nodes}
    return {
        name: Addend(
            (addresses[each.addend.name] if each.constant is None else put(each.constant))
            - addresses[results[name]],
            each.image(beat_bytes),
        )
        for name, each in sums.items()
    }
