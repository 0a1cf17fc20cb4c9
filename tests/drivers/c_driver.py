# SPDX-License-Identifier: Apache-2.0
"""The C driver as a shared library with a compiled program in it, called from Python."""

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = [
    "FOLDER", "SOURCES", "STRICT", "U8P", "CDriver", "Memory", "Tensor", "compiled", "statuses",
]

FOLDER = Path(__file__).parents[2] / "drivers/c"
SOURCES = tuple(sorted(FOLDER.glob("*.c")))
STRICT = (
    "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow",
    "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wcast-qual", "-Wundef", "-Wswitch-enum",
    "-Werror",
)

U8P, U32, U64 = ctypes.POINTER(ctypes.c_uint8), ctypes.c_uint32, ctypes.c_uint64
READ = ctypes.CFUNCTYPE(U32, ctypes.c_void_p, U32)
WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, U32, U32)
CACHE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
IDLE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Port(ctypes.Structure):
    """kiwicha_port."""

    _fields_ = (
        ("context", ctypes.c_void_p), ("read32", READ), ("write32", WRITE), ("flush", CACHE),
        ("invalidate", CACHE), ("idle", IDLE),
    )


class Memory(ctypes.Structure):
    """kiwicha_memory."""

    _fields_ = (("data", U8P), ("base", U64), ("bytes", ctypes.c_size_t))


class Tensor(ctypes.Structure):
    """kiwicha_tensor."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("address", U32), ("bytes", U32), ("kind", ctypes.c_int),
        ("is_signed", ctypes.c_bool), ("scale", ctypes.c_float), ("zero_point", ctypes.c_int32),
        ("rank", ctypes.c_uint8), ("shape", ctypes.POINTER(U32)), ("strides", ctypes.POINTER(U32)),
    )


class Layer(ctypes.Structure):
    """kiwicha_layer."""

    _fields_ = (("name", ctypes.c_char_p), ("counters", U32))


class Program(ctypes.Structure):
    """kiwicha_program."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("fingerprint", U32), ("version_major", ctypes.c_uint16),
        ("version_minor", ctypes.c_uint16), ("alignment", U32), ("memory_bytes", U32),
        ("tensor_bytes", U32), ("image_offset", U32), ("image_bytes", U32), ("image", U8P),
        ("relocation_count", U32), ("relocations", ctypes.POINTER(U32)), ("program_address", U32),
        ("program_bytes", U32), ("read_window", U32 * 2), ("write_window", U32 * 2),
        ("input_count", U32), ("inputs", ctypes.POINTER(Tensor)), ("output_count", U32),
        ("outputs", ctypes.POINTER(Tensor)), ("layer_count", U32),
        ("layers", ctypes.POINTER(Layer)),
    )


class Device(ctypes.Structure):
    """kiwicha_device."""

    _fields_ = (
        ("port", Port), ("fingerprint", U32), ("version_major", ctypes.c_uint16),
        ("version_minor", ctypes.c_uint16), ("address_width", U32),
        ("program", ctypes.POINTER(Program)), ("memory", Memory), ("events", U32),
        ("error_code", U32), ("error_address", U64), ("found", U64), ("wanted", U64),
    )


def statuses() -> list[str]:
    """Return the names of kiwicha_status in order."""
    text = (FOLDER / "kiwicha.h").read_text().partition("typedef enum {")[2]
    lines = text.partition("} kiwicha_status")[0].splitlines()
    return [line.split()[0].rstrip(",").removeprefix("KIWICHA_") for line in lines if line.strip()]


def compiled(folder: Path, *sources: Path, flags: tuple[str, ...] = ()) -> Path:
    """Compile the driver and more to a shared library."""
    library = folder / "driver.so"
    command = ["cc", *STRICT, "-O1", "-shared", "-fPIC", *flags, f"-I{FOLDER}"]
    subprocess.run(
        [*command, *map(str, (*SOURCES, *sources)), "-o", str(library)], check=True, timeout=120
    )
    return library


class CDriver:
    """A device of the C driver on a machine with ``read32`` and ``write32``.

    Parameters
    ----------
    library : of `compiled`; symbol : the program's in it.
    """

    def __init__(
        self, library: Path, symbol: str, machine: Any, idle: Callable[[], None] | None = None
    ) -> None:
        self.library = ctypes.CDLL(str(library))
        # A copy, which a test may change: constants lie in memory that cannot be written.
        self.program = Program.from_buffer_copy(Program.in_dll(self.library, symbol))
        self.names = statuses()
        self.flushed, self.invalidated = list[tuple[int, int]](), list[tuple[int, int]]()
        self._hooks = (
            READ(lambda _, offset: machine.read32(offset)),
            WRITE(lambda _, offset, value: machine.write32(offset, value)),
            CACHE(lambda _, start, size: self.flushed.append((start, size))),
            CACHE(lambda _, start, size: self.invalidated.append((start, size))),
            IDLE(lambda _: idle()) if idle else IDLE(),
        )
        self.port, self.device, self.memory = Port(None, *self._hooks), Device(), Memory()

    def call(self, name: str, *arguments: Any) -> str:
        """Call a function of the device that returns a status; return the status' name."""
        function = getattr(self.library, f"kiwicha_{name}")
        return self.names[function(ctypes.byref(self.device), *arguments)]

    def probe(self) -> str:
        """Call kiwicha_probe."""
        return self.call("probe", ctypes.byref(self.port))

    def load(self, memory: Any, base: int, size: int | None = None) -> str:
        """Call kiwicha_load with a NumPy array as memory."""
        self.memory = Memory(
            memory.ctypes.data_as(U8P), base, memory.size if size is None else size
        )
        return self.call("load", ctypes.byref(self.program), ctypes.byref(self.memory))

    def text(self, status: str, size: int = 200) -> str:
        """Return the sentence for a status."""
        buffer = ctypes.create_string_buffer(b"\xff" * 210, 211)
        function = self.library.kiwicha_error_text
        function.restype = ctypes.c_size_t
        length = function(
            ctypes.byref(self.device), self.names.index(status), buffer, ctypes.c_size_t(size)
        )
        if size:
            assert buffer.raw[length] == 0
        assert set(buffer.raw[length + bool(size) : 210]) <= {255}
        return buffer.raw[:length].decode()
