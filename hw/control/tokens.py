# SPDX-License-Identifier: Apache-2.0
"""Dependency tokens: how engines that run on their own wait for each other."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.machine.isa import ENGINES, Engine, ErrorCode

__all__ = ["Tokens"]


class Tokens(Component):
    """One counter for every (producer, consumer) pair of engines, all zero after reset.

    A release gives one token to every consumer in its mask; an acquisition takes one from every
    producer in its mask, all in the cycle of the transfer or none. A token released in one cycle
    can be taken in the next. Taking and giving in the same cycle leaves a counter as it was, also
    a full one. A token that finds its counter full is dropped and reported.

    Parameters
    ----------
    bits : width of one counter, 1 to 16.
    engines : those that the machine has. There are no counters for the others: their bits in a mask
        are not looked at, an acquisition of theirs is never ready, their releases are lost.

    Members
    -------
    acquire : In(stream.Signature(ENGINES)).array(ENGINES)
        Per consumer: mask of producers. Ready once each has a token there; ready at once for an
        empty mask. Ready depends on the mask in the same cycle.
    release : In(stream.Signature(ENGINES, always_ready=True)).array(ENGINES)
        Per producer: mask of consumers.
    error : Out(FaultSignature)
        TOKEN_OVERFLOW with the producer's number, two cycles after the release.
    """

    def __init__(self, bits: int, engines: Sequence[Engine] = tuple(Engine)) -> None:
        if not 1 <= bits <= 16:
            raise ValueError(f"bits is {bits}; legal: 1 to 16")
        self.bits = bits
        self.engines = tuple(engines)
        #: Tokens less one, so that the sign says that there is none.
        self._counts = {
            (producer, consumer): Signal(bits + 1, init=-1, name=f"count_{producer:d}_{consumer:d}")
            for producer in self.engines
            for consumer in self.engines
        }
        #: Consumers whose counters were full in the cycle before, by producer.
        self._overflows = {
            producer: Signal(ENGINES, name=f"overflow_{producer:d}") for producer in self.engines
        }
        super().__init__({
            "acquire": In(stream.Signature(ENGINES)).array(ENGINES),
            "release": In(stream.Signature(ENGINES, always_ready=True)).array(ENGINES),
            "error": Out(FaultSignature),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for consumer in self.engines:
            acquire = self.acquire[consumer]
            missing = [
                acquire.payload[producer] & self._counts[producer, consumer][-1]
                for producer in self.engines
            ]
            m.d.comb += acquire.ready.eq(~Cat(missing).any())
        for producer in self.engines:
            release = self.release[producer]
            overflow = self._overflows[producer]
            for consumer in self.engines:
                acquire = self.acquire[consumer]
                count = self._counts[producer, consumer]
                give = release.valid & release.payload[consumer]
                take = acquire.valid & acquire.ready & acquire.payload[producer]
                full = count == (1 << self.bits) - 2
                with m.If((give ^ take) & ~(give & full)):
                    m.d.sync += count.eq(count + Cat(1, take.replicate(self.bits)))
                m.d.sync += overflow[consumer].eq(give & ~take & full)
        m.d.sync += self.error.valid.eq(Cat(self._overflows.values()).any())
        m.d.sync += self.error.payload.code.eq(ErrorCode.TOKEN_OVERFLOW)
        for producer in reversed(self.engines):
            with m.If(self._overflows[producer].any()):
                m.d.sync += self.error.payload.address.eq(producer)
        return m
