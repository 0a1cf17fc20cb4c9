# SPDX-License-Identifier: Apache-2.0
"""The CRC unit of both ends is zlib's CRC-32: on a basis, which settles a linear map."""

import zlib

import cocotb
from amaranth.hdl import Module
from amaranth.lib import crc
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import Component, In, Out
from cocotb.triggers import FallingEdge

from ..support.bench import run_cocotb
from ..support.streams import start_clock_and_reset


class Checker(Component):
    """The unit with ports."""

    start: In(1)
    valid: In(1)
    data: In(8)
    crc: Out(32)
    match: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = crc.Processor(CRC32_ISO_HDLC(data_width=8))
        m.d.comb += [
            unit.start.eq(self.start),
            unit.valid.eq(self.valid),
            unit.data.eq(self.data),
            self.crc.eq(unit.crc),
            self.match.eq(unit.match_detected),
        ]
        return m


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def is_zlibs(dut):
    await start_clock_and_reset(dut)

    async def feed(data):
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value = 0
        dut.valid.value = 1
        for byte in data:
            dut.data.value = byte
            await FallingEdge(dut.clk)
        dut.valid.value = 0

    # Any state of the register is some four bytes; the next depends on it and on one byte more, and
    # is an affine function over two elements: 40 bits and nothing at all decide it.
    basis = [bytes(5), *((1 << bit).to_bytes(5, "little") for bit in range(40))]
    for data in (*basis, b"123456789"):
        await feed(data)
        assert int(dut.crc.value) == zlib.crc32(data), data.hex(" ")
        code = zlib.crc32(data)
        await feed(data + code.to_bytes(4, "little"))
        assert dut.match.value == 1
        for bit in range(32):
            if (code + bit) % 7 == 0:
                await feed(data + (code ^ 1 << bit).to_bytes(4, "little"))
                assert dut.match.value == 0


def test_crc():
    run_cocotb(Checker(), __name__)
