# SPDX-License-Identifier: Apache-2.0
"""Dependency tokens: how engines that run on their own wait for each other."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from hw.control.fault import FaultSignature
from hw.isa import ENGINES, ErrorCode

__all__ = ["Tokens"]


class Tokens(Component):
    """One counter for every (producer, consumer) pair of engines, all zero after reset.

    A release gives one token to every consumer in its mask; an acquisition takes one from every
    producer in its mask, all in the cycle of the transfer or none. A token released in one cycle
    can be taken in the next. Taking and giving in the same cycle leaves a counter as it was, also
    a full one. A token that finds its counter full is dropped and reported.

    Parameters
    ----------
    bits
        Width of one counter, 1 to 16.

    Members
    -------
    acquire : In(stream.Signature(4)).array(4)
        Per consumer: mask of producers. Ready once each has a token there; ready at once for an
        empty mask. Ready depends on the mask in the same cycle.
    release : In(stream.Signature(4, always_ready=True)).array(4)
        Per producer: mask of consumers.
    error : Out(FaultSignature)
        TOKEN_OVERFLOW with the producer's number, in the cycle after the release.
    """

    def __init__(self, bits: int) -> None:
        if not 1 <= bits <= 16:
            raise ValueError(f"bits is {bits}; legal: 1 to 16")
        self.bits = bits
        self._counts = [
            [Signal(bits, name=f"count_{producer}_{consumer}") for consumer in range(ENGINES)]
            for producer in range(ENGINES)
        ]
        super().__init__({
            "acquire": In(stream.Signature(ENGINES)).array(ENGINES),
            "release": In(stream.Signature(ENGINES, always_ready=True)).array(ENGINES),
            "error": Out(FaultSignature),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counts = self._counts
        overflows = []
        for consumer, acquire in enumerate(self.acquire):
            available = Cat(counts[producer][consumer] != 0 for producer in range(ENGINES))
            m.d.comb += acquire.ready.eq((acquire.payload & ~available) == 0)
        for producer, release in enumerate(self.release):
            overflow = Signal(ENGINES, name=f"overflow_{producer}")
            overflows.append(overflow.any())
            for consumer, acquire in enumerate(self.acquire):
                count = counts[producer][consumer]
                give = release.valid & release.payload[consumer]
                take = acquire.valid & acquire.ready & acquire.payload[producer]
                full = count.all()
                with m.If((give ^ take) & ~(give & full)):
                    m.d.sync += count.eq(count + Cat(1, take.replicate(self.bits - 1)))
                m.d.comb += overflow[consumer].eq(give & ~take & full)
        m.d.sync += self.error.valid.eq(Cat(overflows).any())
        m.d.sync += self.error.payload.code.eq(ErrorCode.TOKEN_OVERFLOW)
        for producer in reversed(range(ENGINES)):
            with m.If(overflows[producer]):
                m.d.sync += self.error.payload.address.eq(producer)
        return m
