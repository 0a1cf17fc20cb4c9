# SPDX-License-Identifier: Apache-2.0
"""Bias and scale of every output channel: written by the beat, read by the group of channels."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.delay import Delay
from kiwicha.hw.parts.ram import ram_class
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import PARAMETER_BYTES, LoadTarget
from kiwicha.machine.modes import RequantizeMode
from kiwicha.machine.records import OFFSET_PLACE, PARAMETER_LAYOUT

__all__ = ["ParameterMemory"]

_UNUSED = {RequantizeMode.ONNX: "shift", RequantizeMode.SHIFT: "multiplier"}


class ParameterMemory(Component):
    """Holds ``parameter_channels`` records in groups of ``parameter_lanes``, a group a cycle.

    Only what the requantizer of this machine looks at is stored: no padding, no lane beyond
    ``requantize_lanes``, no field its mode has no use for (that one reads as 0; with ``dynamic``
    there is always a multiplier), slopes only with ``real.bytes``, offsets with
    ``real.functions``. A group is not to be read in the cycle in which it is written.

    Parameters
    ----------
    cfg : ``axi_data_width``, ``parameter_channels``, ``requantize_lanes`` and ``requantize_mode``.
    groups : groups held.
    latency : cycles from ``read_group`` to ``data``: 3, or 2 without registers behind block RAM.

    Members
    -------
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats from LOAD; those for other targets are ignored.
    read_group : In(range(groups))
        Group to read, in every cycle.
    data : Out(ArrayLayout(PARAMETER_LAYOUT, requantize_lanes))
        That group, ``latency`` cycles later, from registers.
    slopes : Out(ArrayLayout(32, requantize_lanes))
        Its slopes, only with ``real.bytes``.
    offsets : Out(ArrayLayout(32, requantize_lanes))
        Its offsets, only with ``real.functions``.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.groups = cfg.parameter_channels // cfg.parameter_lanes
        self._registered = "memory" in cfg.pipeline
        self.latency = 2 + self._registered
        numbers = data.ArrayLayout(32, cfg.requantize_lanes)
        super().__init__({
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "read_group": In(range(self.groups)),
            "data": Out(data.ArrayLayout(PARAMETER_LAYOUT, cfg.requantize_lanes)),
            **({"slopes": Out(numbers)} if cfg.real else {}),
            **({"offsets": Out(numbers)} if cfg.real.functions else {}),
        })

    def _dynamic(self, name: str) -> bool:
        """Return whether dynamic quantization needs a field that the requantizer does not."""
        return self.cfg.dynamic and name == "multiplier"

    def _fields(self) -> list[tuple[str, data.Field]]:
        """Return the fields of a record that this machine may look at."""
        found = list(PARAMETER_LAYOUT)
        if self.cfg.real:
            found.append(("slope", data.Field(32, 8 * (PARAMETER_BYTES - 4))))
        if self.cfg.real.functions:
            found.append(("offset", data.Field(32, 8 * OFFSET_PLACE)))
        return found

    def _shown(self, lane: int, name: str) -> Value:
        """Return where a field of a lane is shown."""
        if name in ("slope", "offset"):
            return Value.cast((self.slopes if name == "slope" else self.offsets)[lane])
        return Value.cast(self.data[lane][name])

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        beat = cfg.beat_bytes
        # A row is as wide as a group or a beat, whichever is more: one beat may fill two groups.
        records = max(cfg.parameter_lanes, beat // PARAMETER_BYTES)
        row_bytes = records * PARAMETER_BYTES
        rows = cfg.parameter_channels // records
        banks = records // cfg.parameter_lanes

        address = self.write.payload.address
        position = address[exact_log2(beat) : exact_log2(row_bytes)]
        row = address[exact_log2(row_bytes) : exact_log2(row_bytes * rows)]
        written = Signal()
        m.d.comb += written.eq(
            self.write.valid & (self.write.payload.target == LoadTarget.PARAMETER)
        )
        m.submodules.bank = bank = Delay(range(banks), self.latency - 1)
        m.d.comb += bank.i.eq(self.read_group)

        # A beat of 8 bytes is half a record: each half is a memory of its own.
        chunk = min(beat, PARAMETER_BYTES)
        for lane in range(cfg.requantize_lanes):
            for start in range(0, PARAMETER_BYTES, chunk):
                stored = [
                    (name, field)
                    for name, field in self._fields()
                    if start <= field.offset // 8 < start + chunk
                    and (name != _UNUSED.get(cfg.requantize_mode) or self._dynamic(name))
                ]
                if not stored:
                    continue
                content: list[Value] = []
                for index in range(banks):
                    offset = (index * cfg.parameter_lanes + lane) * PARAMETER_BYTES + start
                    memory = ram_class(cfg.cells)(
                        sum(field.width for _, field in stored), rows, registered=self._registered
                    )
                    m.submodules[f"lane_{lane}_{start}_{index}"] = memory
                    base = offset % beat - start
                    m.d.comb += [
                        memory.write.eq(written & (position == offset // beat)),
                        memory.write_address.eq(row),
                        memory.write_data.eq(
                            Cat(
                                self.write.payload.data[8 * base + field.offset :][: field.width]
                                for _, field in stored
                            )
                        ),
                        memory.read_address.eq(self.read_group >> exact_log2(banks)),
                    ]
                    content.append(memory.read_data)
                target = Cat(self._shown(lane, name) for name, _ in stored)
                m.d.sync += target.eq(
                    content[0] if banks == 1 else Mux(bank.o, content[1], content[0])
                )
        return m
