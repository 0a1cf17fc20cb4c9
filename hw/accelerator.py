# SPDX-License-Identifier: Apache-2.0
"""The whole machine: control, memory port, and the engines that the configuration lists."""

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any, Final

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import Component, Out

from kiwicha.hw.compute.compute import ComputeEngine
from kiwicha.hw.control.control import Control
from kiwicha.hw.load.load import LoadEngine
from kiwicha.hw.parts.axi import AXI4LiteSignature, AXI4Signature
from kiwicha.hw.parts.engine import connect_by_name
from kiwicha.hw.parts.read_arbiter import ReadArbiter
from kiwicha.hw.parts.read_master import ReadMaster
from kiwicha.hw.parts.write_arbiter import WriteArbiter
from kiwicha.hw.parts.write_master import WriteMaster
from kiwicha.hw.special.special import SpecialEngine
from kiwicha.hw.store.records import Records
from kiwicha.hw.store.store import StoreEngine
from kiwicha.hw.update.update import UpdateEngine
from kiwicha.hw.vector.vector import VectorEngine
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES, Engine, StoreSource
from kiwicha.machine.register_map import ADDRESS_BITS

__all__ = ["ENGINE_CLASSES", "Accelerator"]

ENGINE_CLASSES: Final[dict[Engine, type[Any]]] = {
    Engine.LOAD: LoadEngine,
    Engine.COMPUTE: ComputeEngine,
    Engine.VECTOR: VectorEngine,
    Engine.SPECIAL: SpecialEngine,
    Engine.STORE: StoreEngine,
    Engine.UPDATE: UpdateEngine,
}
"""What is built for each engine of a machine: a component with an `EngineSignature`."""


def _flat(prefix: str, signature: wiring.Signature, *, flip: bool = False) -> dict[str, object]:
    """Members of an interface as ports of their own, with the names that vendor tools know."""
    members = (signature.flip() if flip else signature).members
    return {f"{prefix}_{name}": member for name, member in members.items()}


class Accelerator(Component):
    """An int8 accelerator with an AXI4 memory port, AXI4-Lite registers and an interrupt.

    Parameters
    ----------
    cfg : the machine.

    Members
    -------
    s_axil_* : AXI4-Lite subordinate, 32 bit data, 12 bit addresses
        Registers; `make verilog` writes their description.
    m_axi_* : AXI4 manager
        Reads programs, weights and activations, writes results; only inside the granted windows.
    interrupt : Out(1)
        Level, high while an enabled event is pending.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            **_flat("s_axil", AXI4LiteSignature(ADDRESS_BITS), flip=True),
            **_flat("m_axi", AXI4Signature(cfg.axi_address_width, cfg.axi_data_width)),
            "interrupt": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.control = control = Control(self.cfg)
        cleared = ResetInserter(control.clear)
        engines = {number: ENGINE_CLASSES[number](self.cfg) for number in control.engines}
        for number, engine in engines.items():
            m.submodules[number.name.lower()] = cleared(engine)
        self._connect_ports(m, "s_axil", control.s_axil)
        m.d.comb += self.interrupt.eq(control.interrupt)
        self._memory_port(m, cleared, control, engines)
        self._instructions(m, control, engines)
        self._data(m, control, engines)
        return m

    def _memory_port(
        self, m: Module, cleared: ResetInserter, control: Control, engines: Mapping[Engine, Any]
    ) -> None:
        """Reads of control, LOAD and UPDATE, writes of STORE and UPDATE: what all of them do about
        the bus."""
        read, write = ReadMaster(self.cfg), WriteMaster(self.cfg)
        update, store = engines.get(Engine.UPDATE), engines[Engine.STORE]
        readers = [control, engines[Engine.LOAD], *([update] if update else [])]
        arbiter = ReadArbiter(self.cfg, len(readers))
        m.submodules.read_master = cleared(read)
        m.submodules.write_master = cleared(write)
        m.submodules.read_arbiter = cleared(arbiter)
        for client, reader in enumerate(readers):
            wiring.connect(m, reader.request, arbiter.request[client])
            wiring.connect(m, arbiter.data[client], reader.data)
        wiring.connect(m, arbiter.master_request, read.request)
        wiring.connect(m, read.data, arbiter.master_data)
        if update:
            m.submodules.write_arbiter = writes = cleared(WriteArbiter(self.cfg))
            wiring.connect(m, update.write_request, writes.request[1])
            wiring.connect(m, update.write_data, writes.data[1])
            wiring.connect(m, writes.done[1], update.written)
            wiring.connect(m, store.request, writes.request[0])
            wiring.connect(m, store.data, writes.data[0])
            wiring.connect(m, writes.done[0], store.written)
            wiring.connect(m, writes.master_request, write.request)
            wiring.connect(m, writes.master_data, write.data)
            wiring.connect(m, write.done, writes.master_done)
        else:
            wiring.connect(m, store.request, write.request)
            wiring.connect(m, store.data, write.data)
            wiring.connect(m, write.done, store.written)
        masters: tuple[Any, Any] = (read, write)
        for number, master in enumerate(masters):
            self._connect_ports(m, "m_axi", master.axi)
            wiring.connect(m, master.error, control.fault[ENGINES + number])
            m.d.comb += master.stop.eq(control.stop)
        m.d.comb += [
            read.window_base.eq(control.read_base),
            read.window_limit.eq(control.read_limit),
            write.window_base.eq(control.write_base),
            write.window_limit.eq(control.write_limit),
            control.masters_idle.eq(read.idle & write.idle),
            control.read_beat.eq(read.axi.rvalid & read.axi.rready),
            control.written_beat.eq(write.axi.wvalid & write.axi.wready),
        ]

    def _instructions(self, m: Module, control: Control, engines: Mapping[Engine, Any]) -> None:
        """Instructions out, tokens, faults and signs of life back."""
        moving = {}
        for number, engine in engines.items():
            wiring.connect(m, getattr(control, number.name.lower()), engine.i)
            wiring.connect(m, engine.done, control.done[number])
            wiring.connect(m, engine.error, control.fault[number])
            m.d.comb += control.busy[number].eq(engine.busy)
            if "stop" in engine.signature.members:
                m.d.comb += engine.stop.eq(control.stop)
            if "stepping" in engine.signature.members:
                moving[number] = engine.stepping
        m.d.comb += [
            control.step.eq(moving.pop(Engine.COMPUTE)),
            control.progress.eq(reduce(or_, moving.values())),
        ]

    def _data(self, m: Module, control: Control, engines: Mapping[Engine, Any]) -> None:
        """Memory to scratchpads, array, accumulators, requantizers, records, memory."""
        m.submodules.records = records = Records(self.cfg)
        store = engines[Engine.STORE]
        m.d.comb += [
            records.kind.eq(store.record_kind),
            records.index.eq(store.record_index),
            store.record_data.eq(records.data),
            control.record_enable.eq(
                store.record_enable & (store.record_kind == StoreSource.COUNTERS)
            ),
            control.record_index.eq(store.record_index),
            records.counters.eq(control.record_data),
        ]
        connect_by_name(m, [
            *((engine, engine.signature.ports) for engine in engines.values()),
            (records, records.ports),
            (control, (
                *(("random",) if self.cfg.blocks.random else ()),
                *(("clamped",) if self.cfg.training else ()),
                *(("saturated", "rate") if self.cfg.update else ()),
            )),
        ])

    def _connect_ports(self, m: Module, prefix: str, interface: wiring.PureInterface) -> None:
        for name, member in interface.signature.members.items():
            port, inner = getattr(self, f"{prefix}_{name}"), getattr(interface, name)
            # A component's own interface has the flow that its signature says.
            m.d.comb += port.eq(inner) if member.flow == Out else inner.eq(port)
