# SPDX-License-Identifier: Apache-2.0
"""The UPDATE engine with both masters on a bus, and random instructions for it."""

from collections.abc import Mapping

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Component, In, Out
from cocotb.triggers import ClockCycles, RisingEdge

from kiwicha.golden.update import update
from kiwicha.hw.parts.axi import AXI4Signature
from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.hw.parts.read_master import ReadMaster
from kiwicha.hw.parts.write_master import WriteMaster
from kiwicha.hw.update.update import UpdateEngine
from kiwicha.machine.isa import ENGINES, SLOTS, UPDATE
from kiwicha.machine.optimizer import RATE_BITS, join_state, state_bytes
from kiwicha.machine.records import SLOT_LAYOUT

from .cases import random_fields, random_values

__all__ = ["SIZE", "UpdatePath", "apply", "finish", "instruction", "layout_of", "tensor"]

SIZE = 1 << 16

class UpdatePath(Component):
    """UPDATE engine, read master and write master as they are in the machine."""

    def __init__(self, cfg):
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(UPDATE)),
            "done": Out(stream.Signature(ENGINES, always_ready=True)),
            "busy": Out(1),
            "idle": Out(1),
            "stop": In(1),
            **{f"{kind}_{end}": In(cfg.axi_address_width)
               for kind in ("read", "write") for end in ("base", "limit")},
            "error": Out(FaultSignature),
            "read_error": Out(FaultSignature),
            "write_error": Out(FaultSignature),
            "saturated": Out(32),
            "rate": In(RATE_BITS),
            **({"slots": In(data.ArrayLayout(SLOT_LAYOUT, SLOTS))} if cfg.slots else {}),
            "axi": Out(AXI4Signature(cfg.axi_address_width, cfg.axi_data_width)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = UpdateEngine(self.cfg)
        m.submodules.read = read = ReadMaster(self.cfg)
        m.submodules.write = write = WriteMaster(self.cfg)
        for name in ("i", "done", "error"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(engine, name))
        wiring.connect(m, engine.request, read.request)
        wiring.connect(m, read.data, engine.data)
        wiring.connect(m, engine.write_request, write.request)
        wiring.connect(m, engine.write_data, write.data)
        wiring.connect(m, write.done, engine.written)
        wiring.connect(m, wiring.flipped(self.read_error), read.error)
        wiring.connect(m, wiring.flipped(self.write_error), write.error)
        m.d.comb += [
            self.busy.eq(engine.busy), self.idle.eq(read.idle & write.idle),
            self.saturated.eq(engine.saturated), engine.rate.eq(self.rate),
        ]
        if self.cfg.slots:
            m.d.comb += engine.slots.eq(self.slots)
        for unit, kind in ((read, "read"), (write, "write")):
            m.d.comb += [
                unit.stop.eq(self.stop),
                unit.window_base.eq(getattr(self, f"{kind}_base")),
                unit.window_limit.eq(getattr(self, f"{kind}_limit")),
            ]
            for name, member in unit.axi.signature.members.items():
                outer, inner = getattr(self.axi, name), getattr(unit.axi, name)
                m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        m.d.comb += engine.stop.eq(self.stop)
        return m


def layout_of(fields, cfg) -> Mapping[str, tuple[int, int]]:
    """Return (address, bytes) of what an instruction touches: whole beats."""
    beat, count = cfg.beat_bytes, fields["count"]
    sizes = {
        "state": state_bytes(count, fields["momentum"], fields["root"], beat),
        "gradients": count * (4 if fields["wide"] else 1),
        "codes": 0 if fields["accumulate"] else count,
    }
    return {name: (fields[name], -(-size // beat) * beat) for name, size in sizes.items()}


def instruction(cfg, rng, **changes):
    """Return a legal UPDATE whose pieces of memory do not meet, with a gap before each."""
    fields = dict.fromkeys(UPDATE.members, 0) | random_fields(rng)
    fields |= {"wide": int(rng.integers(2)), "count": int(rng.choice([1, 2, 37, 256, 301]))}
    if not fields["wide"]:
        fields["gradient_shift"] = int(rng.integers(-16, 8))
    if rng.random() < 0.2:
        fields |= {"accumulate": 1, "begin": int(rng.integers(2)), "momentum": 0, "root": 0}
    fields |= {"signal": int(rng.integers(1 << ENGINES))} | changes
    place = 0
    for name in rng.permutation(["state", "gradients", "codes"]).tolist():
        place += cfg.beat_bytes * int(rng.integers(1, 60))
        fields[name] = place
        place += layout_of(fields, cfg)[name][1]
    assert place + cfg.beat_bytes <= SIZE
    return fields


def tensor(memory, fields, cfg, rng):
    """Put a state and gradients of the whole legal range into ``memory``, uint8."""
    count = fields["count"]
    w, m, v, gradients = random_values(rng, count)
    values = [w, *([m] if fields["momentum"] else []), *([v] if fields["root"] else [])]
    state = join_state(values, cfg.beat_bytes)
    memory[fields["state"] :][: state.size] = state
    kind = "<i4" if fields["wide"] else "i1"
    octets = (gradients if fields["wide"] else gradients >> 24).astype(kind).view(np.uint8)
    memory[fields["gradients"] :][: octets.size] = octets


def apply(memory, fields, cfg, exponents=(), rate=0):
    """Do to ``memory``, uint8, what an UPDATE does; return how many weights saturate."""
    state, gradients, _ = (
        memory[start : start + size].copy() for start, size in layout_of(fields, cfg).values()
    )
    state, codes, over = update(fields, state, gradients, cfg.beat_bytes, exponents, rate)
    memory[fields["state"] :][: state.size] = state
    memory[fields["codes"] :][: codes.size] = codes
    return over


async def finish(dut, done, count):
    """Wait for that many answers; then nothing may be under way."""
    while len(done) < count:
        await RisingEdge(dut.clk)
        if dut.done__valid.value:
            done.append(int(dut.done__payload.value))
    await ClockCycles(dut.clk, 3)
    assert not dut.busy.value
    assert dut.idle.value
