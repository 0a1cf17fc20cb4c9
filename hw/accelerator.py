# SPDX-License-Identifier: Apache-2.0
"""The whole machine: control, memory port, and its engines in data-flow order."""

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import Component, Out

from kiwicha.hw.compute.compute import ComputeEngine
from kiwicha.hw.control.control import Control
from kiwicha.hw.load.load import LoadEngine
from kiwicha.hw.parts.axi import AXI4LiteSignature, AXI4Signature
from kiwicha.hw.parts.read_arbiter import ReadArbiter
from kiwicha.hw.parts.read_master import ReadMaster
from kiwicha.hw.parts.write_master import WriteMaster
from kiwicha.hw.special.special import SpecialEngine
from kiwicha.hw.store.records import Records
from kiwicha.hw.store.store import StoreEngine
from kiwicha.hw.vector.vector import VectorEngine
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import ENGINES, Engine, StoreSource
from kiwicha.machine.register_map import ADDRESS_BITS

__all__ = ["Accelerator"]


def _flat(prefix: str, signature: wiring.Signature, *, flip: bool = False) -> dict[str, object]:
    """Members of an interface as ports of their own, with the names that vendor tools know."""
    members = (signature.flip() if flip else signature).members
    return {f"{prefix}_{name}": member for name, member in members.items()}


class Accelerator(Component):
    """An int8 accelerator with an AXI4 memory port, AXI4-Lite registers and an interrupt.

    Parameters
    ----------
    cfg
        The machine.

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
        cfg = self.cfg
        m.submodules.control = control = Control(cfg)
        cleared = ResetInserter(control.clear)
        read, write = ReadMaster(cfg), WriteMaster(cfg)
        arbiter = ReadArbiter(cfg)
        load, store = LoadEngine(cfg), StoreEngine(cfg)
        compute = ComputeEngine(cfg)
        vector = VectorEngine(cfg, compute.read_latency)
        records = Records(cfg)
        m.submodules.read_master = cleared(read)
        m.submodules.write_master = cleared(write)
        m.submodules.read_arbiter = cleared(arbiter)
        m.submodules.load = cleared(load)
        m.submodules.compute = cleared(compute)
        m.submodules.vector = cleared(vector)
        m.submodules.store = cleared(store)
        m.submodules.records = records
        takers: list[ComputeEngine | SpecialEngine | VectorEngine] = [compute, vector]
        special = SpecialEngine(cfg) if cfg.special.lanes else None
        if special:
            m.submodules.special = cleared(special)
            takers.append(special)

        self._connect_ports(m, "s_axil", control.s_axil)
        self._connect_ports(m, "m_axi", read.axi)
        self._connect_ports(m, "m_axi", write.axi)
        m.d.comb += self.interrupt.eq(control.interrupt)

        # Memory port.
        wiring.connect(m, control.request, arbiter.request[0])
        wiring.connect(m, load.request, arbiter.request[1])
        wiring.connect(m, arbiter.data[0], control.data)
        wiring.connect(m, arbiter.data[1], load.data)
        wiring.connect(m, arbiter.master_request, read.request)
        wiring.connect(m, read.data, arbiter.master_data)
        wiring.connect(m, store.request, write.request)
        wiring.connect(m, store.data, write.data)
        wiring.connect(m, write.done, store.written)
        m.d.comb += [
            read.window_base.eq(control.read_base),
            read.window_limit.eq(control.read_limit),
            write.window_base.eq(control.write_base),
            write.window_limit.eq(control.write_limit),
            *(unit.stop.eq(control.stop) for unit in (read, write, load, store)),
        ]

        # Data flow: memory -> scratchpads -> array -> accumulators -> requantizers -> memory.
        for taker in takers:
            m.d.comb += [
                taker.write.valid.eq(load.write.valid),
                taker.write.payload.eq(load.write.payload),
            ]
        wiring.connect(m, load.weight_write, compute.weight_write)
        m.d.comb += [
            compute.read_entry.eq(vector.read_entry),
            vector.read_data.eq(compute.read_data),
            vector.output_enable.eq(store.read_enable),
            vector.output_address.eq(store.read_address),
            store.read_data.eq(vector.output_data),
            records.kind.eq(store.record_kind),
            records.index.eq(store.record_index),
            store.record_data.eq(records.data),
            control.record_enable.eq(
                store.record_enable & (store.record_kind == StoreSource.COUNTERS)
            ),
            control.record_index.eq(store.record_index),
            records.counters.eq(control.record_data),
        ]
        if special:
            m.d.comb += [
                special.result_enable.eq(store.result_enable),
                special.result_address.eq(store.result_address),
                store.result_data.eq(special.result_data),
            ]

        if cfg.dynamic:
            m.d.comb += [
                compute.slots.eq(vector.slots),
                records.dynamic.eq(vector.slots_record),
            ]
        if cfg.statistics.elements:
            m.d.comb += records.statistics.eq(vector.statistics)
        if cfg.blocks.random:
            m.d.comb += vector.random.eq(control.random)

        # Instructions out, tokens and faults back.
        engines: dict[
            Engine, ComputeEngine | LoadEngine | SpecialEngine | StoreEngine | VectorEngine
        ] = {
            Engine.LOAD: load,
            Engine.COMPUTE: compute,
            Engine.VECTOR: vector,
            Engine.STORE: store,
            **({Engine.SPECIAL: special} if special else {}),
        }
        for number, engine in engines.items():
            wiring.connect(m, getattr(control, number.name.lower()), engine.i)
            wiring.connect(m, engine.done, control.done[number])
            wiring.connect(m, engine.error, control.fault[number])
        wiring.connect(m, read.error, control.fault[ENGINES])
        wiring.connect(m, write.error, control.fault[ENGINES + 1])
        m.d.comb += [
            *(control.busy[number].eq(engine.busy) for number, engine in engines.items()),
            control.masters_idle.eq(read.idle & write.idle),
            control.read_beat.eq(read.axi.rvalid & read.axi.rready),
            control.written_beat.eq(write.axi.wvalid & write.axi.wready),
            control.step.eq(compute.stepping),
            control.progress.eq(vector.stepping | (special.stepping if special else 0)),
        ]
        return m

    def _connect_ports(self, m: Module, prefix: str, interface: wiring.PureInterface) -> None:
        for name, member in interface.signature.members.items():
            port, inner = getattr(self, f"{prefix}_{name}"), getattr(interface, name)
            # A component's own interface has the flow that its signature says.
            m.d.comb += port.eq(inner) if member.flow == Out else inner.eq(port)
