# SPDX-License-Identifier: Apache-2.0
"""Statistics of a layer's results: which instructions count them, and where the records go.

A machine counts ``statistics.elements`` results in one record. A layer that has more gets several
of them, which the host joins; an instruction that has more is cut.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kiwicha.compiler.graph.chosen import layer_called, split_names
from kiwicha.compiler.graph.graph import (
    ConvTransposeNode,
    DynamicLinearNode,
    DynamicProductNode,
    Graph,
    MatMulStackNode,
    MoveNode,
    Node,
    NormalizeNode,
    PairNode,
    ProductNode,
    SoftmaxNode,
    TableNode,
    ViewNode,
)
from kiwicha.errors import KiwichaError
from kiwicha.machine.blocks import scale_bytes
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import flat_index, index_fields
from kiwicha.machine.isa import STATISTICS_RECORD, VECTOR, VectorMode

__all__ = [
    "ALL", "RECORD_BYTES", "Counted", "Tally", "channels_of", "counted_layers", "records_needed",
    "split_chains",
]

_OPTION = "statistics"
ALL = "all"
"""Asks for every layer that VECTOR writes; a layer of that name goes first."""
RECORD_BYTES = STATISTICS_RECORD.size // 8


@dataclass(frozen=True)
class Counted:
    """A layer whose results are counted: all of them, or those of one channel."""

    node: Node
    channel: int | None = None


def counted_layers(
    graph: Graph, config: AcceleratorConfig, asked: Sequence[str]
) -> list[Counted]:
    """Return what is to be counted, in the order of the graph.

    Parameters
    ----------
    asked : names of layers; ``conv[3]`` is channel 3 of ``conv``, unless a layer is called so.

    Raises
    ------
    KiwichaError
        Where there is no such layer or channel, or none that the machine counts.
    """
    if not asked:
        return []
    if not config.statistics.elements:
        raise KiwichaError(
            f"{_OPTION} of '{asked[0]}': the machine keeps none, its statistics.elements is 0"
        )
    known = {node.name for node in graph.nodes}
    if list(asked) == [ALL] and ALL not in known:
        every = [
            Counted(node) for node in graph.nodes
            if _obstacle(node) is None and node.y.name not in graph.wholes
        ]
        if not every:
            raise KiwichaError(f"{_OPTION}: no layer of the model is written by VECTOR")
        return every
    found: dict[str, Counted] = {}
    for name in split_names(graph, asked):
        part = None if name in known else re.fullmatch(r"(.*)\[([0-9]+)\]", name, re.DOTALL)
        node = layer_called(graph, part[1] if part else name, _OPTION)
        counted = Counted(node, int(part[2]) if part else None)
        if reason := _obstacle(node) or _no_channel(counted):
            raise KiwichaError(f"{_OPTION}: '{node.name}' ({node.op}) {reason}")
        if found.setdefault(node.name, counted) != counted:
            raise KiwichaError(
                f"{_OPTION}: '{node.name}' is asked for twice; the machine keeps one record"
            )
    return [found[node.name] for node in graph.nodes if node.name in found]


def channels_of(node: Node) -> int:
    """Return the results of a pixel, side by side in memory."""
    if isinstance(node, DynamicLinearNode | DynamicProductNode):
        return node.columns
    stack = isinstance(node, MatMulStackNode | ProductNode)
    return node.y.shape[-1] if stack else node.y.image[1]


def _no_channel(counted: Counted) -> str | None:
    """Return what is wrong with the channel."""
    if counted.channel is not None and isinstance(counted.node, MoveNode):
        return "moves bytes of several channels at once; only all of them are counted"
    if counted.channel is not None and isinstance(counted.node, ConvTransposeNode):
        return "makes channels of several pixels at once; only all of them are counted"
    channels = channels_of(counted.node)
    if counted.channel is None or counted.channel < channels:
        return None
    return f"has channels 0 to {channels - 1}, not {counted.channel}"


def _obstacle(node: Node) -> str | None:
    """Return why the results of a node cannot be counted."""
    if isinstance(node, ViewNode):
        return "moves no data: it has no results of its own"
    if isinstance(node, NormalizeNode | PairNode | SoftmaxNode | TableNode):
        return "is computed by SPECIAL; only what VECTOR writes is counted"
    return None


def records_needed(elements: int, config: AcceleratorConfig) -> int:
    """Return how many records a layer of ``elements`` results takes at most: a record and the next
    one hold more than ``statistics.elements`` together."""
    return 2 * elements // config.statistics.elements + 1


def split_chains(
    parts: Sequence[tuple[Node, ...]], counted: Sequence[Counted]
) -> list[tuple[Node, ...]]:
    """Return layers that run side by side as single ones where the machine is to count several of
    them: it keeps one record at a time."""
    split: list[tuple[Node, ...]] = []
    for nodes in parts:
        together = sum(any(node is other.node for other in counted) for node in nodes) > 1
        split += [(node,) for node in nodes] if together else [nodes]
    return split


@dataclass
class Tally:
    """The records of one layer.

    Members
    -------
    name : of the layer.
    channel : the only one that counts, or None.
    address : where its next record goes.
    records : addresses of those that are full.
    """

    config: AcceleratorConfig
    name: str
    channel: int | None
    address: int
    records: list[int] = field(default_factory=list)
    _held: int = 0

    @property
    def asked(self) -> str:
        """What the user asks for it with."""
        return self.name if self.channel is None else f"{self.name}[{self.channel}]"

    def enter(
        self, fields: dict[str, Any], first: int
    ) -> Iterator[tuple[int | None, dict[str, Any]]]:
        """Yield the VECTORs for one, with their results counted, and before each the address at
        which to store what was counted until then, or None.

        Parameters
        ----------
        first : the channel that is the instruction's first one.

        Raises
        ------
        KiwichaError
            Where a pixel has more results than the machine counts, or the channel is too far from
            the instruction's first one.
        """
        place = 0 if self.channel is None else self.channel - first
        if not 0 <= place < fields["channels"]:
            yield None, fields
            return
        one = {} if self.channel is None else {"only": 1, "channel": place}
        if place >= 1 << VECTOR["channel"].width:
            raise KiwichaError(
                f"{_OPTION}: channel {self.channel} of '{self.name}' is number {place} of an "
                f"instruction, which can name {(1 << VECTOR['channel'].width) - 1} at most"
            )
        for part in self._pieces(fields, 1 if one else fields["channels"]):
            count = part["pixels"] * part["lines"] * (1 if one else part["channels"])
            full = self._held + count > self.config.statistics.elements
            address = self.close() if full else None
            begin = int(self._held == 0)
            self._held += count
            yield address, {**part, "statistics": 1, "begin": begin, **one}

    def close(self) -> int:
        """Return the address of the record that is complete now; the next one follows it."""
        place = self.address
        self.records.append(place)
        self.address += RECORD_BYTES
        self._held = 0
        return place

    def _pieces(self, fields: dict[str, Any], results: int) -> Iterator[dict[str, Any]]:
        """Yield VECTORs of whole lines, or of parts of a line, that the machine can count; of each
        pixel ``results`` count."""
        limit, pixels, lines = self.config.statistics.elements, fields["pixels"], fields["lines"]
        room = limit // results
        if not room:
            raise KiwichaError(
                f"{_OPTION}: '{self.name}' has {results} results a pixel; the "
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
