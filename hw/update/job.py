# SPDX-License-Identifier: Apache-2.0
"""What UPDATE's reader and writer know of an instruction, and how they cut it into chunks."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data
from amaranth.utils import exact_log2

from kiwicha.machine.config import AcceleratorConfig

__all__ = ["CHUNK", "NARROW_GROUPS", "Walk", "group_lanes", "update_job"]

CHUNK = 32
"""Groups that are read, and written, at once: a beat of weights each, with its m and v."""
NARROW_GROUPS = 4
"""Groups whose gradients, or weights, of eight bits fill a beat."""


def group_lanes(cfg: AcceleratorConfig) -> int:
    """Return the weights of a group: 32 bits each, a beat."""
    return cfg.axi_data_width // 32


def update_job(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return an instruction as reader and writer see it.

    ``groups`` is at least 1; ``final`` is the last weight of the last group. Addresses are in
    beats; the bit on top says that it is none of the memory port.
    """
    address = cfg.axi_address_width + 1 - exact_log2(cfg.beat_bytes)
    return data.StructLayout({
        "momentum": 1, "root": 1, "wide": 1, "accumulate": 1,
        "groups": unsigned(32),
        "final": range(group_lanes(cfg)),
        "state": address, "gradients": address, "codes": address,
    })


class Walk:
    """The chunks of a job, one after the other: registers, and what follows from them.

    Members
    -------
    active : there is a chunk.
    groups : of this chunk.
    last : it is the job's last one.
    state_beats, narrow_beats : of this chunk's state, and of eight-bit values for its groups.
    """

    def __init__(
        self, m: Module, cfg: AcceleratorConfig, job: data.View, chunk: int, name: str
    ) -> None:
        self.m, self.cfg, self.job, self.chunk = m, cfg, job, chunk
        bits = exact_log2(chunk) + 1
        self.active = Signal(name=f"{name}_active")
        self.last = Signal(name=f"{name}_last")
        self.groups = Signal(bits, name=f"{name}_groups")
        self.state_beats = Signal(bits + 2, name=f"{name}_state_beats")
        self.narrow_beats = Signal(bits, name=f"{name}_narrow_beats")
        self._left = Signal(32, name=f"{name}_left")
        three, two = job.momentum & job.root, job.momentum ^ job.root
        m.d.comb += [
            self.last.eq(self._left <= chunk),
            self.groups.eq(Mux(self.last, self._left, chunk)),
            self.state_beats.eq(
                self.groups + Mux(three, self.groups << 1, Mux(two, self.groups, 0))
            ),
            self.narrow_beats.eq((self.groups + NARROW_GROUPS - 1) // NARROW_GROUPS),
        ]

    def begin(self) -> None:
        """Begin the job; to be called under its condition."""
        self.m.d.sync += [self.active.eq(1), self._left.eq(self.job.groups)]

    def step(self) -> None:
        """Go to the next chunk; to be called under its condition."""
        self.m.d.sync += [self.active.eq(~self.last), self._left.eq(self._left - self.chunk)]

    def moved(self, address: Value, beats: Value) -> Value:
        """Return an address some beats on; what has left the memory port stays outside."""
        total = (address + beats)[: len(address)]
        return Cat(total[:-1], total[-1] | address[-1])

    def bytes_of(self, address: Value) -> Value:
        """Return the 64-bit byte address of a beat; outside the memory port all that matters is
        that it is there too."""
        beat = exact_log2(self.cfg.beat_bytes)
        width = len(address)
        return Cat(Const(0, beat), address, address[-1].replicate(64 - beat - width))
