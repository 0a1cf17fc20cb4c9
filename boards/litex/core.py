# SPDX-License-Identifier: Apache-2.0
"""A machine as a LiteX module, and the line that adds it to an SoC.

    from kiwicha.boards.litex.core import add_kiwicha
    add_kiwicha(soc, "ecp5-8x8")        # soc: a SoCCore whose memory is there already
"""

from pathlib import Path
from typing import Any

from litedram.frontend.axi import LiteDRAMAXI2Native
from litex.gen import LiteXModule
from litex.soc.integration.soc import SoCRegion
from litex.soc.interconnect.axi import AXIInterface, AXILiteInterface
from litex.soc.interconnect.csr_eventmanager import EventManager, EventSourceLevel
from migen import ClockSignal, Instance, ResetSignal

from kiwicha.hw.verilog.prefix import with_prefix
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import PRESETS, preset, read_config
from kiwicha.machine.register_map import ADDRESS_BITS
from kiwicha.places import build_folder
from kiwicha.sim.files import write_file
from kiwicha.sim.hardware import accelerator_verilog, write_hardware

__all__ = ["KiwichaCore", "add_kiwicha"]

_SENT = {
    "aw": ("addr", "len", "size", "burst", "prot", "cache", "id", "valid"),
    "w": ("data", "strb", "last", "valid"),
    "b": ("ready",),
    "ar": ("addr", "len", "size", "burst", "prot", "cache", "id", "valid"),
    "r": ("ready",),
}
"""What a machine drives of each channel of its AXI4 port; of the rest there is `_TAKEN`."""
_TAKEN = {
    "aw": ("ready",), "w": ("ready",), "b": ("id", "resp", "valid"), "ar": ("ready",),
    "r": ("id", "data", "resp", "last", "valid"),
}
_COMMANDS = {
    "aw": ("addr", "prot", "valid"), "w": ("data", "strb", "valid"), "b": ("ready",),
    "ar": ("addr", "prot", "valid"), "r": ("ready",),
}
"""What its AXI4-Lite port takes."""
_ANSWERS = {
    "aw": ("ready",), "w": ("ready",), "b": ("resp", "valid"), "ar": ("ready",),
    "r": ("data", "resp", "valid"),
}


def _ports(prefix: str, bus: Any, names: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    return {
        f"{prefix}_{channel}{name}": getattr(getattr(bus, channel), name)
        for channel, fields in names.items() for name in fields
    }


def _machine(machine: str | Path | AcceleratorConfig) -> AcceleratorConfig:
    if isinstance(machine, AcceleratorConfig):
        return machine
    known = machine in PRESETS or Path(machine).name == Path(machine).stem == machine
    return preset(str(machine)) if known else read_config(machine)


class KiwichaCore(LiteXModule):
    """A machine with its ports as LiteX has them, in clock domain ``sys``.

    Parameters
    ----------
    platform : takes the Verilog among its sources.
    machine : a preset's name, the path of a TOML file, or an `AcceleratorConfig`.
    folder : where ``accelerator.v``, ``registers.h`` and the like go; ``build/litex/NAME`` or the
        like of it in the user's cache unless given.
    prefix : what all modules are called after, as of `kiwicha.write_verilog`'s ``name``, where
        there are several machines.
    simulated : plain logic in place of an FPGA family's cells, for a simulator.

    Members
    -------
    config, folder : the machine, and where its files are.
    bus : AXI4 master, `config.axi_data_width` bits wide. Bursts INCR of whole beats, one ID.
    control : AXI4-Lite slave, 32 bits, 4 KiB of registers.
    ev : ``done`` is pending while the machine's interrupt is raised; its register
        ``interrupt_status`` clears it, LiteX's own pending register does not.

    Raises
    ------
    ValueError
        For a machine that there is not, or one with addresses wider than LiteX's 32 bits, or a
        prefix that Verilog or VHDL do not take.
    """

    def __init__(
        self, platform: Any, machine: str | Path | AcceleratorConfig = "small", *,
        folder: str | Path | None = None, prefix: str | None = None, simulated: bool = False,
    ) -> None:
        self.config = config = _machine(machine)
        width = config.axi_address_width
        if width > 32:
            raise ValueError(f"axi_address_width is {width}; LiteX has addresses of 32 bits")
        own = config.name if prefix is None else f"{config.name}-{prefix}"
        self.folder = build_folder() / "litex" / own if folder is None else Path(folder)
        self.bus = AXIInterface(
            data_width=config.axi_data_width, address_width=32, id_width=1, bursting=True,
        )
        self.control = AXILiteInterface(data_width=32, address_width=32)
        self.ev = EventManager()
        self.ev.done = EventSourceLevel(description="A program ended, or was stopped.")
        self.ev.finalize()
        top = prefix or "accelerator"
        sent, commands = _ports("m_axi", self.bus, _SENT), _ports("s_axil", self.control, _COMMANDS)
        taken, answers = _ports("m_axi", self.bus, _TAKEN), _ports("s_axil", self.control, _ANSWERS)
        for name in ("m_axi_awaddr", "m_axi_araddr"):
            sent[name] = sent[name][:width]
        for name in ("s_axil_awaddr", "s_axil_araddr"):
            commands[name] = commands[name][:ADDRESS_BITS]
        self.specials += Instance(
            top,
            i_clk=ClockSignal(), i_rst=ResetSignal(), o_interrupt=self.ev.done.trigger,
            **{f"i_{name}": signal for name, signal in (taken | commands).items()},
            **{f"o_{name}": signal for name, signal in (sent | answers).items()},
        )
        verilog = write_hardware(config, self.folder, prefix)[0]
        if simulated:
            text = accelerator_verilog(config).read_text(encoding="utf-8")
            verilog = self.folder / f"{top}_simulated.v"
            text = with_prefix(text, "accelerator", prefix) if prefix else text
            write_file(verilog, text.encode())
        platform.add_source(str(verilog), language="verilog")


def add_kiwicha(
    soc: Any, machine: str | Path | AcceleratorConfig = "small", *, name: str = "kiwicha",
    direct: bool | None = None, **options: Any,
) -> KiwichaCore:
    """Add a machine to an SoC: registers on its bus, memory, interrupt, and the class's constants.

    Parameters
    ----------
    soc : LiteX SoC whose memory is there already.
    name : of the module and its region: ``generated/mem.h`` has NAME_BASE. A second machine needs
        another one, and a ``prefix``.
    direct : a port of LiteDRAM's own for the machine, beside the bus and any L2 cache, instead of a
        master on the bus; by default where the SoC has LiteDRAM. What the CPU writes must then
        leave its caches before the machine reads it, as with any DMA of LiteX.
    options : as of `KiwichaCore`.

    Raises
    ------
    ValueError
        When the machine's addresses do not reach the memory, or there is no LiteDRAM for it.
    """
    config, sdram = _machine(machine), getattr(soc, "sdram", None)
    region, width = soc.bus.regions.get("main_ram"), config.axi_address_width
    if region is not None and region.origin + region.size > 1 << width:
        raise ValueError(
            f"main_ram ends at {region.origin + region.size:#x}; axi_address_width = {width} of "
            f"machine {config.name} does not reach it"
        )
    if direct and sdram is None:
        raise ValueError("direct: the SoC has no LiteDRAM called sdram")
    core = KiwichaCore(soc.platform, config, **options)
    soc.add_module(name=name, module=core)
    place = SoCRegion(size=1 << ADDRESS_BITS, cached=False, mode="rw")
    soc.bus.add_slave(name, core.control, place)
    if direct is False or sdram is None:
        soc.bus.add_master(name, core.bus)
    else:
        soc.submodules += LiteDRAMAXI2Native(
            core.bus, sdram.crossbar.get_port(data_width=core.bus.data_width),
            base_address=region.origin,
        )
    if soc.irq.enabled:
        soc.irq.add(name, use_loc_if_exists=True)
    return core
