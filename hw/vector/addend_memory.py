# SPDX-License-Identifier: Apache-2.0
"""Second operands of sums: beats in, a byte or word for every lane out, from any one on."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.ram import ram_class
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import LoadTarget

__all__ = ["AddendMemory"]


class AddendMemory(Component):
    """Operands in banks of half a beat: two, or as many as two pieces of all lanes.

    A write and a read every cycle. A read sees a write that was taken ``latency`` - 2 or more
    cycles earlier; of what is written just then it means nothing.

    Parameters
    ----------
    cfg : ``output_bytes``, ``axi_data_width`` and ``requantize_lanes``; ``real.bytes``.
    real : whether operands are binary32 (``real.bytes``, target REAL), else bytes
        (``output_bytes``, target ADDEND).
    latency : cycles from ``address`` to ``octets``: 4, or 3 without registers behind block RAM.

    Members
    -------
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats from LOAD; those for other targets are ignored.
    address : In(range(operands))
        Operand for lane 0, in every cycle.
    octets : Out(ArrayLayout(8, requantize_lanes)), of 32 bits if ``real``
        The operands from there on, ``latency`` cycles later, from registers; those beyond the last
        one are the first ones.
    """

    def __init__(self, cfg: AcceleratorConfig, *, real: bool = False) -> None:
        self.cfg = cfg
        self._octets = 4 if real else 1
        self._size = cfg.real.bytes if real else cfg.output_bytes
        self._target = LoadTarget.REAL if real else LoadTarget.ADDEND
        self._registered = "memory" in cfg.pipeline
        self.latency = 3 + self._registered
        super().__init__({
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "address": In(range(self._size // self._octets)),
            "octets": Out(data.ArrayLayout(8 * self._octets, cfg.requantize_lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, asked = self.cfg, self.write.payload
        half = cfg.beat_bytes // 2
        banks = 2 * max(1, self._octets * cfg.parameter_lanes // half)
        half_bits, row_bits = exact_log2(half), exact_log2(banks * half)
        size_bits = exact_log2(self._size)
        wanted: Value = self.address
        if self._octets > 1:
            wanted = Cat(Const(0, exact_log2(self._octets)), wanted)

        # Cycle 1: banks below the first byte are read in the next row.
        row, next_row = Signal(size_bits - row_bits), Signal(size_bits - row_bits)
        below, start = Signal(banks), Signal(row_bits)
        m.d.sync += [
            row.eq(wanted[row_bits:]),
            next_row.eq(wanted[row_bits:] + 1),
            below.eq(Cat(wanted[half_bits:row_bits] > bank for bank in range(banks))),
            start.eq(wanted[:row_bits]),
        ]

        # Cycle 2: read, and keep it where block RAM has registers.
        written = self.write.valid & (asked.target == self._target)
        place = asked.address[half_bits + 1 : row_bits]
        rows: list[Value] = []
        for bank in range(banks):
            memory = ram_class(cfg.cells)(
                8 * half, self._size // (banks * half), registered=self._registered
            )
            m.submodules[f"bank_{bank}"] = memory
            m.d.comb += [
                memory.write.eq(written & (place == bank // 2)),
                memory.write_address.eq(asked.address[row_bits:size_bits]),
                memory.write_data.eq(asked.data.word_select(bank % 2, 8 * half)),
                memory.read_address.eq(Mux(below[bank], next_row, row)),
            ]
            rows.append(memory.read_data)
        for stage in range(1 + self._registered):
            later = Signal(row_bits, name=f"start_{stage}")
            m.d.sync += later.eq(start)
            start = later

        # The last cycle: turn them around.
        m.d.sync += self.octets.eq(self._turned(Cat(rows), start))
        return m

    def _turned(self, row: Value, start: Value) -> Value:
        """Return the lanes' bytes: a step for each bit of ``start``, no wider than the rest."""
        octets = self.cfg.requantize_lanes * self._octets
        for bit in reversed(range(exact_log2(self._octets), len(start))):
            needed = 8 * (octets + (1 << bit) - self._octets)
            row = Mux(start[bit], row.rotate_right(8 << bit), row)[:needed]
        return row
