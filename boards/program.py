# SPDX-License-Identifier: Apache-2.0
"""A compiled model as the board's computer needs it: bytes, addresses, and nothing to import."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.emit.compile import CompiledModel
from kiwicha.compiler.graph.graph import Graph, Tensor
from kiwicha.errors import KiwichaError
from kiwicha.golden.network import outputs

__all__ = [
    "BoardProgram", "board_program", "load_tensors", "pack_inputs", "save_tensors",
    "unpack_outputs",
]

Region = tuple[int, int]
"""(byte address, bytes)."""


@dataclass(frozen=True, eq=False)
class BoardProgram:
    """A program, and where its tensors lie.

    Members
    -------
    name : of the machine that it is for, and ``fingerprint`` of the same.
    image : uint8; memory from address 0.
    program : region of the instructions.
    read_window, write_window : (base, limit) to grant, limit exclusive.
    inputs, outputs : regions by tensor name.
    cycles : how long it takes, as predicted.
    """

    name: str
    fingerprint: int
    image: NDArray[np.uint8]
    program: Region
    read_window: tuple[int, int]
    write_window: tuple[int, int]
    inputs: dict[str, Region]
    outputs: dict[str, Region]
    cycles: int

    def save(self, path: Path) -> None:
        """Write everything to one npz file."""
        described = {k: v for k, v in asdict(self).items() if k != "image"}
        np.savez_compressed(path, image=self.image, described=json.dumps(described))

    @classmethod
    def load(cls, path: Path) -> "BoardProgram":
        """Read what `save` wrote."""
        with np.load(path) as archive:
            image, described = archive["image"], json.loads(str(archive["described"]))

        def pair(value: list[int]) -> tuple[int, int]:
            return value[0], value[1]

        for field in fields(cls):
            if field.name in ("inputs", "outputs"):
                regions = described[field.name]
                described[field.name] = {name: pair(value) for name, value in regions.items()}
            elif field.name in ("program", "read_window", "write_window"):
                described[field.name] = pair(described[field.name])
        return cls(image=image, **described)


def board_program(compiled: CompiledModel, memory_bytes: int) -> BoardProgram:
    """Return what a board with so much memory needs of a compiled model.

    Raises
    ------
    KiwichaError
        It does not fit; says by how much.
    """
    if (size := compiled.image.size) > memory_bytes:
        raise KiwichaError(
            f"the model needs {size:,} bytes of memory, the board has {memory_bytes:,}: "
            f"{size - memory_bytes:,} short"
        )
    graph = compiled.graph

    def regions(tensors: tuple[Tensor, ...]) -> dict[str, Region]:
        return {tensor.name: (compiled.addresses[tensor.name], tensor.size) for tensor in tensors}

    return BoardProgram(
        name=compiled.config.name,
        fingerprint=compiled.config.fingerprint,
        image=compiled.image,
        program=compiled.program,
        read_window=compiled.read_window,
        write_window=compiled.write_window,
        inputs=regions(graph.input_tensors),
        outputs=regions(graph.output_tensors),
        cycles=compiled.timeline.total,
    )


def pack_inputs(graph: Graph, arrays: Mapping[str, NDArray[Any]]) -> dict[str, bytes]:
    """Quantize graph inputs (batch as compiled) and return each input tensor's bytes by name."""
    values: dict[str, NDArray[Any]] = dict(arrays)
    values |= {edge.tensor.name: edge(arrays[edge.source]) for edge in graph.quantize}
    return {t.name: t.to_memory(values[t.name]).tobytes() for t in graph.input_tensors}


def unpack_outputs(graph: Graph, found: Mapping[str, bytes]) -> dict[str, NDArray[Any]]:
    """Return the graph outputs, given each output tensor's bytes by name."""
    tensors = {tensor.name: tensor for tensor in graph.output_tensors}
    return outputs(graph, {
        name: tensor.from_memory(np.frombuffer(found[name], np.uint8))
        for name, tensor in tensors.items()
    })


def save_tensors(path: Path, tensors: Mapping[str, bytes]) -> None:
    """Write tensors by name to an npz file."""
    arrays: dict[str, Any] = {key: np.frombuffer(data, np.uint8) for key, data in tensors.items()}
    np.savez(path, **arrays)


def load_tensors(path: Path) -> dict[str, bytes]:
    """Read what `save_tensors` wrote."""
    with np.load(path) as archive:
        return {key: archive[key].tobytes() for key in archive}
