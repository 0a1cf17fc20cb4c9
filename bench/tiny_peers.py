# SPDX-License-Identifier: Apache-2.0
"""What others publish for the MLPerf Tiny networks, beside which our cycles stand.

Constants, because they were measured elsewhere: results of MLPerf Tiny's closed division, latency
times the clock that was stated with it, as read in November 2026; memory as each system has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kiwicha.bench.table import Table

__all__ = ["NETWORKS", "PUBLISHED", "TITLES", "Published", "published_table"]

TITLES = {
    "resnet8": "ResNet-8", "mobilenet": "MobileNetV1-0.25", "ds-cnn": "DS-CNN",
    "autoencoder": "autoencoder", "wake-word": "wake word",
}
"""What others call the networks of `bench.mlperf_tiny`."""

NETWORKS = tuple(TITLES.values())


@dataclass(frozen=True)
class Published:
    """A system: clock in MHz, thousands of cycles by network (lowest, highest)."""

    name: str
    clock: float | None
    kilocycles: dict[str, tuple[float, float]]
    how: str


PUBLISHED = (
    Published(
        "fpgaConvNet, Zybo", 125, {"ResNet-8": (394, 394), "DS-CNN": (269, 269)},
        "a circuit for each network",
    ),
    Published(
        "fpgaConvNet, ZedBoard", None,
        {"ResNet-8": (41, 59), "MobileNetV1-0.25": (950, 1360), "DS-CNN": (32, 46)},
        "a circuit for each network",
    ),
    Published(
        "Syntiant NDP9120", 98,
        {"ResNet-8": (502, 502), "MobileNetV1-0.25": (407, 407), "DS-CNN": (147, 147)}, "ASIC",
    ),
    Published(
        "GAP9 (NE16)", 370,
        {"ResNet-8": (230, 230), "MobileNetV1-0.25": (416, 416), "DS-CNN": (176, 176),
         "autoencoder": (65, 65)}, "ASIC",
    ),
    Published("CFU-Playground, iCE40 UP5K", None, {"DS-CNN": (25_200, 25_200)}, "a soft core"),
)


def published_table(ours: Sequence[Published] = (), how: Sequence[str] = ()) -> Table:
    """Return the table of `PUBLISHED` below what ours take.

    Parameters
    ----------
    how : how ours were measured, a sentence each.
    """

    def cell(system: Published, network: str) -> str:
        if network not in system.kilocycles:
            return "-"
        ends = dict.fromkeys(system.kilocycles[network])  # one, or the lowest and the highest
        cycles = "-".join(f"{kilo:,.0f}" for kilo in ends)
        if system.clock is None:
            return f"{cycles} k"
        return f"{cycles} k = {'-'.join(f'{kilo / system.clock:.2f}' for kilo in ends)} ms"

    systems = (*ours, *PUBLISHED)
    rows = tuple(
        (
            system.name, "-" if system.clock is None else f"{system.clock:g}",
            *(cell(system, network) for network in NETWORKS), system.how,
        )
        for system in systems
    )
    values = tuple(
        {"name": each.name, "clock": each.clock, "kilocycles": each.kilocycles}
        for each in systems
    )
    return Table(
        "tiny-published", "MLPerf Tiny networks beside what is published (cycles)",
        ("system", "MHz", *NETWORKS, "what it is"), rows,
        (
            "Others: closed division, the same int8 models; cycles are latency times the stated "
            "clock, with the memory that each system has.",
            *how,
        ),
        values,
    )
