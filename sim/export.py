# SPDX-License-Identifier: Apache-2.0
"""A compiled model as files that a driver reads: program, memory image, and what lies where.

docs/programs.md says what the fields mean.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.emit.compile import CompiledModel
from kiwicha.compiler.graph.graph import (
    HostDequantize,
    HostDynamicDequantize,
    HostDynamicQuantize,
    HostOperators,
    HostQuantize,
    HostReal,
    HostRealInput,
    HostSums,
    Tensor,
    Value,
)
from kiwicha.compiler.graph.layout import Layout
from kiwicha.machine.register_map import VERSION
from kiwicha.machine.relocation import BASE_ALIGNMENT, address_words
from kiwicha.sim.export_c import c_files
from kiwicha.sim.files import write_files

__all__ = ["FILES", "SCHEMA", "program_files", "write_program"]

SCHEMA = 1
"""Version of the manifest: raised when a field goes or changes its meaning, not when one comes."""

FILES = ("program.json", "program.bin", "image.bin", "relocations.bin", "host.bin")
"""The manifest; instructions; memory; places in it of what are addresses; arrays for the host,
where it needs any."""


def write_program(
    name: str, compiled: CompiledModel, folder: Path, *, c_source: bool = False
) -> list[Path]:
    """Write `FILES` of a model called ``name``, with ``c_source`` `C_FILES` too, all or none;
    return those that there are."""
    files = program_files(name, compiled, c_source=c_source)
    paths = {folder / file: content for file, content in files.items()}
    write_files(paths)
    return list(paths)


def program_files(
    name: str, compiled: CompiledModel, *, c_source: bool = False, symbol: str | None = None
) -> dict[str, bytes]:
    """Return the contents of `FILES`, those that there are, by name.

    Parameters
    ----------
    c_source : `C_FILES` as well.
    symbol : what the program is called in them; ``name`` where None.
    """
    host = _Arrays(FILES[4])
    start, size = compiled.program
    program, image = compiled.image[start : start + size].tobytes(), compiled.image.tobytes()
    places = (start + 8 * address_words(compiled.words)).astype("<u4").tobytes()
    manifest = {
        "schema": SCHEMA,
        "kiwicha": importlib.metadata.version("kiwicha"),
        "interface_version": f"{VERSION[0]}.{VERSION[1]}",
        "model": name,
        "machine": {
            "name": compiled.config.name,
            "fingerprint": compiled.config.fingerprint,
            "config": compiled.config.to_dict(),
        },
        "program": {**_file(FILES[1], program), "address": start},
        "image": {**_file(FILES[2], image), "address": 0},
        "relocations": _file(FILES[3], places),
        "alignment": {"legal": compiled.config.beat_bytes, "cycles": BASE_ALIGNMENT},
        "address_width": compiled.config.axi_address_width,
        "read_window": list(compiled.read_window),
        "write_window": list(compiled.write_window),
        "predicted_cycles": compiled.timeline.total,
        "inputs": [_input(compiled, value, host) for value in compiled.graph.inputs],
        "outputs": [_output(compiled, value, host) for value in compiled.graph.outputs],
        "layers": [
            {
                "name": layer.name, "op": layer.op, "predicted_cycles": layer.predicted_cycles,
                "bytes_read": layer.bytes_read, "bytes_written": layer.bytes_written,
                "counters": layer.record,
            }
            for layer in compiled.layers
        ],
    }
    if host.data:
        manifest["host"] = _file(FILES[4], bytes(host.data))
    text = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
    contents = [text.encode(), program, image, places]
    contents += [bytes(host.data)] if host.data else []
    files = dict(zip(FILES, contents, strict=False))
    return files | (c_files(symbol or name, manifest, image, places) if c_source else {})


class _Arrays:
    """Arrays one after the other in a file."""

    def __init__(self, file: str) -> None:
        self.file, self.data = file, bytearray()

    def add(self, array: NDArray[Any], dtype: str) -> dict[str, Any]:
        """Return where in the file the array will be found."""
        offset = len(self.data)
        self.data += np.ascontiguousarray(array, dtype).tobytes()
        return {"file": self.file, "offset": offset, "dtype": dtype, "shape": list(array.shape)}


def _file(name: str, data: bytes) -> dict[str, Any]:
    return {"file": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _value(value: Value) -> dict[str, Any]:
    return {"name": value.name, "shape": list(value.shape), "dtype": value.dtype.name}


def _steps(layout: Layout) -> list[dict[str, Sequence[int]]]:
    return [{kind: [int(n) for n in argument]} for kind, argument in layout.steps]


def _tensor(compiled: CompiledModel, tensor: Tensor) -> dict[str, Any]:
    """Return where a tensor lies and how its elements follow each other."""
    steps = tensor.strides
    return {
        "address": compiled.addresses[tensor.name],
        "bytes": tensor.size,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype.name,
        "layout": _steps(tensor.layout),
        "strides": None if steps is None else list(steps),
    }


def _codes(compiled: CompiledModel, tensor: Tensor) -> dict[str, Any]:
    """Return the same of a tensor whose scale is known."""
    scale, zero = float(tensor.scale), int(tensor.zero_point)
    return {**_tensor(compiled, tensor), "scale": scale, "zero_point": zero}


def _input(compiled: CompiledModel, value: Value, host: _Arrays) -> dict[str, Any]:
    """Return a graph input, and every tensor that the host makes of it."""
    graph, made = compiled.graph, list[dict[str, Any]]()

    def how(kind: str, edge: HostQuantize | HostDynamicQuantize) -> dict[str, Any]:
        if edge.before is None:
            return {"kind": kind}
        model = host.add(np.frombuffer(edge.before.model, np.uint8), "<u1")
        told = f"compute and {kind}"
        return {"kind": told, "operators": list(edge.before.operators), "onnx": model}

    for edge in graph.quantize:
        if edge.source == value.name and isinstance(edge, HostRealInput):
            made.append({
                "kind": "binary32", "view": _steps(edge.view),
                "tensor": _tensor(compiled, edge.tensor),
            })
        elif edge.source == value.name and isinstance(edge, HostQuantize):
            made.append({
                **how("quantize", edge), "view": _steps(edge.view),
                **({"halves": "away from zero"} if edge.away else {}),
                "tensor": _codes(compiled, edge.tensor),
            })
    for dynamic in graph.dynamic:
        if dynamic.source == value.name:
            made.append({
                **how("quantize dynamically", dynamic), "view": _steps(dynamic.view),
                "tensor": _tensor(compiled, dynamic.tensor), "record": _record(compiled, dynamic),
            })
    for tensor in graph.input_tensors:
        if tensor.name == value.name:
            made.append({"kind": "codes", "tensor": _codes(compiled, tensor)})
    return {**_value(value), "tensors": made}


def _record(compiled: CompiledModel, edge: Any) -> dict[str, int]:
    """Return where a scale that is known at run time alone lies: binary32, then a uint8."""
    return _place(compiled, edge.record, edge.slot)


def _place(compiled: CompiledModel, record: Tensor, slot: int) -> dict[str, int]:
    return {"address": compiled.addresses[record.name] + 16 * slot, "slot": slot}


def _output(compiled: CompiledModel, value: Value, host: _Arrays) -> dict[str, Any]:
    """Return a graph output, and what the host makes it of."""
    graph, then = compiled.graph, dict[str, Any]()
    edge = next((edge for edge in graph.dequantize if edge.target == value.name), None)
    if edge is None:
        codes = _codes(compiled, graph.tensors[value.name])
        return {**_value(value), "kind": "codes", "tensor": codes}
    if isinstance(edge, HostOperators):
        tensors = [
            {"name": tensor.name, **_codes(compiled, tensor)} for tensor in edge.tensors
        ]
        return {
            **_value(value), "kind": "operators", "operators": list(edge.operators),
            "tensors": tensors, "onnx": host.add(np.frombuffer(edge.model, np.uint8), "<u1"),
        }
    if isinstance(edge, HostDequantize):
        codes = _codes(compiled, edge.tensor)
        if edge.values is None:
            return {**_value(value), "kind": "dequantize", "tensor": codes}
        kinds = np.broadcast_to(0 if edge.kinds is None else edge.kinds, edge.shape)
        return {
            **_value(value), "kind": "table", "tensor": codes,
            "values": host.add(edge.values, edge.values.dtype.newbyteorder("<").str),
            "rows": host.add(kinds, "<u4"),
        }
    if isinstance(edge, HostSums):
        tensor = _tensor(compiled, edge.tensor)
        return {**_value(value), "kind": "integers", "tensor": tensor, "view": _steps(edge.view)}
    if isinstance(edge, HostReal):
        then = {"kind": "binary32"}
        if edge.then is not None:
            model = host.add(np.frombuffer(edge.then.model, np.uint8), "<u1")
            then = {"kind": "binary32, then operators", "operators": list(edge.then.operators),
                    "onnx": model}
        return {
            **_value(value), **then, "tensor": _tensor(compiled, edge.tensor), "relu": edge.relu,
            "view": _steps(edge.view),
        }
    assert isinstance(edge, HostDynamicDequantize), "blocks are for simulations alone"
    then = {"kind": "sums"}
    if edge.then is not None:
        model = host.add(np.frombuffer(edge.then.model, np.uint8), "<u1")
        then = {"kind": "sums, then operators", "operators": list(edge.then.operators),
                "onnx": model}
    return {
        **_value(value), **then, "tensor": _tensor(compiled, edge.tensor),
        "record": _record(compiled, edge), "relu": edge.relu, "view": _steps(edge.view),
        "w_scale": host.add(np.reshape(edge.w_scale, -1), "<f4"),
        **({} if edge.other is None else {"other": _place(compiled, edge.other, edge.second)}),
        "bias": host.add(np.reshape(edge.bias, -1), "<f4"),
    }
