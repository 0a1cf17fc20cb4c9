# SPDX-License-Identifier: Apache-2.0
"""What quantization in blocks is worth in dB, and what several ways add, with the RTL's arithmetic.

The golden models are what is run over all samples; they are the RTL bit by bit, and one column of
the first table is also run through the RTL itself.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from amaranth.sim import Simulator, SimulatorContext

from kiwicha.bench.table import Table, say, terminal
from kiwicha.golden.block_quantize import block_quantize, dequantize
from kiwicha.golden.multiway import multiway_quantize
from kiwicha.hw.statistics.block_quantize import BlockQuantize
from kiwicha.machine.modes import BlockRounding

__all__ = ["DISTRIBUTIONS", "block_scales", "draw", "main", "picture", "several_ways"]

Array = npt.NDArray[np.float64]

SAMPLES = 1 << 18
#: (elements in a block, scaling) of the columns; the first one is the whole tensor.
COLUMNS = (
    (SAMPLES, "free"), (16384, "free"), (4096, "free"), (1024, "free"), (256, "free"),
    (64, "free"), (16, "free"), (256, "pot"),
)
#: Elements that share a row's scale, and the spread of its logarithm, in draws of ``rows``.
ROW, SPREAD = 64, 1.5
#: Title, and what a separate computation of the published scheme in binary64 gave for 2^18 samples.
DISTRIBUTIONS = {
    "normal": ("Gaussian", (39.0, 40.2, 41.2, 42.1, 43.2, 44.6, 46.6, 40.6)),
    "laplace": ("Laplace", (33.5, 35.5, 36.8, 38.3, 40.0, 42.1, 45.0, 36.9)),
    "rows": ("log-normal rows", (18.9, 25.2, 29.3, 34.4, 39.7, 44.5, 46.6, 36.7)),
    "student": ("Student's t (3)", (20.1, 24.5, 28.2, 31.7, 35.5, 39.4, 43.8, 32.2)),
}
#: bits: what the reference computation has of one way and of four ways by L2.
_WAYS = {3: "3.65 > 6.98", 4: "7.93 > 10.16", 6: "gain 0.00", 8: "gain 0.00"}
_CLIPS, _BLOCK = 4, 1024


def draw(kind: str, seed: int, samples: int = SAMPLES) -> npt.NDArray[np.int64]:
    """Return int32 values: samples times the power of two that brings the greatest to 30 bits."""
    rng = np.random.default_rng(seed)
    if kind == "rows":
        scale = np.exp(SPREAD * rng.standard_normal((samples // ROW, 1)))
        x = (scale * rng.standard_normal((samples // ROW, ROW))).ravel()
    elif kind == "student":
        x = rng.standard_t(3, samples)
    else:
        x = {"normal": rng.normal, "laplace": rng.laplace}[kind](size=samples)
    return np.rint(x * 2.0 ** (30 - int(np.ceil(np.log2(np.abs(x).max()))))).astype(np.int64)


def _decibels(x: npt.NDArray[np.int64], y: Array) -> float:
    return float(10 * np.log10(np.square(x, dtype=float).sum() / np.square(x - y).sum()))


def _block(x: npt.NDArray[np.int64], block: int, scaling: str) -> float:
    return _decibels(x, dequantize(block_quantize(x, block, scaling=scaling), block, scaling))


def _rtl_differences(x: npt.NDArray[np.int64], block: int, lanes: int = 8) -> int:
    """Return how many values of ``x`` the RTL quantizes (``pot``) to something else."""
    unit = BlockQuantize(lanes, block // lanes, free=False, rounding=BlockRounding.HALF_EVEN)
    found: list[int] = []

    async def feed(context: SimulatorContext) -> None:
        context.set(unit.i.valid, 1)
        for start in range(0, x.size, lanes):
            part = {"lanes": [int(v) for v in x[start : start + lanes]], "count": 0, "last": 0}
            context.set(unit.i.payload.vector, part)
            await context.tick().until(unit.i.ready)
        context.set(unit.i.valid, 0)

    async def take(context: SimulatorContext) -> None:
        context.set(unit.o.ready, 1)
        while len(found) < x.size:
            (payload,) = await context.tick().sample(unit.o.payload).until(unit.o.valid)
            found.extend(int(payload.lanes[k]) for k in range(lanes))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_testbench(take)
    simulator.run()
    return int((np.array(found) != block_quantize(x, block).values.ravel()).sum())


def block_scales(
    seeds: int = 11, rtl_samples: int = 1 << 12, progress: Callable[[str], None] = say
) -> Table:
    """Measure dB of int8 with a scale for each block."""
    rows, values = [], []
    for kind, (title, reference) in DISTRIBUTIONS.items():
        progress(f"quantization: {title}, {seeds} draws")
        draws = [draw(kind, seed) for seed in range(seeds)]
        found = np.array([[_block(x, *column) for column in COLUMNS] for x in draws])
        middle, low, high = np.median(found, 0), found.min(0), found.max(0)
        differences = _rtl_differences(draws[0][:rtl_samples], COLUMNS[-1][0])
        rows += [
            (title, *(f"{v:.1f}" for v in middle), f"{differences}"),
            ("  least-greatest", *(f"{a:.1f}-{b:.1f}" for a, b in zip(low, high, strict=True)), ""),
            ("  reference", *(f"{v:.1f}" for v in reference), ""),
        ]
        for k, (block, scaling) in enumerate(COLUMNS):
            values.append({
                "distribution": kind, "block": block, "scaling": scaling, "decibels": middle[k],
                "least": low[k], "greatest": high[k], "reference": reference[k],
                "rtl_differences": differences,
            })
    heads = (f"{block}" for block, _ in COLUMNS[1:-1])
    return Table(
        "block_scales",
        "Signal to quantization noise of int8, dB, by elements in a block",
        ("distribution", "whole", *heads, f"pot {COLUMNS[-1][0]}", "RTL differs"),
        tuple(rows),
        (
            f"Median of {seeds} draws of {SAMPLES:,} samples (NumPy's default_rng, seeds 0 to "
            f"{seeds - 1}), times a power of two that fills 30 bits. Scales are free, M / 127 with "
            "M the block's greatest magnitude; 'pot' is the power of two that holds M.",
            f"Log-normal rows: Gaussian, each row of {ROW} samples times exp({SPREAD} N(0, 1)). "
            f"The reference does not say its row and spread; {ROW} and {SPREAD} came nearest to it "
            "of 12 pairs tried (rows 64 to 512, spreads 1 to 2): agreement is a fit, no check.",
            "A block's scale follows its greatest sample. Where tails are heavy (blocks from 256 "
            "on) or blocks are few (from 16384 on), draws differ by more than 0.3 dB, and so may "
            "a median and the reference, which does not say how many draws it took.",
            f"'RTL differs': of the first {rtl_samples:,} samples of seed 0 in the last column, "
            "how many come out of the simulated BlockQuantize with another value.",
        ),
        tuple(values),
    )


def _float_ways(x: npt.NDArray[np.int64], bits: int, clips: int) -> float:
    """Return dB of ways with free scales in binary64, the best by L2."""
    blocks, top = x.reshape(-1, _BLOCK).astype(float), (1 << (bits - 1)) - 1
    ways = []
    for clip in range(clips):
        scale = np.abs(blocks).max(1, keepdims=True) / 2.0**clip / top
        ways.append(np.clip(np.rint(blocks / scale), -top, top) * scale)
    best = np.argmin([np.square(way - blocks).sum(1) for way in ways], axis=0)
    return _decibels(x, np.array(ways)[best, np.arange(len(blocks))].ravel())


def several_ways(seeds: int = 11, progress: Callable[[str], None] = say) -> Table:
    """Measure dB of one way and of four ways with narrower and narrower clips."""
    rows, values = [], []
    draws = [draw("student", seed) for seed in range(seeds)]
    for bits, reference in _WAYS.items():
        progress(f"quantization: four ways of {bits} bits, {seeds} draws")
        four = [(bits, clip) for clip in range(_CLIPS)]
        figures: dict[str, list[float]] = {"one way": []}
        picked = np.zeros(_CLIPS, np.int64)
        for x in draws:
            for name in ("one way", "l2", "cosine", "bias", "l1"):
                ways, by = (four[:1], "l2") if name == "one way" else (four, name)
                chosen = multiway_quantize(x, _BLOCK, ways, criterion=by)
                y = chosen.values * 2.0 ** np.repeat(chosen.shift, _BLOCK)
                figures.setdefault(name, []).append(_decibels(x, y))
                if name == "l2":
                    picked += np.bincount(chosen.way, minlength=_CLIPS)
        floats = [_float_ways(draws[0], bits, clips) for clips in (1, _CLIPS)]
        middle = {name: float(np.median(found)) for name, found in figures.items()}
        shares = " ".join(f"{share:.0%}" for share in picked / picked.sum())
        rows.append(
            (f"{bits} bits", *(f"{v:.2f}" for v in middle.values()), shares,
             f"{floats[0]:.2f} > {floats[1]:.2f}", reference)
        )
        values.append({"bits": bits, **middle, "picked": picked.tolist(), "float": floats,
                       "reference": reference, "draws": figures})
    return Table(
        "several_ways",
        f"Four ways with clips 1, 1/2, 1/4, 1/8 of the range, Student's t, {_BLOCK} a block, dB",
        ("width", "one way", "L2", "cosine", "bias", "L1", "picked by L2", "free scales, L2",
         "reference"),
        tuple(rows),
        (
            f"Median of {seeds} draws as above; ways with power-of-two scales, as the RTL has "
            "them. Only the choice by L2 is bound to lose nothing against one way.",
            "'Free scales' is the same choice with scales M / (2^(n - 1) - 1) in binary64 on the "
            "draw of seed 0: what the reference computation has measured. A power of two may leave "
            "half of the range empty, so that there a clip can help at 6 and 8 bits too.",
        ),
        tuple(values),
    )


def picture(scales: Table, ways: Table, path: Path) -> None:
    """Draw both tables side by side into a file of the kind that its name says (svg, png)."""
    # Only who wants a picture needs matplotlib (extra bench).
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for index, (kind, (title, _)) in enumerate(DISTRIBUTIONS.items()):
        found = [v for v in scales.values if v["distribution"] == kind and v["scaling"] == "free"]
        blocks = [v["block"] for v in found]
        color = f"C{index}"
        left.fill_between(
            blocks, [v["least"] for v in found], [v["greatest"] for v in found],
            color=color, alpha=0.2, linewidth=0,
        )
        left.plot(blocks, [v["decibels"] for v in found], "o-", color=color, label=title)
        left.plot(blocks, [v["reference"] for v in found], "x", color="black",
                  label=None if index else "reference computation")
    left.set_xscale("log", base=2)
    left.set(xlabel="elements in a block", ylabel="SQNR, dB", title="int8, free scale for a block")
    left.legend(fontsize="small")
    names, place = ("one way", "l2", "cosine", "bias", "l1"), np.arange(len(ways.values))
    for k, name in enumerate(names):
        right.bar(place + (k - 2) * 0.17, [v[name] for v in ways.values], 0.16, label=name)
    right.set_xticks(place, [f"{v['bits']} bits" for v in ways.values])
    right.set(ylabel="SQNR, dB", title=f"four clips, Student's t, {_BLOCK} a block")
    right.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Print the tables, and draw them where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=11, help="draws (default: 11)")
    parser.add_argument("--picture", metavar="FILE", type=Path, help="draw both tables (svg, png)")
    arguments = parser.parse_args()
    scales, ways = block_scales(arguments.seeds), several_ways(arguments.seeds)
    for table in (scales, ways):
        table.show(terminal())
    if arguments.picture:
        picture(scales, ways, arguments.picture)


if __name__ == "__main__":
    main()
