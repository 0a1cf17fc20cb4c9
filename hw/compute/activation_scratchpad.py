# SPDX-License-Identifier: Apache-2.0
"""Activations on chip: written a beat at a time, read as a run of bytes from any address."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.ram import ram_class
from kiwicha.hw.parts.writes import bank_write
from kiwicha.hw.verilog.emit import shared
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["ActivationScratchpad", "byte_write_port"]


def byte_write_port(cfg: AcceleratorConfig) -> dict[str, object]:
    """Return the port that takes interleaved rows, as a member of who has it, if there is one."""
    signature = stream.Signature(bank_write(cfg), always_ready=True)
    return {"byte_write": In(signature)} if cfg.interleave else {}


class ActivationScratchpad(Component):
    """Byte-wide banks, byte address ``a`` in bank ``a`` modulo banks, and a rotator behind them.

    A read takes its bytes from one word of the upper banks and the next word of the lower ones;
    addresses wrap at the end of the scratchpad. One read and one write a cycle, not of the
    same byte. Latency ``read_latency`` cycles; neither back-pressure nor reset.

    Parameters
    ----------
    cfg : the machine.
    read_latency : 5 cycles, or 4 without registers behind block RAM.

    Members
    -------
    write : In(stream.Signature({address, data}, always_ready=True))
        A beat to a byte address, whose bits below the beat are ignored.
    byte_write : In(stream.Signature(bank_write(cfg), always_ready=True))
        A byte to any word of each bank; never in a cycle with one on ``write``. Only with
        ``interleave``.
    address : In(range(activation_bytes))
        Byte address of lane 0, any alignment.
    lanes : Out(ArrayLayout(8, rows))
        The bytes from that address on, ``read_latency`` cycles later.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._registered = "memory" in cfg.pipeline
        self.read_latency = 4 + self._registered
        write = data.StructLayout({
            "address": range(cfg.activation_bytes),
            "data": unsigned(cfg.axi_data_width),
        })
        super().__init__({
            "write": In(stream.Signature(write, always_ready=True)),
            **byte_write_port(cfg),
            "address": In(range(cfg.activation_bytes)),
            "lanes": Out(data.ArrayLayout(8, cfg.rows)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        banks, rows, beat = self.cfg.activation_banks, self.cfg.rows, self.cfg.beat_bytes
        bits = (banks - 1).bit_length()
        depth = self.cfg.activation_bytes // banks

        # Cycle 1: the two words, and which banks read the second.
        offset = Signal(bits)
        word, following = Signal(range(depth)), Signal(range(depth))
        second = Signal(banks)
        m.d.sync += [
            offset.eq(self.address[:bits]),
            word.eq(self.address[bits:]),
            following.eq(self.address[bits:] + 1),
            *(second[bank].eq(self.address[:bits] > bank) for bank in range(banks)),
        ]

        # Cycle 2: the banks. Cycle 3: their registers.
        write = self.write.payload
        group = write.address[:bits] >> (beat - 1).bit_length()
        read: list[Value] = []
        for index in range(banks):
            bank = ram_class(self.cfg.cells)(8, depth, registered=self._registered)
            m.submodules[f"bank{index}"] = shared(bank)
            m.d.comb += [
                bank.write_address.eq(write.address[bits:]),
                bank.write_data.eq(write.data.word_select(index % beat, 8)),
                bank.write.eq(self.write.valid & (group == index // beat)),
                bank.read_address.eq(Mux(second[index], following, word)),
            ]
            if self.cfg.interleave:
                byte = self.byte_write.payload[index]
                with m.If(self.byte_write.valid):
                    m.d.comb += [
                        bank.write_address.eq(byte.word),
                        bank.write_data.eq(byte.octet),
                        bank.write.eq(byte.live),
                    ]
            read.append(bank.read_data)

        # Two more cycles: rotate, by half of the offset's bits in each.
        for cycle in range(2, self.read_latency - 1):
            later = Signal(bits, name=f"offset_{cycle}")
            m.d.sync += later.eq(offset)
            offset = later
        low = -(-bits // 2)
        high = Signal(bits - low)
        turned = Signal(8 * banks)
        m.d.sync += [
            high.eq(offset[low:]),
            turned.eq(_rotate(Cat(read), offset[:low], 8)),
            self.lanes.as_value().eq(_rotate(turned, high, 8 << low)[: 8 * rows]),
        ]
        return m


def _rotate(value: Value, steps: Value, step: int) -> Value:
    """Return ``value`` rotated right by ``steps`` times ``step`` bits."""
    for place, bit in enumerate(steps):
        value = Mux(bit, value.rotate_right(step << place), value)
    return value
