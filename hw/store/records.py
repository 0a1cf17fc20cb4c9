# SPDX-License-Identifier: Apache-2.0
"""The records that STORE writes: counters, slots of dynamic quantization, statistics."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import (
    COUNTER_WORDS,
    SLOT_BYTES,
    SLOTS,
    STATISTICS_RECORD,
    WORD_BITS,
    StoreSource,
)

__all__ = ["KEPT", "RECORD_LATENCY", "Records", "record_bytes", "record_index"]

KEPT = {StoreSource.DYNAMIC: "slots_record", StoreSource.STATISTICS: "statistics"}
"""The records that engines keep, by the ports where they give them."""

RECORD_LATENCY = 2
"""Cycles from a beat's number to the beat."""

_BITS = 3
"""Of a beat's number: so many choose between two registers."""


def record_bytes(cfg: AcceleratorConfig) -> dict[int, int]:
    """Return the bytes of each record that a machine has, a power of two."""
    return {
        StoreSource.COUNTERS: COUNTER_WORDS * WORD_BITS // 8,
        **({StoreSource.DYNAMIC: SLOTS * SLOT_BYTES} if cfg.slots else {}),
        **(
            {StoreSource.STATISTICS: STATISTICS_RECORD.size // 8}
            if cfg.statistics.elements
            else {}
        ),
    }


def record_index(cfg: AcceleratorConfig) -> range:
    """Return the shape of a beat's number, that of the longest record."""
    return range(max(record_bytes(cfg).values()) // cfg.beat_bytes)


class Records(Component):
    """Gives any beat of any record ``RECORD_LATENCY`` cycles later; a beat a cycle.

    A beat is that of the record in the cycle in which it is named. The counters lie in a memory of
    their own, whose beat is passed on.

    Parameters
    ----------
    cfg : what records there are, ``axi_data_width``.
    ports : those of ``KEPT`` that there are.

    Members
    -------
    kind : In(StoreSource); index : In(record_index(cfg))
        Beat ``index`` of record ``kind``; another source gives anything.
    data : Out(axi_data_width)
        That beat.
    counters : In(axi_data_width)
        The beat of that record that was named ``RECORD_LATENCY`` cycles before.
    slots_record, statistics : In(8 * record_bytes(cfg)[...])
        The other records that there are.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._sizes = {
            kind: size for kind, size in record_bytes(cfg).items() if kind in KEPT
        }
        self.ports = tuple(KEPT[StoreSource(kind)] for kind in self._sizes)
        super().__init__({
            "kind": In(StoreSource),
            "index": In(record_index(cfg)),
            "data": Out(cfg.axi_data_width),
            "counters": In(cfg.axi_data_width),
            **{KEPT[StoreSource(kind)]: In(8 * size) for kind, size in self._sizes.items()},
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if not self._sizes:
            m.d.comb += self.data.eq(self.counters)
            return m
        width, parts = self.cfg.axi_data_width, list[Signal]()
        select = Signal(range(8))

        # One of every eight beats, then one of those.
        with m.Switch(self.kind):
            for source, size in self._sizes.items():
                with m.Case(source):
                    m.d.sync += select.eq(len(parts) + self.index[_BITS:])
                record = getattr(self, KEPT[StoreSource(source)])
                for start in range(0, 8 * size, width << _BITS):
                    beats = record[start : start + (width << _BITS)]
                    beat = Signal(width, name=f"beat_{len(parts)}", reset_less=True)
                    place = self.index[: exact_log2(len(beats) // width)]
                    m.d.sync += beat.eq(beats.word_select(place, width))
                    parts.append(beat)
        chosen, passed, passing = Signal(width, reset_less=True), Signal(), Signal()
        m.d.sync += [
            chosen.eq(Cat(parts).word_select(select, width)),
            passing.eq(self.kind == StoreSource.COUNTERS),
            passed.eq(passing),
        ]
        m.d.comb += self.data.eq(Mux(passed, self.counters, chosen))
        return m
