# SPDX-License-Identifier: Apache-2.0
"""Weights as they are stored: dense, or in that format of the machine's which is shortest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.graph.graph import (
    BlocksNode,
    ConvNode,
    ConvTransposeNode,
    DynamicConvNode,
    DynamicLinearNode,
    MatMulNode,
    MatMulStackNode,
    Node,
)
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.packing import pack_tile
from kiwicha.compiler.schedule.tiling import Tiling
from kiwicha.cost.timing import decode_cycles
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.formats import Stream, compressed_formats, encode, least_bytes
from kiwicha.machine.isa import WeightFormat

__all__ = [
    "LayerWeights", "PlacedWeights", "Storage", "StoredWeights", "compress", "storage",
]

_LINES = 256  #: that are compared at a time

_SAMPLES = 4
_WEIGHTED = ConvNode | ConvTransposeNode | MatMulNode | MatMulStackNode | DynamicLinearNode


@dataclass(frozen=True, eq=False)
class StoredWeights:
    """Weight rows in memory.

    Members
    -------
    octets : uint8, what is stored.
    form : its format.
    pitch : LOAD's field of this name, 0 if dense.
    cycles, start : of the decoder, and those before its first row; 0 if dense.
    size : bytes on chip.
    signed, zero : how COMPUTE must read the rows on chip.
    """

    octets: NDArray[np.uint8]
    form: WeightFormat
    pitch: int
    cycles: int
    start: int
    size: int
    signed: bool
    zero: int

    def placed(self, address: int) -> "PlacedWeights":
        """Return what is known of them when their bytes are in memory, at ``address``."""
        return PlacedWeights(
            address, self.octets.size, self.form, self.pitch, self.cycles, self.size, self.signed,
            self.zero,
        )


@dataclass(frozen=True)
class PlacedWeights:
    """Weight rows of which somebody else keeps the bytes: ``length`` of them from ``address`` on.

    Members are as of `StoredWeights`.
    """

    address: int
    length: int
    form: WeightFormat
    pitch: int
    cycles: int
    size: int
    signed: bool
    zero: int


def _without_zero(
    rows: NDArray[np.uint8], signed: bool, zero: int
) -> tuple[NDArray[np.uint8], bool] | None:
    """Return rows that hold the differences from the zero point, and whether these are signed.

    None where they do not fit 8 bits.
    """
    if zero == 0:
        return rows, signed
    difference = (rows.view(np.int8) if signed else rows).astype(np.int16) - zero
    for kind in (np.int8, np.uint8):
        limits = np.iinfo(kind)
        if limits.min <= difference.min() and difference.max() <= limits.max:
            return difference.astype(kind).view(np.uint8), kind is np.int8
    return None


def _pitch(stream: Stream) -> int:
    """Return LOAD's field, 32 bits signed."""
    job = stream.columns | stream.rows << 16
    return job - (1 << 32) if job >> 31 else job


def compress(
    rows: NDArray[np.uint8], config: AcceleratorConfig, *, signed: bool, zero: int
) -> StoredWeights:
    """Return weight rows, n x pitch, as the machine loads them with the fewest bytes.

    Not taken are streams with so many entries that they take an eighth longer, or more, than the
    dense bytes do, or than a row a cycle, which is all that the array takes. A zero point is taken
    off, since a stream leaves out bytes that are 0; if the differences need more than 8 bits, the
    weights are dense.
    """
    dense = rows.reshape(-1)
    best = StoredWeights(dense, WeightFormat.DENSE, 0, 0, 0, rows.size, signed, zero)
    formats = compressed_formats(config)
    plain = _without_zero(rows, signed, zero) if formats else None
    if plain is None:
        return best
    longest = max(len(rows), -(-dense.size // config.beat_bytes)) * 9 / 8
    histogram = np.bincount(plain[0].reshape(-1), minlength=256)
    for form in formats:
        if least_bytes(form, histogram) >= best.octets.size:
            continue  # found without encoding anything
        stream = encode(form, plain[0], config.beat_bytes)
        if stream is None or stream.octets.size >= best.octets.size:
            continue
        work, start = decode_cycles(config, form, stream.columns, stream.entries)
        if work < longest:
            best = StoredWeights(
                stream.octets, form, _pitch(stream), work + start, start, rows.size, plain[1], 0
            )
    return best


@dataclass(frozen=True)
class Storage:
    """What loading weights costs: stored bytes for each byte on chip, a decoder's cycles for each
    row and for each LOAD.
    """

    bytes: float = 1.0
    cycles: float = 0.0
    start: float = 0.0


def storage(work: Contraction, tiling: Tiling, config: AcceleratorConfig) -> Storage:
    """Return what some of a layer's column tiles cost, as much as half the scratchpad of each."""
    if work.weights is None or not config.sparse.formats:
        return Storage()
    most = config.weight_bytes // 2 // config.weight_pitch
    signed = work.weights.dtype == np.int8
    stored = on_chip = rows = cycles = start = samples = 0
    for tile in tiling.tiles[:: -(-len(tiling.tiles) // _SAMPLES)]:
        packed = pack_tile(work, tile, tiling, config, 0).reshape(-1, config.weight_pitch)[:most]
        made = compress(packed, config, signed=signed, zero=int(work.weight_zero[tile.output]))
        stored, on_chip = stored + made.octets.size, on_chip + made.size
        rows, cycles = rows + len(packed), cycles + made.cycles
        start, samples = start + made.start, samples + 1
    return Storage(stored / on_chip, (cycles - start) / rows, start / samples)


@dataclass(frozen=True)
class LayerWeights:
    """What the report says of a layer's constant weights; all 0 where it has none.

    Members
    -------
    density : share of the weights that are not their zero point.
    dense_bytes, stored_bytes : in memory if nothing is compressed, padded to the array, and as is.
    formats : in use, as `machine.config` names them, or "dense".
    """

    density: float = 0.0
    dense_bytes: int = 0
    stored_bytes: int = 0
    formats: tuple[str, ...] = ()

    @property
    def compressed(self) -> bool:
        """Whether some of them are."""
        return any(name != "dense" for name in self.formats)

    @classmethod
    def of(cls, nodes: Iterable[Node], stored: Sequence[PlacedWeights]) -> "LayerWeights":
        """Return what there is to say of a layer's nodes and of all that is stored of them; the
        same bytes, which several steps of a recurrent layer read, are stored once."""
        stored = list({each.address: each for each in stored}.values())
        used = total = 0
        for node in nodes:
            layer = node.linear if isinstance(node, BlocksNode) else node
            if isinstance(layer, _WEIGHTED):
                convolution = isinstance(layer, ConvNode | ConvTransposeNode | DynamicConvNode)
                zero = np.reshape(layer.weight_zero, (-1, 1, 1, 1) if convolution else -1)
                used += _differing(layer.weights, zero)
                total += layer.weights.size
        if not total:  # what picks bytes for a copy is none of the model's
            return cls()
        return cls(
            used / total,
            sum(each.size for each in stored),
            sum(each.length for each in stored),
            tuple(form.name.lower().replace("_", "-") for form in sorted({s.form for s in stored})),
        )


def _differing(weights: NDArray[np.int8], zero: NDArray[np.integer]) -> int:
    """Return how many weights are not their zero point, without an array of as many bytes."""
    zeros = np.broadcast_to(zero, weights.shape)
    parts = range(0, len(weights), _LINES)
    return sum(
        int(np.count_nonzero(weights[at : at + _LINES] != zeros[at : at + _LINES])) for at in parts
    )
