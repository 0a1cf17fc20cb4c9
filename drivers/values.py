# SPDX-License-Identifier: Apache-2.0
"""What the host makes of inputs and outputs, as manifests say it: docs/programs.md, in NumPy."""

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.errors import InputError

__all__ = ["Files", "packed", "unpacked"]

Files = Mapping[str, bytes]
"""Contents of a program's files, by name."""
Reader = Callable[[int, int], bytes]
"""Reads memory: address from the image's beginning, bytes."""

_F0 = np.float32(0)


def _steps(array: NDArray[Any], steps: list[dict[str, list[int]]]) -> NDArray[Any]:
    """Apply reshapes and transposes; return the flat result."""
    for step in steps:
        ((kind, argument),) = step.items()
        array = array.reshape(argument) if kind == "reshape" else array.transpose(argument)
    return array.reshape(-1)


def _stored(where: Mapping[str, Any], files: Files) -> NDArray[Any]:
    count = prod(where["shape"])
    found = np.frombuffer(files[where["file"]], where["dtype"], count, where["offset"])
    return found.reshape(where["shape"])


def _hosted(
    where: Mapping[str, Any], given: Mapping[str, NDArray[Any]] | NDArray[Any], files: Files
) -> NDArray[Any]:
    """Run an ONNX model of the host's, on its one input or on arrays by name."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise InputError(
            "this program has parts for the host that need ONNX Runtime: pip install onnxruntime"
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = _stored(where, files).tobytes()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    if not isinstance(given, Mapping):
        given = {session.get_inputs()[0].name: given}
    return np.asarray(session.run(None, dict(given))[0])


def packed(
    name: str, made: Mapping[str, Any], array: NDArray[Any], files: Files
) -> Iterator[tuple[int, bytes]]:
    """Yield (address, bytes) of a tensor, and of what belongs to it, that is made of input
    ``name``.

    Raises
    ------
    InputError
        Where its range is to be quantized, and is not finite.
    """
    kind, tensor = made["kind"], made["tensor"]
    if kind == "binary32":
        yield tensor["address"], np.ascontiguousarray(_steps(array, made["view"]), "<f4").tobytes()
        return
    if kind == "codes":
        codes = array
    else:
        real = _hosted(made["onnx"], array, files) if "onnx" in made else array
        real = _steps(real, made["view"]).astype(np.float32)
        if "record" in made:
            codes, record = _dynamic(name, real)
            yield made["record"]["address"], record
        else:
            codes = _quantized(real, made)
    codes = codes.astype(tensor["dtype"]).reshape(tensor["shape"])
    yield tensor["address"], np.ascontiguousarray(_steps(codes, tensor["layout"])).tobytes()


def _quantized(real: NDArray[np.float32], made: Mapping[str, Any]) -> NDArray[np.float32]:
    tensor = made["tensor"]
    info, zero = np.iinfo(tensor["dtype"]), np.float32(tensor["zero_point"])
    with np.errstate(over="ignore", invalid="ignore"):
        real = real / np.float32(tensor["scale"])
        if made.get("halves") == "away from zero":
            whole = np.trunc(real)
            whole += np.copysign(np.abs(real - whole) >= 0.5, real)
            real = np.where(np.abs(whole) < 2.0**31, whole, np.float32(-np.inf))
        real = np.where(np.isnan(real), np.float32(-np.inf), real)
    return np.asarray(np.rint(np.clip(real, info.min - zero, info.max - zero)) + zero)


def _dynamic(name: str, real: NDArray[np.float32]) -> tuple[NDArray[np.float32], bytes]:
    """Quantize as DynamicQuantizeLinear; return codes, and scale and zero point as a record."""
    low, high = np.minimum(real.min(), _F0), np.maximum(real.max(), _F0)
    with np.errstate(over="ignore", invalid="ignore"):
        extent = np.float32(high - low)
    if not np.isfinite(extent):
        raise InputError(
            f"input '{name}' has values from {low:g} to {high:g}; to be quantized dynamically, "
            "they and their range in binary32 must be finite"
        )
    scale, zero = np.float32(1), _F0
    if low != high:
        scale = np.float32(extent / np.float32(255))
        # A range so small that its scale rounds to 0: as with the runtime, 0 / 0 ends up there.
        zero = np.rint(np.clip(-low / scale, 0, 255)) if scale else np.float32(255)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.nan_to_num(np.rint(real / scale) + zero, nan=0, posinf=255, neginf=0)
    record = scale.astype("<f4").tobytes() + bytes([int(zero)]) + bytes(11)
    return np.clip(codes, 0, 255), record


def _codes(tensor: Mapping[str, Any], read: Reader) -> NDArray[Any]:
    """Return a tensor in ONNX order."""
    flat = np.frombuffer(read(tensor["address"], tensor["bytes"]), tensor["dtype"])
    codes = np.empty_like(flat)
    codes[_steps(np.arange(flat.size).reshape(tensor["shape"]), tensor["layout"])] = flat
    return codes.reshape(tensor["shape"])


def _scale(place: Mapping[str, int], read: Reader) -> NDArray[np.float32]:
    return np.frombuffer(read(place["address"], 4), "<f4")


def unpacked(value: Mapping[str, Any], read: Reader, files: Files) -> NDArray[Any]:
    """Return an output, given what reads memory.

    Raises
    ------
    InputError
        For binary32 results that are not finite: the machine does not tell which ones.
    """
    kind, shape = value["kind"], value["shape"]
    if kind == "operators":
        given = {tensor["name"]: _codes(tensor, read) for tensor in value["tensors"]}
        return _hosted(value["onnx"], given, files).astype(value["dtype"]).reshape(shape)
    tensor = value["tensor"]
    found = _codes(tensor, read)
    if kind == "dequantize":
        with np.errstate(over="ignore"):
            centred = (found.astype(np.int32) - tensor["zero_point"]).astype(np.float32)
            found = centred * np.float32(tensor["scale"])
    elif kind == "table":
        rows = _stored(value["rows"], files)
        found = _stored(value["values"], files)[rows, found.view(np.uint8)]
    elif kind == "integers":
        found = _steps(np.ascontiguousarray(found).view("<i4"), value["view"])
    elif kind.startswith("binary32"):
        found = np.ascontiguousarray(found).reshape(-1).view("<f4").astype(np.float32)
        if not np.isfinite(found).all():
            raise InputError(
                f"output '{value['name']}' has values that are not finite in binary32"
            )
        found = _finished(found, value, files)
    elif kind.startswith("sums"):
        total = np.ascontiguousarray(found).view("<i4").astype(np.float32)
        other = value.get("other")
        w_scale = _scale(other, read) if other else _stored(value["w_scale"], files)
        with np.errstate(over="ignore", invalid="ignore"):
            found = total * (_scale(value["record"], read) * w_scale)
            found = found + _stored(value["bias"], files)
        found = _finished(found, value, files)
    return np.asarray(found, value["dtype"]).reshape(shape)


def _finished(
    real: NDArray[np.float32], value: Mapping[str, Any], files: Files
) -> NDArray[np.float32]:
    """Apply what ``relu``, ``view`` and ``onnx`` of an output say."""
    real = np.maximum(real, _F0) if value["relu"] else real
    real = _steps(real, value["view"]).reshape(value["shape"])
    if "onnx" in value:
        return _hosted(value["onnx"], real, files)
    return real
