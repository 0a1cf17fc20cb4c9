# SPDX-License-Identifier: Apache-2.0
"""What is the same on every board, and in the simulation: machine, memory and link."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.boards.link.format import PROTOCOL, Identity
from kiwicha.boards.link.link import SerialLink
from kiwicha.boards.memory import AxiMemory
from kiwicha.hw.accelerator import Accelerator
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["PAYLOAD_BYTES", "BoardTop", "identity_of"]

PAYLOAD_BYTES = 1024
"""Most data bytes of a frame, if the board does not say otherwise."""


def identity_of(
    cfg: AcceleratorConfig, clock_hz: int, memory_bytes: int, payload_bytes: int = PAYLOAD_BYTES
) -> Identity:
    """Return what a board with this machine says of itself."""
    return Identity(PROTOCOL, payload_bytes, memory_bytes, cfg.fingerprint, clock_hz)


class BoardTop(Component):
    """An accelerator, its memory, and a serial port through which a computer reaches both.

    Parameters
    ----------
    cfg : the machine; its memory port sees the memory from address 0.
    clock_hz : of the domain ``sync``.
    divisor : clock cycles of a bit on the serial port.
    memory_bytes : a power of two, at most what the machine can address (the default).
    payload_bytes : most data bytes of a frame.

    Members
    -------
    rx : In(1), tx : Out(1)
        The serial port, high when idle.
    interrupt : Out(1)
        The machine's.
    """

    def __init__(
        self,
        cfg: AcceleratorConfig,
        *,
        clock_hz: int,
        divisor: int,
        memory_bytes: int | None = None,
        payload_bytes: int = PAYLOAD_BYTES,
    ) -> None:
        self.cfg = cfg
        self.divisor = divisor
        self.memory_bytes = memory_bytes or 1 << cfg.axi_address_width
        self.identity = identity_of(cfg, clock_hz, self.memory_bytes, payload_bytes)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "interrupt": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.accelerator = accelerator = Accelerator(cfg)
        m.submodules.memory = memory = AxiMemory(
            cfg.axi_address_width, cfg.axi_data_width, self.memory_bytes
        )
        m.submodules.link = link = SerialLink(self.identity, self.divisor)
        wiring.connect(m, link.write, memory.write)
        wiring.connect(m, link.read, memory.read)
        wiring.connect(m, memory.fetched, link.fetched)
        for prefix, interface in (("m_axi", memory.axi), ("s_axil", link.bus)):
            for name, member in interface.signature.members.items():
                port, inner = getattr(accelerator, f"{prefix}_{name}"), getattr(interface, name)
                # A component's own interface has the flow that its signature says.
                m.d.comb += port.eq(inner) if member.flow == Out else inner.eq(port)
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            link.interrupt.eq(accelerator.interrupt),
            self.interrupt.eq(accelerator.interrupt),
        ]
        return m
