# SPDX-License-Identifier: Apache-2.0
"""A clock of any whole number of megahertz from a board's oscillator, on the ECP5."""

from dataclasses import dataclass

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, Signal, Value
from amaranth.lib.cdc import ResetSynchronizer

__all__ = ["PllSettings", "add_pll", "pll_settings"]

_VCO_MHZ = (400, 800)
# Of the phase detector: ECP5 and ECP5-5G Family Data Sheet (FPGA-DS-02012), sysCLOCK PLL Timing.
_SLOWEST_DETECTOR_MHZ = 3.125
_MIDDLE_MHZ = 600


@dataclass(frozen=True)
class PllSettings:
    """Dividers of an EHXPLLL; its VCO runs at the output's frequency times ``output_divider``."""

    input_divider: int
    feedback_divider: int
    output_divider: int

    @property
    def cphase(self) -> int:
        """CLKOP_CPHASE without a shift; there is no other output to be in step with."""
        return self.output_divider - 1


def pll_settings(input_mhz: int, output_mhz: int) -> PllSettings:
    """Return the dividers that make ``output_mhz`` exactly, with the VCO nearest to its middle.

    Raises
    ------
    ValueError
        Where there are none; names the range.
    """
    found = [
        (abs(output_mhz * output - _MIDDLE_MHZ), i, feedback, output)
        for i in range(1, 128)
        if input_mhz / i >= _SLOWEST_DETECTOR_MHZ
        for feedback in range(1, 81)
        if input_mhz * feedback == output_mhz * i
        for output in range(1, 129)
        if _VCO_MHZ[0] <= output_mhz * output <= _VCO_MHZ[1]
    ]
    if not found:
        raise ValueError(
            f"no PLL settings make {output_mhz} MHz of {input_mhz} MHz; the clock is a whole "
            f"number of MHz, 4 to {_VCO_MHZ[1]}, and rarely any number"
        )
    return PllSettings(*min(found)[1:])


def add_pll(m: Module, clock: Value, input_mhz: int, output_mhz: int) -> None:
    """Make the domain ``sync`` of ``m`` run at ``output_mhz``, in reset until the PLL has locked.

    nextpnr works out the constraint of the output from that of ``clock``.
    """
    settings = pll_settings(input_mhz, output_mhz)
    output, locked = Signal(name="clock"), Signal()
    m.domains += ClockDomain("sync")
    m.submodules.pll = Instance(
        "EHXPLLL",
        a_FREQUENCY_PIN_CLKI=str(input_mhz), a_FREQUENCY_PIN_CLKOP=str(output_mhz),
        a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1",
        a_MFG_GMCREF_SEL="2",
        p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED",
        p_DPHASE_SOURCE="DISABLED",
        p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB",
        p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
        p_CLKI_DIV=settings.input_divider, p_CLKFB_DIV=settings.feedback_divider,
        p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=settings.output_divider,
        p_CLKOP_CPHASE=settings.cphase, p_CLKOP_FPHASE=0, p_FEEDBK_PATH="CLKOP",
        i_CLKI=clock, i_CLKFB=output, i_RST=Const(0, 1), i_STDBY=Const(0, 1),
        i_PHASESEL0=Const(0, 1), i_PHASESEL1=Const(0, 1), i_PHASEDIR=Const(1, 1),
        i_PHASESTEP=Const(1, 1), i_PHASELOADREG=Const(1, 1), i_PLLWAKESYNC=Const(0, 1),
        i_ENCLKOP=Const(0, 1), o_CLKOP=output, o_LOCK=locked,
    )
    m.d.comb += ClockSignal("sync").eq(output)
    m.submodules.reset = ResetSynchronizer(~locked, domain="sync")
