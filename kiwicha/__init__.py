# SPDX-License-Identifier: Apache-2.0
"""Generator of int8 deep-learning accelerators, bit-exact with ONNX Runtime.

The names below are all that is public; docs/python.md explains them. Each is imported when it is
first asked for: Amaranth and ONNX Runtime take a second, and every ``import kiwicha.hw...`` comes
through here.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kiwicha.api.compiled import (
        CompiledModel,
        compile_model,
        predict_cycles,
        write_program,
    )
    from kiwicha.api.machine import preset, read_config, write_verilog
    from kiwicha.api.model import Model, load_model
    from kiwicha.api.run import RunResult, run_golden, simulate
    from kiwicha.api.version import __version__
    from kiwicha.drivers.program import Program, load
    from kiwicha.errors import (
        ConfigError,
        InputError,
        KiwichaError,
        ModelError,
        ProgramError,
        UnfitMachine,
        UnsupportedModel,
    )
    from kiwicha.machine.config import AcceleratorConfig
    from kiwicha.machine.presets import PRESETS
    from kiwicha.sim.files import DestinationError
    from kiwicha.sim.simulation import MachineStopped
    from kiwicha.sim.toolchain import SimulatorError

__all__ = [
    "PRESETS",
    "AcceleratorConfig",
    "CompiledModel",
    "ConfigError",
    "DestinationError",
    "InputError",
    "KiwichaError",
    "MachineStopped",
    "Model",
    "ModelError",
    "Program",
    "ProgramError",
    "RunResult",
    "SimulatorError",
    "UnfitMachine",
    "UnsupportedModel",
    "__version__",
    "compile_model",
    "load",
    "load_model",
    "predict_cycles",
    "preset",
    "read_config",
    "run_golden",
    "simulate",
    "write_program",
    "write_verilog",
]

_MODULES = {
    "api.compiled": ("CompiledModel", "compile_model", "predict_cycles", "write_program"),
    "api.machine": ("preset", "read_config", "write_verilog"),
    "api.model": ("Model", "load_model"),
    "api.run": ("RunResult", "run_golden", "simulate"),
    "api.version": ("__version__",),
    "drivers.program": ("Program", "load"),
    "errors": (
        "ConfigError", "InputError", "KiwichaError", "ModelError", "ProgramError", "UnfitMachine",
        "UnsupportedModel",
    ),
    "machine.config": ("AcceleratorConfig",),
    "machine.presets": ("PRESETS",),
    "sim.files": ("DestinationError",),
    "sim.simulation": ("MachineStopped",),
    "sim.toolchain": ("SimulatorError",),
}
_LAZY = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'kiwicha' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"kiwicha.{_LAZY[name]}"), name)
    return value


def __dir__() -> list[str]:
    return list(__all__)
