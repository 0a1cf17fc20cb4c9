# SPDX-License-Identifier: Apache-2.0
"""Firmware for a LiteX SoC with VexRiscv: a compiled model and samples, as C, compiled to its ROM.

The compiler is Zig's Clang, a package of PyPI as all else; `firmware/` has the sources, LiteX its
crt0 and the headers of the CPU.
"""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from litex.soc.cores.cpu import vexriscv
from litex.soc.software import include
from numpy.typing import NDArray

from kiwicha import drivers
from kiwicha.drivers.program import Program
from kiwicha.places import build_folder

__all__ = ["Region", "compile_firmware", "output_regions", "rom_text", "samples_source"]

Region = tuple[int, int]
"""Bytes of the image: address, how many."""

_SOURCES = Path(__file__).with_name("firmware")
_DRIVER = Path(drivers.__file__).with_name("c")
_CPU = ("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m", "-mabi=ilp32")
_STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
_HOW = (
    "-O2", "-std=gnu99", "-fno-pic", "-ffunction-sections",
    "-fdata-sections", "-fno-sanitize=all", "-g0",
)


def output_regions(program: Program) -> list[Region]:
    """Return what of memory the outputs are made of."""
    regions: list[Region] = []

    def note(address: int, size: int) -> bytes:
        regions.append((address, size))
        return bytes(size)

    program.unpack(note)
    return list(dict.fromkeys(regions))


def samples_source(program: Program, samples: Sequence[Mapping[str, NDArray[Any]]]) -> str:
    """Return C: what firmware writes for each sample, and what it prints then."""
    header = (program.folder / "program.h").read_text(encoding="utf-8")
    (symbol,) = re.findall(r"extern const kiwicha_program (\w+);", header)
    lines = ['#include "samples.h"', "", '#include "program.h"', ""]
    lines += [f"const kiwicha_program *const network = &{symbol};"]
    pieces = [program.pack(sample) for sample in samples]
    for sample, of_sample in enumerate(pieces):
        for index, (_, octets) in enumerate(of_sample):
            lines += [f"static const uint8_t octets_{sample}_{index}[] = {{", *_rows(octets), "};"]
    lines.append("const struct piece samples[] = {")
    lines += [
        f"  {{{address}u, {len(octets)}u, octets_{sample}_{index}}},"
        for sample, of_sample in enumerate(pieces)
        for index, (address, octets) in enumerate(of_sample)
    ]
    lines += ["};", "const struct region results[] = {"]
    regions = output_regions(program)
    lines += [f"  {{{address}u, {size}u}}," for address, size in regions]
    lines += [
        "};", f"const uint32_t sample_count = {len(samples)}u;",
        f"const uint32_t piece_count = {len(pieces[0])}u;",
        f"const uint32_t result_count = {len(regions)}u;", "",
    ]
    return "\n".join(lines)


def _rows(octets: bytes) -> Iterable[str]:
    for start in range(0, len(octets), 24):
        yield "  " + ", ".join(map(str, octets[start : start + 24])) + ","


def compile_firmware(
    folder: Path, headers: Mapping[str, str], program: Program,
    samples: Sequence[Mapping[str, NDArray[Any]]],
) -> bytes:
    """Compile `firmware/`, the driver, a program that was written with C, and samples for a ROM.

    Parameters
    ----------
    folder : for everything that is made on the way; there it stays.
    headers : of the SoC, by file name.

    Raises
    ------
    RuntimeError
        With the compiler's first errors, or because there is none.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise RuntimeError("no C compiler for RISC-V: pip install 'kiwicha[litex]' (ziglang)")
    generated = folder / "generated"
    generated.mkdir(parents=True, exist_ok=True)
    for name, text in headers.items():
        (generated / name).write_text(text, encoding="utf-8")
    (folder / "samples.c").write_text(samples_source(program, samples), encoding="utf-8")
    cpu = Path(vexriscv.__file__).parent
    driver = [_DRIVER / name for name in ("kiwicha.c", "kiwicha_text.c")]
    written = [*sorted(_SOURCES.glob("*.c")), program.folder / "program.c", folder / "samples.c"]
    # Without warnings: what is LiteX's.
    searched = [f"-I{path}" for path in (_SOURCES, _DRIVER, program.folder.resolve())]
    for path in (folder, Path(*include.__path__), cpu):
        searched += ["-isystem", str(path)]
    _zig(folder, [
        "cc", *_CPU, *_HOW, *_STRICT, *searched, str(cpu / "crt0.S"),
        *(str(path.resolve()) for path in (*driver, *written)),
        # Which has the linker look for generated/regions.ld where it runs.
        "-T", str(_SOURCES / "linker.ld"), "-Wl,--gc-sections", "-o", "firmware.elf",
    ])
    _zig(folder, ["objcopy", "-O", "binary", "firmware.elf", "firmware.bin"])
    return (folder / "firmware.bin").read_bytes()


def _zig(folder: Path, arguments: Sequence[str]) -> None:
    cache = str(build_folder() / "zig")
    env = os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    done = subprocess.run(
        [sys.executable, "-m", "ziglang", *arguments], cwd=folder, env=env, check=False,
        capture_output=True, text=True,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        raise RuntimeError("\n".join(lines[:8]) or done.stderr[-2000:])


def rom_text(octets: bytes) -> str:
    """Return a ROM's contents as ``$readmemh`` reads them, 32-bit words."""
    words = np.frombuffer(octets + bytes(-len(octets) % 4), "<u4")
    return "".join(f"{word:08x}\n" for word in words)
