# SPDX-License-Identifier: Apache-2.0
"""What ``kiwicha compile`` wrote, read back and checked; docs/programs.md says what it means."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kiwicha.drivers.values import Files, packed, unpacked
from kiwicha.errors import InputError, ProgramError

__all__ = ["SCHEMA", "Program", "ProgramValue", "load"]

SCHEMA: Final = 1
"""Version of the manifests that are read."""
MANIFEST: Final = "program.json"
_FIELDS = (
    "interface_version", "model", "machine", "program", "image", "relocations", "alignment",
    "address_width", "read_window", "write_window", "predicted_cycles", "inputs", "outputs",
    "layers",
)


@dataclass(frozen=True)
class ProgramValue:
    """An input or output as a user has it: name, shape in ONNX order, NumPy type."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Program:
    """A compiled model in a folder.

    Members
    -------
    name : of the model.
    manifest : all that program.json says.
    fingerprint, version : of the machine that it is for, and (major, minor) of its interface.
    image : uint8, memory from address 0.
    relocations : byte offsets in it of the 64-bit words to which a base is added.
    program, read_window, write_window : (address, bytes), (base, limit); from the image's
        beginning.
    alignment : a base must be a multiple of this, and should be one of 4096.
    inputs, outputs : what they are called and look like.
    cycles : how long it takes, as predicted.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], files: Files) -> None:
        self.folder, self.manifest, self._files = folder, manifest, files
        self.name: str = manifest["model"]
        self.fingerprint: int = manifest["machine"]["fingerprint"]
        major, minor = manifest["interface_version"].split(".")
        self.version = int(major), int(minor)
        self.image = np.frombuffer(files[manifest["image"]["file"]], np.uint8)
        places = np.frombuffer(files[manifest["relocations"]["file"]], "<u4")
        self.relocations = places.astype(np.int64)
        self.program = _pair(manifest["program"]["address"], manifest["program"]["bytes"])
        self.read_window = _pair(*manifest["read_window"])
        self.write_window = _pair(*manifest["write_window"])
        self.alignment: int = manifest["alignment"]["legal"]
        self.inputs, self.outputs = (
            tuple(
                ProgramValue(each["name"], tuple(each["shape"]), np.dtype(each["dtype"]))
                for each in manifest[kind]
            )
            for kind in ("inputs", "outputs")
        )
        self.cycles: int = manifest["predicted_cycles"]
        _require(
            self.relocations.size == 0 or self.relocations.max() + 8 <= self.image.size,
            folder / manifest["relocations"]["file"], "names words beyond the image",
        )

    def check_base(self, base: int, memory_bytes: int | None = None) -> None:
        """Raise ProgramError where the image cannot be at ``base``, in memory that has, from there
        on, ``memory_bytes``."""
        size, width = self.image.size, self.manifest["address_width"]
        if base < 0 or base % self.alignment:
            raise ProgramError(
                f"{self.name}: base {base:#x} is no multiple of {self.alignment}, the bytes of a "
                "beat"
            )
        if base + size > (limit := (1 << width) - self.alignment):
            raise ProgramError(
                f"{self.name}: at base {base:#x} memory would end at {base + size:#x}; addresses "
                f"of {width} bits and windows of whole beats end at {limit:#x}"
            )
        if memory_bytes is not None and size > memory_bytes:
            raise ProgramError(
                f"{self.name}: needs {size:,} bytes of memory, there are {memory_bytes:,}: "
                f"{size - memory_bytes:,} short"
            )

    def relocate(self, base: int, memory_bytes: int | None = None) -> NDArray[np.uint8]:
        """Return the image for memory from ``base`` on.

        Parameters
        ----------
        memory_bytes : what there is from there on; None for enough.

        Raises
        ------
        ProgramError
            For a base that is no multiple of a beat, and where memory ends too early.
        """
        self.check_base(base, memory_bytes)
        image = self.image.copy()
        places = self.relocations[:, None] + np.arange(8)
        words = image[places].view("<u8")
        words += np.uint64(base)
        image[places] = words.view(np.uint8)
        return image

    def pack(self, arrays: Mapping[str, Any]) -> list[tuple[int, bytes]]:
        """Return what to write where before a start, as (address in the image, bytes).

        Parameters
        ----------
        arrays : of every input, by name, in its shape and type.

        Raises
        ------
        InputError
            For an array that is missing, or not as it must be.
        """
        given = {name: np.asarray(array) for name, array in arrays.items()}
        known = [value.name for value in self.inputs]
        for name in given:
            if name not in known:
                raise InputError(f"no input is called '{name}'; there is: {', '.join(known)}")
        for value in self.inputs:
            if value.name not in given:
                raise InputError(f"input '{value.name}' is missing; needed: {', '.join(known)}")
            array = given[value.name]
            if array.dtype != value.dtype or array.shape != value.shape:
                raise InputError(
                    f"input '{value.name}' is {array.dtype} {array.shape}; must be "
                    f"{value.dtype} {value.shape}"
                )
        return [
            piece
            for described in self.manifest["inputs"]
            for made in described["tensors"]
            for piece in packed(described["name"], made, given[described["name"]], self._files)
        ]

    def unpack(
        self, memory: NDArray[np.uint8] | Callable[[int, int], bytes]
    ) -> dict[str, NDArray[Any]]:
        """Return the outputs by name.

        Parameters
        ----------
        memory : as the machine left it, from the image's beginning on; or what reads it, given an
            address in the image and a number of bytes.

        Raises
        ------
        InputError
            For results that are not finite, where the machine does not tell which ones.
        """
        if callable(memory):
            read = memory
        else:
            octets = memory

            def read(address: int, size: int) -> bytes:
                return octets[address : address + size].tobytes()

        described = self.manifest["outputs"]
        return {each["name"]: unpacked(each, read, self._files) for each in described}


def _pair(first: int, second: int) -> tuple[int, int]:
    return int(first), int(second)


def _require(right: bool, path: Path, what: str) -> None:
    if not right:
        raise ProgramError(f"{path}: {what}")


def load(folder: str | Path) -> Program:
    """Read what ``kiwicha compile --out FOLDER`` wrote, and check that it is whole.

    Raises
    ------
    ProgramError
        For a file that is not there, is truncated, is not the one that the manifest describes, or
        has been written by a Kiwicha that this one does not understand; names the file.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.exists() and (folder / "plan.json").exists():
        raise ProgramError(
            f"{folder / 'plan.json'}: several programs with parts for the host in between; load "
            "each of their folders"
        )
    text = _read(path)
    try:
        manifest = json.loads(text)
    except ValueError:  # also of characters
        raise ProgramError(f"{path}: not JSON, or truncated") from None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if not isinstance(schema, int):
        raise ProgramError(f"{path}: no manifest of a program: it has no schema")
    if schema != SCHEMA:
        age = "older" if schema < SCHEMA else "newer"
        raise ProgramError(
            f"{path}: schema {schema}, of {age} Kiwicha; this one reads {SCHEMA}: compile again"
        )
    for field in _FIELDS:
        _require(field in manifest, path, f"has no {field}: compile again")
    files = dict[str, bytes]()
    for kind in ("program", "image", "relocations", "host"):
        if kind in manifest or kind != "host":
            _add(files, folder, manifest[kind])
    try:
        _require(
            _fingerprint(manifest["machine"]["config"]) == manifest["machine"]["fingerprint"],
            path, "machine.fingerprint is not that of machine.config",
        )
        return Program(folder, manifest, files)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ProgramError):
            raise
        raise ProgramError(f"{path}: broken: {error}") from None


def _fingerprint(config: Mapping[str, Any]) -> int:
    """Return the number that tells machines apart, as `AcceleratorConfig.fingerprint` has it."""
    described = {name: value for name, value in config.items() if name != "name"}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:4], "little")


def _add(files: dict[str, bytes], folder: Path, described: Mapping[str, Any]) -> None:
    """Read a file and check that it is the one that was written."""
    try:
        name, size, digest = (described[key] for key in ("file", "bytes", "sha256"))
    except (KeyError, TypeError):
        raise ProgramError(f"{folder / MANIFEST}: broken: a file without name or hash") from None
    path = folder / name
    content = _read(path)
    _require(len(content) == size, path, f"has {len(content):,} bytes; must be {size:,}")
    if hashlib.sha256(content).hexdigest() != digest:
        raise ProgramError(f"{path}: not the file that {MANIFEST} describes (its SHA-256 differs)")
    files[name] = content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ProgramError(f"{path}: {error.strerror or error}") from None
