# SPDX-License-Identifier: Apache-2.0
"""Which results the next layer finds on chip, and which of them memory need not have.

A program is emitted as if there were no forwarding, and what LOADs fill is taken down. It is
emitted again with blocks forwarded whose bytes STOREs write one by one before the LOADs. Tensors of
which then neither a LOAD nor the host reads a byte are stored in memory no more. A block that did
not stay where it was, or a tensor that was read after all, is left out, and so on. The faster
program is the one that is kept.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.forwarding import Block, ForwardingBuilder, Plan, stored
from kiwicha.compiler.emit.instruction import Transfer
from kiwicha.compiler.emit.overlap import places, shared
from kiwicha.compiler.graph.graph import Graph, MatMulNode, ViewNode

__all__ = ["Regions", "forward", "siblings"]

_PASSES = 6
_MOST = 8  # transfers that one STORE becomes on chip


class Regions:
    """Parts of memory that have nothing in common, made of (start, stop) that may overlap."""

    def __init__(self, spans: Collection[tuple[int, int]]) -> None:
        self._spans: list[tuple[int, int]] = []
        for start, stop in sorted(spans):
            if self._spans and start < self._spans[-1][1]:
                first, last = self._spans[-1]
                self._spans[-1] = first, max(last, stop)
            elif start < stop:
                self._spans.append((start, stop))
        self._starts = [start for start, _ in self._spans]

    def of(self, touched: Range) -> list[tuple[int, int]]:
        """Return those that a range has bytes of."""
        found = []
        place = max(0, bisect_right(self._starts, touched.start) - 1)
        while place < len(self._spans) and self._spans[place][0] < touched.stop:
            if touched.start < self._spans[place][1]:
                found.append(self._spans[place])
            place += 1
        return found


def siblings(graph: Graph) -> dict[str, int]:
    """Return, by the names of matrix products with constants, how many read the same: they follow
    each other without a wait, so that it counts how long they take and not when the first of their
    results is there."""
    root: dict[str, str] = {}
    readers: dict[str, list[str]] = defaultdict(list)
    for node in graph.nodes:
        if isinstance(node, ViewNode):
            root[node.y.name] = root.get(node.x.name, node.x.name)
        elif isinstance(node, MatMulNode):
            readers[root.get(node.x.name, node.x.name)].append(node.name)
    return {name: len(names) for names in readers.values() for name in names}


def forward(
    builder: ForwardingBuilder, emit: Callable[[], None], graph: Graph,
    addresses: Mapping[str, int],
) -> frozenset[str]:
    """Emit again what was emitted without forwarding, with it, if that is faster; return the names
    of tensors that memory then does not have.

    Parameters
    ----------
    emit : appends the whole program to a builder that was started again.
    addresses : of the tensors.
    """
    sizes = {
        tensor.name: tensor.size
        for node in graph.nodes for tensor in (*node.inputs, *node.results, node.y)
    }
    spans = {
        name: (place, place + sizes.get(name, 0)) for name, place in addresses.items()
    }
    regions = Regions(spans.values())
    by_name = {
        name: region for name, (start, stop) in spans.items()
        for region in regions.of(Range(Space.MEMORY, start, stop))
    }
    kept = {by_name[tensor.name] for tensor in graph.output_tensors if tensor.name in by_name}
    unwritten = _forward(builder, emit, regions, kept)
    return frozenset(name for name, region in by_name.items() if region in unwritten)


def _forward(
    builder: ForwardingBuilder, emit: Callable[[], None], regions: Regions,
    kept: Collection[tuple[int, int]],
) -> frozenset[tuple[int, int]]:
    """Return the regions, none of those that are ``kept``, that are not written any more."""
    blocks = _candidates(builder, regions)
    if not blocks:
        return frozenset()
    before, loaded, filled = builder.timeline().total, builder.loaded, _filled(builder)
    spoilt = {*kept}
    for _ in range(_PASSES):
        named = {id(block) for block in blocks}
        mine = {region for block in blocks for region in _regions(block, regions)}
        read = {
            region for touched, block in loaded if id(block) not in named
            for region in regions.of(touched)
        }
        plan = Plan(_by_store(blocks), frozenset(mine - read - spoilt))
        builder.restart(plan)
        emit()
        again = _filled(builder)
        missing = [b for b in blocks if again[b.target, b.key] >= filled[b.target, b.key]]
        needed = {
            region for touched, _ in builder.loaded for region in regions.of(touched)
        } & plan.dropped
        if not missing and not needed:
            if builder.timeline().total < before:
                return plan.dropped
            break
        blocks = [block for block in blocks if block not in missing]
        spoilt |= needed
        if not blocks:
            break
    builder.restart(Plan())
    emit()
    return frozenset()


def _filled(builder: ForwardingBuilder) -> Counter[tuple[object, object]]:
    return Counter((block.target, block.key) for block in builder.blocks)


def _by_store(blocks: Sequence[Block]) -> dict[tuple[int, int, int, int], list[Block]]:
    of: dict[tuple[int, int, int, int], list[Block]] = defaultdict(list)
    for block in blocks:
        for name in block.cuts:
            of[name].append(block)
    return dict(of)


def _regions(block: Block, regions: Regions) -> list[tuple[int, int]]:
    return [
        region for transfer in block.transfers for region in regions.of(transfer.memory_range())
    ]


def _candidates(builder: ForwardingBuilder, regions: Regions) -> list[Block]:
    """Return the blocks of a program that STOREs could fill, with what each of them writes."""
    stores: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, (transfer, _) in enumerate(builder.stored_runs):
        for region in regions.of(transfer.memory_range()):
            stores[region].append(number)
    found, names = [], set()
    for block in builder.blocks:
        mine = {number for region in _regions(block, regions) for number in stores[region]}
        name = block.target, block.key
        if mine and name not in names and _cut(builder, block, sorted(mine)):
            names.add(name)
            found.append(block)
    return found


def _cut(builder: ForwardingBuilder, block: Block, numbers: Sequence[int]) -> bool:
    """Find what each STORE writes of a block; whether they write all of it, once, in time."""
    beat, wanted = builder.config.beat_bytes, places(block.transfers)
    if not wanted.unique:
        return False
    first, last = int(wanted.addresses[0]), int(wanted.addresses[-1])
    written, covered = 0, []
    ring = builder.ring(block.target)
    for number in numbers:
        transfer, turned = builder.stored_runs[number]
        touched = transfer.memory_range()
        if touched.stop <= first or last < touched.start:
            continue
        mine = places([transfer])
        common = np.intersect1d(mine.addresses, wanted.addresses)
        if not common.size:
            continue
        # Between its first byte and its reader the ring must not come around.
        ahead = block.turned - turned[block.target]
        if number >= block.stores or ahead + 2 * block.size > ring.size or not mine.unique:
            return False
        cuts = shared(mine, wanted, beat)
        if cuts is None or len(cuts) > _MOST or stored(transfer) in block.cuts:
            return False
        block.cuts[stored(transfer)] = [
            Transfer(**{**vars(cut), "local": cut.local - transfer.local}) for cut in cuts
        ]
        written += common.size
        covered.append(common)
    size = wanted.addresses.size
    return written == size and np.unique(np.concatenate(covered)).size == size
