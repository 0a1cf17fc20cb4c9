# SPDX-License-Identifier: Apache-2.0
"""A builder of programs whose STOREs write on chip what a LOAD would put there.

It takes down what LOADs fill of activations and of SPECIAL's operands, and does what was planned
(`compiler.emit.forwarding_plan`): room for such a block is taken where the first of its bytes is
stored, and the layer that asks for it finds it there.
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.instruction import Instruction, Transfer
from kiwicha.compiler.schedule.onchip import Ring, align_up
from kiwicha.cost.timing import FORWARD_LATENCY
from kiwicha.machine.destination import StoreDestination
from kiwicha.machine.isa import Engine, LoadTarget, Opcode, StoreSource

__all__ = ["Block", "ForwardingBuilder", "Plan", "Stored", "stored"]

_SPACES = {LoadTarget.ACTIVATION: Space.ACTIVATION, LoadTarget.OPERAND: Space.OPERAND}
_DESTINATIONS = {
    LoadTarget.ACTIVATION: StoreDestination.ACTIVATION, LoadTarget.OPERAND: StoreDestination.OPERAND
}
Stored = tuple[int, int, int, int]  # a transfer in memory: address, length, segments, pitch


@dataclass(eq=False)
class Block:
    """What LOADs filled: ``size`` units of a ring, their local addresses counted from its start.

    Members
    -------
    stores : STOREs that were before it, of all.
    turned : units of the ring that had been taken before.
    cuts : by STORE, what it writes of the block, from its own start to the block's.
    """

    target: LoadTarget
    key: Hashable
    size: int
    stores: int
    turned: int
    transfers: list[Transfer] = field(default_factory=list)
    cuts: dict[Stored, list[Transfer]] = field(default_factory=dict)


@dataclass
class Plan:
    """The blocks that are forwarded by each STORE, and ranges of memory that are not written."""

    of: dict[Stored, list[Block]] = field(default_factory=dict)
    dropped: frozenset[tuple[int, int]] = frozenset()

    def drops(self, transfer: Transfer) -> bool:
        """Whether a STORE's bytes are not written to memory."""
        touched = transfer.memory_range()
        return any(a <= touched.start and touched.stop <= b for a, b in self.dropped)


@dataclass
class ForwardingBuilder(ProgramBuilder):
    """A builder whose STOREs write on chip what is planned, and which takes down what is loaded.

    Members
    -------
    plan : of this pass.
    blocks, loaded, stored_runs : what was filled by LOADs, memory that LOADs read, and the STOREs
        of results with the units of each ring that had been taken before.
    """

    plan: Plan = field(default_factory=Plan)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.blocks: list[Block] = []
        self.loaded: list[tuple[Range, Block | None]] = []
        self.stored_runs: list[tuple[Transfer, dict[LoadTarget, int]]] = []
        self._filling: Block | None = None
        self._placed: dict[int, int] = {}  # by block, where it is

    def restart(self, plan: Plan) -> None:
        """Forget all that was emitted, and follow another plan."""
        self.layer, self.plan = 0, plan
        self.stored.clear()
        self.scale_runs.clear()
        self.__post_init__()

    def ring(self, target: LoadTarget) -> Ring:
        """Return the ring of a memory."""
        return self.activations if target == LoadTarget.ACTIVATION else self.operands

    @contextmanager
    def filling(
        self, target: LoadTarget, key: Hashable, base: int, size: int
    ) -> Iterator[None]:
        """LOADs meanwhile fill the block ``key`` of a ring, which begins at ``base``."""
        turned = self.ring(target).turned - align_up(size, self.config.beat_bytes)
        block = Block(target, key, size, len(self.stored_runs), turned)
        self._base, self._filling = base, block
        yield
        self._filling = None
        if 4 * size <= self.ring(target).size:
            self.blocks.append(block)

    def load(self, target: int, transfer: Transfer, **options: object) -> None:
        """Append a LOAD, and take it down."""
        super().load(target, transfer, **options)  # type: ignore[arg-type]
        block = self._filling
        self.loaded.append((transfer.memory_range(), block))
        if block is not None:
            run = {**vars(transfer), "local": transfer.local - self._base}
            block.transfers.append(Transfer(**run))

    def update(
        self, fields: dict[str, Any], reads: Sequence[Range], writes: Sequence[Range]
    ) -> None:
        """Append an UPDATE, which reads memory as a LOAD does."""
        super().update(fields, reads, writes)
        self.loaded += [(each, None) for each in reads if each.space is Space.MEMORY]

    def store(
        self,
        transfer: Transfer,
        source: StoreSource = StoreSource.OUTPUT,
        touched: Range | None = None,
    ) -> None:
        """Append a STORE on chip for each block that it has bytes of, and one to memory."""
        if source not in (StoreSource.OUTPUT, StoreSource.RESULT):
            super().store(transfer, source, touched)
            return
        turned = {target: self.ring(target).turned for target in _SPACES}
        self.stored_runs.append((transfer, turned))
        read = touched or transfer.local_range(Space.OUTPUT, self.config.beat_bytes)
        for block in self.plan.of.get(stored(transfer), ()):
            base = self._base_of(block)
            if base is not None:
                self._forward(transfer, source, read, block, base)
        if not self.plan.drops(transfer):
            super().store(transfer, source, touched)

    def _base_of(self, block: Block) -> int | None:
        """Return where a block is, for which room is taken the first time; None once it is gone."""
        ring = self.ring(block.target)
        if id(block) not in self._placed:
            self._placed[id(block)] = ring.place(block.key, block.size)
        base = self._placed[id(block)]
        return base if ring.find(block.key) == base else None

    def _forward(
        self, transfer: Transfer, source: StoreSource, read: Range, block: Block, base: int
    ) -> None:
        beat = self.config.beat_bytes
        room = align_up(block.size, beat)
        for cut in block.cuts[stored(transfer)]:
            run = {
                **vars(cut), "address": base + cut.address, "local": transfer.local + cut.local
            }
            beats = cut.segments * -(-(cut.address % beat + cut.length) // beat)
            self._order.add(
                Instruction(
                    Opcode.STORE,
                    {"source": source, "destination": _DESTINATIONS[block.target], **run},
                    Engine.STORE, self.layer, beats, FORWARD_LATENCY,
                ),
                [read],
                [Range(_SPACES[block.target], base, base + room)],
            )


def stored(transfer: Transfer) -> Stored:
    """Return what a transfer is called: where it is in memory."""
    return transfer.address, transfer.length, transfer.segments, transfer.pitch
