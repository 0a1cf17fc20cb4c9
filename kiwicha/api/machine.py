# SPDX-License-Identifier: Apache-2.0
"""Machines: by name, from a file or as an object; and their Verilog."""

from pathlib import Path

from kiwicha.errors import ConfigError
from kiwicha.machine import presets
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import PRESETS
from kiwicha.sim.files import check_folder
from kiwicha.sim.hardware import write_hardware

__all__ = [
    "MachineLike", "chosen_machine", "find_machine", "preset", "read_config", "write_verilog",
]

MachineLike = str | Path | AcceleratorConfig
"""A machine as a user has it: the name of a preset, the path of a TOML file, or a configuration."""


def preset(name: str) -> AcceleratorConfig:
    """Return the configuration of this name; `PRESETS` has them all.

    Raises
    ------
    ConfigError
        When there is none; the message lists those there are.
    """
    try:
        return presets.preset(name)
    except ValueError as error:
        raise ConfigError(error) from None


def read_config(path: str | Path) -> AcceleratorConfig:
    """Read a TOML file: fields of `AcceleratorConfig`, and ``preset``, which they change.

    A machine that the file does not name is called as the file is.

    Raises
    ------
    ConfigError
        When the file cannot be read, or holds an unknown field or an illegal value; names file,
        field and what is legal.
    """
    try:
        return presets.read_config(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigError(" ".join(str(error).split())) from None


def find_machine(machine: MachineLike) -> AcceleratorConfig:
    """Return the configuration that ``machine`` is or names.

    A string with a suffix or a folder in it is a path.

    Raises
    ------
    ConfigError
        As of `preset` and `read_config`.
    """
    if isinstance(machine, AcceleratorConfig):
        return machine
    if isinstance(machine, Path):
        return read_config(machine)
    if isinstance(machine, str):
        if machine in PRESETS or Path(machine).name == Path(machine).stem == machine:
            return preset(machine)
        return read_config(machine)
    raise ConfigError(
        f"a {type(machine).__name__} is no machine; must be a preset's name, the path of a TOML "
        "file or an AcceleratorConfig"
    )


def chosen_machine(machine: MachineLike | None) -> AcceleratorConfig | None:
    """Return what `find_machine` does; None, for the machine that follows the model, stays."""
    return None if machine is None else find_machine(machine)


def write_verilog(
    machine: MachineLike, folder: str | Path, *, name: str | None = None
) -> list[Path]:
    """Write the hardware of a machine to a folder, which is made if need be; return the files.

    ``accelerator.v`` (Verilog-2005; the same bytes on every run with the same tools),
    ``manifest.json`` (ports, parameters, versions), and the register map as ``registers.json``,
    ``registers.h``, ``registers.py`` and ``registers.md``.

    Parameters
    ----------
    name : of the top module, where several machines are to be in one design: all modules, files
        (``name.v``, ``name_registers.h``) and the header's macros begin with it.

    Raises
    ------
    ConfigError
        For a machine that there is not, or a name that Verilog or VHDL do not take.
    DestinationError
        For a folder that cannot be written; nothing is.
    """
    config, folder = find_machine(machine), Path(folder)
    check_folder("folder", folder)
    return write_hardware(config, folder, name)
