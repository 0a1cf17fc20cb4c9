# SPDX-License-Identifier: Apache-2.0
"""An SoC for the simulator: VexRiscv, LiteDRAM and its model of an SDRAM, a serial port, a machine.

Nothing of it is made for the machine but one line: a board's target of litex-boards in its place
takes the same.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from litedram.init import get_sdram_phy_c_header
from litedram.modules import MT48LC16M16
from litedram.phy.model import SDRAMPHYModel
from litex.build.generic_platform import Pins, Subsignal
from litex.build.io import CRG
from litex.build.sim import SimPlatform
from litex.soc.integration import export
from litex.soc.integration.soc_core import SoCCore

from kiwicha.boards.litex.core import add_kiwicha
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["CLOCK_HZ", "SimulatedSoC", "describe"]

CLOCK_HZ = 100_000_000
"""What the SoC believes of its clock: LiteDRAM takes the SDRAM's timing from it."""


def _pads() -> list[Any]:
    serial = [("valid", 1), ("ready", 1), ("data", 8)]
    # The platform adds to what it is given.
    return [
        ("sys_clk", 0, Pins(1)),
        ("sys_rst", 0, Pins(1)),
        ("serial", 0, *(
            Subsignal(f"{way}_{name}", Pins(bits))
            for way in ("source", "sink") for name, bits in serial
        )),
    ]


class SimulatedSoC(SoCCore):
    """VexRiscv, ROM, SRAM for stack and data, 64 MiB of SDRAM at 0x40000000, and a machine.

    Parameters
    ----------
    direct : as of `add_kiwicha`.
    rom_bytes : of the ROM, which holds the firmware and the network.
    l2_bytes : of LiteX's cache between its bus and LiteDRAM; 0 for none.
    """

    def __init__(
        self, machine: AcceleratorConfig, *, direct: bool = True, rom_bytes: int,
        l2_bytes: int = 0,
    ) -> None:
        platform = SimPlatform("SIM", _pads())
        super().__init__(
            platform, CLOCK_HZ, cpu_type="vexriscv", cpu_variant="standard",
            integrated_rom_size=rom_bytes, integrated_sram_size=0x2000, uart_name="sim",
            ident="", ident_version=False, with_timer=False,
        )
        self.crg = CRG(platform.request("sys_clk"), platform.request("sys_rst"))
        module = MT48LC16M16(CLOCK_HZ, "1:1")
        self.sdrphy = SDRAMPHYModel(module=module, data_width=32, clk_freq=CLOCK_HZ)
        self.add_sdram("sdram", phy=self.sdrphy, module=module, l2_cache_size=l2_bytes)
        add_kiwicha(self, machine, direct=direct, simulated=True)


@contextmanager
def _silence() -> Iterator[None]:
    """LiteX tells all that it does, a page a design."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def describe(
    machine: AcceleratorConfig, **options: Any
) -> tuple[str, list[str], dict[str, str]]:
    """Return a `SimulatedSoC` as Verilog, the paths of further Verilog, and headers by file name.

    The Verilog's module is ``sim``; it reads the ROM from ``sim_rom.init`` and is the same for the
    same SoC. The headers are those that LiteX generates for its own software. Options as of
    `SimulatedSoC`.
    """
    with _silence():
        soc = SimulatedSoC(machine, **options)
        soc.finalize()
        verilog = soc.platform.get_verilog(soc, name="sim").main_source
        sdram = soc.sdram.controller.settings
        headers = {
            "mem.h": export.get_mem_header(soc.mem_regions),
            "soc.h": export.get_soc_header(soc.constants, with_access_functions=False),
            "csr.h": export.get_csr_header(soc.csr_regions, soc.constants),
            "sdram_phy.h": get_sdram_phy_c_header(sdram.phy, sdram.timing, sdram.geom),
            "regions.ld": export.get_linker_output_format(soc.cpu)
            + export.get_linker_regions(soc.mem_regions),
        }
    # The comments have the time of day.
    lines = [line for line in verilog.splitlines() if not line.lstrip().startswith("//")]
    sources = [name for name, *_ in soc.platform.sources]
    return "\n".join(lines) + "\n", sources, headers
