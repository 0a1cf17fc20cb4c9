# SPDX-License-Identifier: Apache-2.0
"""Statistics of a layer's results: which instructions count them, and where the records go.

A machine counts ``statistics.elements`` results in one record. A layer that has more gets several
of them, which the host joins; an instruction that has more is cut.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kiwicha.compiler.graph.chosen import chosen_layers
from kiwicha.compiler.graph.graph import (
    AddNode,
    Graph,
    Node,
    NormalizeNode,
    SoftmaxNode,
    TableNode,
    ViewNode,
)
from kiwicha.errors import KiwichaError
from kiwicha.machine.blocks import scale_bytes
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import flat_index, index_fields
from kiwicha.machine.isa import STATISTICS_RECORD, VectorMode

__all__ = ["ALL", "RECORD_BYTES", "Tally", "counted_layers", "records_needed", "split_chains"]

ALL = "all"
"""Asks for every layer that VECTOR writes; a layer of that name goes first."""
RECORD_BYTES = STATISTICS_RECORD.size // 8


def counted_layers(
    graph: Graph, config: AcceleratorConfig, asked: Sequence[str]
) -> list[Node]:
    """Return the nodes whose results are to be counted.

    Raises
    ------
    KiwichaError
        Where there is no such layer, or none that the machine counts.
    """
    if not asked:
        return []
    option = "statistics"
    if not config.statistics.elements:
        raise KiwichaError(
            f"{option} of '{asked[0]}': the machine keeps none, its statistics.elements is 0"
        )
    if list(asked) == [ALL] and ALL not in {node.name for node in graph.nodes}:
        found = [node for node in graph.nodes if _obstacle(node) is None]
        if not found:
            raise KiwichaError(f"{option}: no layer of the model is written by VECTOR")
        return found
    found = chosen_layers(graph, asked, option)
    for node in found:
        if reason := _obstacle(node):
            raise KiwichaError(f"{option}: '{node.name}' ({node.op}) {reason}")
    return found


def _obstacle(node: Node) -> str | None:
    """Return why the results of a node cannot be counted."""
    if isinstance(node, ViewNode):
        return "moves no data: it has no results of its own"
    if isinstance(node, AddNode | NormalizeNode | SoftmaxNode | TableNode):
        return "is computed by SPECIAL; only what VECTOR writes is counted"
    return None


def records_needed(elements: int, config: AcceleratorConfig) -> int:
    """Return how many records a layer of ``elements`` results takes at most: a record and the next
    one hold more than ``statistics.elements`` together."""
    return 2 * elements // config.statistics.elements + 1


def split_chains(
    parts: Sequence[tuple[Node, ...]], counted: Sequence[Node]
) -> list[tuple[Node, ...]]:
    """Return layers that run side by side as single ones where the machine is to count several of
    them: it keeps one record at a time."""
    split: list[tuple[Node, ...]] = []
    for nodes in parts:
        together = sum(any(node is other for other in counted) for node in nodes) > 1
        split += [(node,) for node in nodes] if together else [nodes]
    return split


@dataclass
class Tally:
    """The records of one layer.

    Members
    -------
    name : of the layer, for messages.
    address : where its next record goes.
    records : addresses of those that are full.
    """

    config: AcceleratorConfig
    name: str
    address: int
    records: list[int] = field(default_factory=list)
    _held: int = 0

    def enter(self, fields: dict[str, Any]) -> Iterator[tuple[int | None, dict[str, Any]]]:
        """Yield the VECTORs for one, with their results counted, and before each the address at
        which to store what was counted until then, or None.

        Raises
        ------
        KiwichaError
            Where a pixel has more results than the machine counts.
        """
        for part in self._pieces(fields):
            count = part["pixels"] * part["lines"] * part["channels"]
            full = self._held + count > self.config.statistics.elements
            address = self.close() if full else None
            begin = int(self._held == 0)
            self._held += count
            yield address, {**part, "statistics": 1, "begin": begin}

    def close(self) -> int:
        """Return the address of the record that is complete now; the next one follows it."""
        place = self.address
        self.records.append(place)
        self.address += RECORD_BYTES
        self._held = 0
        return place

    def _pieces(self, fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield VECTORs of whole lines, or of parts of a line, that the machine can count."""
        limit, pixels, lines = self.config.statistics.elements, fields["pixels"], fields["lines"]
        room = limit // fields["channels"]
        if not room:
            raise KiwichaError(
                f"statistics: '{self.name}' has {fields['channels']} results a pixel; the "
                f"machine's statistics.elements is {limit}"
            )
        wide, high = (pixels, room // pixels) if room >= pixels else (room, 1)
        for line in range(0, lines, high):
            for pixel in range(0, pixels, wide):
                size = {"lines": min(high, lines - line), "pixels": min(wide, pixels - pixel)}
                yield {**fields, **size, **self._moved(fields, line, pixel)}

    def _moved(self, fields: dict[str, Any], line: int, pixel: int) -> dict[str, Any]:
        """Return the fields that say where a piece's first pixel is."""
        done = line * fields["pixels"] + pixel
        where = line * fields["line_pitch"] + pixel * fields["pixel_pitch"]
        moved = {
            "accumulator": fields["accumulator"] + done, "local": fields["local"] + where,
        }
        if fields["mode"] == VectorMode.BLOCK:
            blocks = -(-fields["channels"] // self.config.blocks.channels)
            moved["scales"] = fields["scales"] + done * blocks * scale_bytes(self.config)
            if self.config.blocks.random:
                first, pitch = flat_index(fields)
                moved |= index_fields(first + done * pitch, pitch)
        return moved
