# SPDX-License-Identifier: Apache-2.0
"""AXI4 and AXI4-Lite as interfaces, and what the memory masters and their clients exchange.

Members have the signal names of the AMBA specification in lower case, so that an interface called
``m_axi`` flattens to the ``m_axi_araddr`` that vendor tools and LiteX recognise.
"""

from typing import TYPE_CHECKING

from amaranth.hdl import ShapeLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kiwicha.machine.config import AcceleratorConfig

if TYPE_CHECKING:  # Amaranth has no types; to a type checker its enums are the library's
    import enum
else:
    from amaranth.lib import enum

__all__ = [
    "CACHE", "PAGE_BYTES", "REQUEST", "AXI4LiteSignature", "AXI4ReadSignature", "AXI4Signature",
    "AXI4WriteSignature", "Burst", "Response", "read_beat", "write_beat",
]

PAGE_BYTES = 4096
"""No AXI burst crosses a multiple of this address."""

CACHE = 0b0011
"""AxCACHE of every burst: normal, non-cacheable, bufferable."""


class Burst(enum.IntEnum, shape=2):
    """AxBURST."""

    FIXED = 0
    INCR = 1
    WRAP = 2


class Response(enum.IntEnum, shape=2):
    """RRESP and BRESP; bit 1 set means that the access failed."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


REQUEST = data.StructLayout({"address": 64, "beats": 32})
"""A run of ``beats`` beats, at least one, from byte ``address``, a multiple of a beat."""


def read_beat(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return what a read gives back: a beat, and whether it is the last one of its request."""
    return data.StructLayout({"data": cfg.axi_data_width, "last": 1})


def write_beat(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return what a write takes: a beat, and a strobe bit for each byte that is to be written."""
    return data.StructLayout({"data": cfg.axi_data_width, "strobe": cfg.beat_bytes})


def _address_channel(prefix: str, width: int) -> dict[str, wiring.Member]:
    fields: dict[str, ShapeLike] = {
        "id": 1, "addr": width, "len": 8, "size": 3, "burst": Burst, "prot": 3, "cache": 4,
    }
    channel = {f"{prefix}{name}": Out(shape) for name, shape in fields.items()}
    return channel | {f"{prefix}valid": Out(1), f"{prefix}ready": In(1)}


class AXI4ReadSignature(wiring.Signature):
    """The read channels of an AXI4 manager; Out is what the manager drives.

    Parameters
    ----------
    address_width, data_width : in bits.

    Members
    -------
    arid, araddr, arlen, arsize, arburst, arprot, arcache, arvalid : Out
        Read address; ``arlen`` is the number of beats less one.
    rid, rdata, rresp, rlast, rvalid : In
        Read data.
    arready : In(1); rready : Out(1)
    """

    def __init__(self, address_width: int, data_width: int) -> None:
        self.address_width = address_width
        self.data_width = data_width
        super().__init__({
            **_address_channel("ar", address_width),
            "rid": In(1), "rdata": In(data_width), "rresp": In(Response), "rlast": In(1),
            "rvalid": In(1), "rready": Out(1),
        })


class AXI4WriteSignature(wiring.Signature):
    """The write channels of an AXI4 manager; Out is what the manager drives.

    Parameters
    ----------
    address_width, data_width : in bits.

    Members
    -------
    awid, awaddr, awlen, awsize, awburst, awprot, awcache, awvalid : Out
        Write address; ``awlen`` is the number of beats less one.
    wdata, wstrb, wlast, wvalid : Out
        Write data.
    bid, bresp, bvalid : In
        Write response.
    awready, wready : In(1); bready : Out(1)
    """

    def __init__(self, address_width: int, data_width: int) -> None:
        self.address_width = address_width
        self.data_width = data_width
        super().__init__({
            **_address_channel("aw", address_width),
            "wdata": Out(data_width), "wstrb": Out(data_width // 8), "wlast": Out(1),
            "wvalid": Out(1), "wready": In(1),
            "bid": In(1), "bresp": In(Response), "bvalid": In(1), "bready": Out(1),
        })


class AXI4Signature(wiring.Signature):
    """All five channels of an AXI4 manager: the members of the read and the write signature."""

    def __init__(self, address_width: int, data_width: int) -> None:
        self.address_width = address_width
        self.data_width = data_width
        read = AXI4ReadSignature(address_width, data_width).members
        write = AXI4WriteSignature(address_width, data_width).members
        super().__init__({**dict(write.items()), **dict(read.items())})


class AXI4LiteSignature(wiring.Signature):
    """An AXI4-Lite manager's port with 32-bit data; a subordinate has it as ``In``.

    Parameters
    ----------
    address_width : in bits.

    Members
    -------
    awaddr, awprot, awvalid, wdata, wstrb, wvalid, bready, araddr, arprot, arvalid, rready : Out
    awready, wready, bresp, bvalid, arready, rdata, rresp, rvalid : In
    """

    def __init__(self, address_width: int) -> None:
        self.address_width = address_width
        super().__init__({
            "awaddr": Out(address_width), "awprot": Out(3), "awvalid": Out(1), "awready": In(1),
            "wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1),
            "bresp": In(Response), "bvalid": In(1), "bready": Out(1),
            "araddr": Out(address_width), "arprot": Out(3), "arvalid": Out(1), "arready": In(1),
            "rdata": In(32), "rresp": In(Response), "rvalid": In(1), "rready": Out(1),
        })
