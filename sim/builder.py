# SPDX-License-Identifier: Apache-2.0
"""Build Verilog for Verilator or Icarus Verilog, cached by content.

A build's directory name holds a hash of the sources, the flags and every tool version, so a stale
one is never run. Builds are made aside and renamed into place, so a killed build leaves nothing
that looks finished, and parallel callers of the same build wait for the first.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import cocotb_tools.config

from kiwicha.sim.interrupt import undone_by_signal
from kiwicha.sim.toolchain import SimulatorError, Toolchain, fst_headers_present

__all__ = ["Build", "build_design"]

#: Part of every hash: raise it when this module changes what a build contains.
_RECIPE = 2

_WAVES = ("none", "vcd", "fst")
_PUBLIC = ("top", "marked", "all")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Build:
    """A finished build, never changed again: what ``run_design`` needs to start it.

    Members
    -------
    waves : ``"none"``, ``"vcd"`` or ``"fst"``: what the build can record.
    seconds : time the build took (0 when it was found in the cache).
    """

    toolchain: Toolchain
    directory: Path
    top: str
    waves: str
    seconds: float


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _call(command: Sequence[str], cwd: Path, env: Mapping[str, str], log: Path) -> None:
    with log.open("a") as out:
        print("$", " ".join(command), file=out, flush=True)
        code = subprocess.run(
            command, cwd=cwd, env=env, stdout=out, stderr=subprocess.STDOUT, check=False
        ).returncode
    if code:
        text = log.read_text(errors="replace")
        errors = [line for line in text.splitlines() if re.search(r"error|undefined", line, re.I)]
        raise SimulatorError(
            f"{Path(command[0]).name} failed with exit code {code}: "
            + "\n".join(errors[:8] or text.splitlines()[-8:])
            + f"\n(the whole log: {log})"
        )


def _reuse_runtime(store: Path, mdir: Path) -> None:
    # A plain copy has a fresh time stamp, so make takes the object as already built.
    for path in store.glob("*.o"):
        shutil.copy(path, mdir / path.name)


def _keep(store: Path, paths: Iterable[Path]) -> None:
    if store.exists():
        return
    aside = store.with_name(f"{store.name}.{os.getpid()}")
    with undone_by_signal(aside):
        aside.mkdir(parents=True)
        for path in paths:
            shutil.copy2(path, aside / path.name)
        with contextlib.suppress(OSError):  # somebody else was first
            aside.rename(store)
        shutil.rmtree(aside, ignore_errors=True)


_HEADERS_MK = """include Vtop.mk
headers.h.gch: headers.h
\t$(CXX) $(OPT_FAST) $(CXXFLAGS) $(CPPFLAGS) -x c++-header $< -o $@
"""


def _headers(
    store: Path, mdir: Path, make: Sequence[str], env: Mapping[str, str], log: Path
) -> list[str]:
    """Have headers compiled once that are most of a build without optimization.

    Return more arguments for make. A compiler that can use no such file reads the headers again.
    """
    (mdir / "headers.mk").write_text(_HEADERS_MK)
    (mdir / "headers.h").write_text('#include "verilated.h"\n#include "verilated_vpi.h"\n')
    kept = store.with_name(f"{store.name}-headers")
    if not kept.exists():
        _call([*make, "headers.h.gch"], mdir, env, log)
        _keep(kept, mdir.glob("headers.h*"))
    # Instead of a large design's own, twice, which are compiled for it alone.
    for half in ("fast", "slow"):
        (mdir / f"Vtop__pch.h.{half}.gch").touch()
    header = shlex.quote(f"{kept}/headers.h").replace("$", "$$")
    user = f"USER_CPPFLAGS=-include {header} {env.get('USER_CPPFLAGS', '')}"
    return [user, "VK_PCH_I_FAST=", "VK_PCH_I_SLOW="]


def _build_verilator(
    toolchain: Toolchain,
    mdir: Path,
    cache: Path,
    top: str,
    optimize: str,
    args: Sequence[str],
    sources: Sequence[str],
) -> None:
    # The C++ compiler's temporary files, too, lie where an ended build leaves nothing.
    log, env = mdir / "build.log", toolchain.environ() | {"TMPDIR": str(mdir)}
    share, libs = cocotb_tools.config.share_dir, cocotb_tools.config.libs_dir
    (mdir / "public.vlt").write_text(
        f'`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n'
    )
    verilate = [str(toolchain.executable), "--cc", "--exe", "--vpi", "-Wno-fatal", "--Mdir", "."]
    verilate += ["--prefix", "Vtop", "-o", "simulation", "--top-module", top]
    verilate += ["-LDFLAGS", f"-Wl,-rpath,{libs} -L{libs} -lcocotbvpi_verilator"]
    verilate += [*args, str(share / "lib/verilator/verilator.cpp"), *sources]
    _call(verilate, mdir, env, log)
    # Verilator's run-time library is 3 s of a 4 s build and depends on these, never on the design.
    switches = re.findall(r"^VM_(?:TIMING|TRACE|COVERAGE)\w* = .*$", _classes(mdir), re.M)
    digest = _digest([*toolchain.ingredients(), *switches])
    store = cache.parent / f"verilated-{digest}"
    _reuse_runtime(store, mdir)
    # Set-up code (OPT_SLOW) is the bulk of a large design, runs once and optimises slowly.
    make = ["make", "-j", str(os.cpu_count() or 1), f"OPT_FAST={optimize}", "OPT_SLOW=-O0"]
    if optimize == "-O0":
        make += _headers(store, mdir, [*make, "-f", "headers.mk"], env, log)
    _call([*make, "-f", "Vtop.mk"], mdir, env, log)
    _keep(store, mdir.glob("verilated*.o"))
    # What is left over is a hundred times the program, most of it precompiled headers.
    for path in mdir.glob("*"):
        if path.suffix in (".a", ".gch", ".o"):
            path.unlink()


def _classes(mdir: Path) -> str:
    return (mdir / "Vtop_classes.mk").read_text()


_DUMPER = """module kiwicha_dump();
  reg [8*4096-1:0] name;
  initial if ($value$plusargs("dumpfile=%s", name)) begin
    $dumpfile(name);
    $dumpvars(0, {top});
  end
endmodule
"""


def _build_icarus(
    toolchain: Toolchain, mdir: Path, top: str, args: Sequence[str], sources: Sequence[str]
) -> None:
    (mdir / "flags.f").write_text("+timescale+1ns/1ps\n")
    (mdir / "dump.v").write_text(_DUMPER.replace("{top}", top))
    # From -g2009 on, initial values are there before `always @*` waits for them to change, and
    # what depends on them alone stays X.
    command = [str(toolchain.executable), "-g2005", "-o", "sim.vvp", "-f", "flags.f"]
    command += ["-s", top, "-s", "kiwicha_dump", *args, *sources, "dump.v"]
    _call(command, mdir, toolchain.environ() | {"TMPDIR": str(mdir)}, mdir / "build.log")


def _digest(parts: Sequence[str | bytes]) -> str:
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "little") + data)
    return hasher.hexdigest()[:16]


def build_design(
    toolchain: Toolchain,
    sources: Sequence[Path],
    *,
    top: str = "top",
    name: str | None = None,
    cache: Path,
    waves: str = "none",
    public: str = "top",
    timing: bool = False,
    optimize: str | None = None,
    args: Sequence[str] = (),
) -> Build:
    """Build ``sources`` so that cocotb can drive module ``top``; reuse an equal earlier build.

    Parameters
    ----------
    name : prefix of the build's directory under ``cache`` (default: ``top``).
    waves : ``"none"``, ``"vcd"`` or ``"fst"``. FST becomes VCD where Verilator cannot write it.
    public : which signals cocotb sees under Verilator: ``"top"`` (the top module's own, several
        times faster than all), ``"marked"`` (those that the sources say are public; faster still)
        or ``"all"``. Icarus always shows all.
    timing : allow delays in the sources, as in a clock made inside the simulation.
    optimize : C++ optimisation of the model; ``"-O0"`` gives the shortest build. By default what
        the environment variable ``KIWICHA_OPTIMIZE`` says, else ``"-O2"``.
    args : further arguments for ``verilator`` or ``iverilog``.

    Raises
    ------
    SimulatorError
        The build failed; the message has the first error lines and the log's path.
    """
    if waves not in _WAVES:
        raise ValueError(f"waves is {waves!r}; legal: {', '.join(_WAVES)}")
    if public not in _PUBLIC:
        raise ValueError(f"public is {public!r}; legal: {', '.join(_PUBLIC)}")
    verilator = toolchain.name == "verilator"
    optimize = optimize or os.environ.get("KIWICHA_OPTIMIZE", "-O2")
    if verilator:
        if waves == "fst" and not fst_headers_present():
            waves = "vcd"
        args = [*args, "--timescale", "1ns/1ps", "--timing" if timing else "--no-timing"]
        args += {"none": [], "vcd": ["--trace"], "fst": ["--trace-fst"]}[waves]
        args += {"all": ["--public-flat-rw"], "top": ["public.vlt"], "marked": []}[public]
    paths = [str(Path(source).resolve()) for source in sources]
    parts = [Path(path).read_bytes() for path in paths]
    cocotb = (importlib.metadata.version("cocotb"), str(cocotb_tools.config.libs_dir))
    digest = _digest(
        [
            str(_RECIPE), *toolchain.ingredients(), sys.version, *cocotb,
            top, waves, optimize, str(len(args)), *args, *parts,
        ]
    )
    cache = Path(cache).resolve()
    directory = cache / f"{name or top}-{digest}"
    started = time.monotonic()
    with _locked(cache / ".locks" / directory.name):
        if directory.exists():
            started = time.monotonic()
        else:
            aside = cache / f"{directory.name}.partial"
            shutil.rmtree(aside, ignore_errors=True)
            with undone_by_signal(aside):
                aside.mkdir(parents=True)
                if verilator:
                    _build_verilator(toolchain, aside, cache, top, optimize, args, paths)
                else:
                    _build_icarus(toolchain, aside, top, args, paths)
                aside.rename(directory)
    seconds = time.monotonic() - started
    return Build(toolchain=toolchain, directory=directory, top=top, waves=waves, seconds=seconds)
