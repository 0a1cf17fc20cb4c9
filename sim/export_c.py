# SPDX-License-Identifier: Apache-2.0
"""A compiled model as C arrays, for firmware with the driver in ``drivers/c``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["C_FILES", "c_files", "c_identifier"]

C_FILES = ("program.h", "program.c")

_KEYWORDS = frozenset(
    "alignas alignof and and_eq asm atomic_cancel atomic_commit atomic_noexcept auto bitand bitor "
    "bool break case catch char char8_t char16_t char32_t class compl concept const consteval "
    "constexpr constinit const_cast continue co_await co_return co_yield decltype default delete "
    "do double dynamic_cast else enum explicit export extern false float for friend goto if inline "
    "int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private "
    "protected public reflexpr register reinterpret_cast requires restrict return short signed "
    "sizeof static static_assert static_cast struct switch synchronized template this thread_local "
    "throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t "
    "while xor xor_eq".split()
)
"""Of C and C++."""

_KINDS = {
    "codes": "KIWICHA_CODES", "quantize": "KIWICHA_AFFINE", "dequantize": "KIWICHA_AFFINE",
    "integers": "KIWICHA_INT32", "binary32": "KIWICHA_BINARY32",
}
"""By the manifest's; all others are KIWICHA_OTHER."""

_COLUMNS = 16


def c_identifier(name: str) -> str:
    """Return ``name`` as an identifier of C and C++ that is not reserved."""
    made = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", name)).strip("_")
    if not made or made[0].isdigit() or made in _KEYWORDS:
        made = f"model_{made}".rstrip("_")
    return made


def c_files(
    name: str, manifest: Mapping[str, Any], image: bytes, places: bytes
) -> dict[str, bytes]:
    """Return the contents of `C_FILES` of a program that is called ``name``.

    Parameters
    ----------
    manifest : as program.json has it; image, places : of image.bin and relocations.bin.
    """
    prefix = c_identifier(name)
    header = "\n".join(_header(prefix, manifest)) + "\n"
    source = "\n".join(_source(prefix, manifest, image, places)) + "\n"
    return dict(zip(C_FILES, (header.encode("ascii"), source.encode("ascii")), strict=True))


def _string(text: str) -> str:
    """Return a string literal; what C might misread, and all that is not ASCII, in octal."""
    octets = text.encode("utf-8", "surrogateescape")
    plain = (
        chr(o) if 32 <= o < 127 and chr(o) not in '"\\?' else f"\\{o:03o}" for o in octets
    )
    return '"' + "".join(plain) + '"'


def _comment(text: str) -> str:
    return re.sub(r"[^ -~]", "?", text).replace("*/", "* /").replace("/*", "/ *")


def _tensors(manifest: Mapping[str, Any], kind: str) -> list[tuple[Mapping[str, Any], ...]]:
    """Return (graph value, what the host makes of or with it, tensor) of each tensor."""
    found = list[tuple[Mapping[str, Any], ...]]()
    for value in manifest[kind]:
        if kind == "inputs":
            found += [(value, made, made["tensor"]) for made in value["tensors"]]
        elif "tensors" in value:  # of operators of the host
            found += [(value | {"name": t["name"]}, value, t) for t in value["tensors"]]
        else:
            found.append((value, value, value["tensor"]))
    return found


def _header(prefix: str, manifest: Mapping[str, Any]) -> Iterator[str]:
    big = prefix.upper()
    machine = manifest["machine"]
    yield "/* SPDX-License-Identifier: Apache-2.0 */"
    yield (
        f"/* {_comment(manifest['model'])} for the machine {_comment(machine['name'])}, "
        f"{machine['fingerprint']:#010x}; generated. */"
    )
    yield f"#ifndef {big}_PROGRAM_H"
    yield f"#define {big}_PROGRAM_H"
    yield ""
    yield '#include "kiwicha.h"'
    yield ""
    yield f"#define {big}_MEMORY_BYTES {manifest['image']['bytes']}u"
    yield f"#define {big}_ALIGNMENT {manifest['alignment']['cycles']}u"
    taken = set[str]()
    for kind in ("inputs", "outputs"):
        for place, (value, _, _) in enumerate(_tensors(manifest, kind)):
            name = f"{big}_{kind[:-1].upper()}_{c_identifier(value['name']).upper()}"
            name = f"{name}_{place}" if name in taken else name
            taken.add(name)
            yield f"#define {name} {place}u /* of {prefix}_program.{kind} */"
    yield ""
    yield "#ifdef __cplusplus"
    yield 'extern "C" {'
    yield "#endif"
    yield ""
    yield f"extern const kiwicha_program {prefix}_program;"
    yield ""
    yield "#ifdef __cplusplus"
    yield "}"
    yield "#endif"
    yield ""
    yield "#endif"


def _source(
    prefix: str, manifest: Mapping[str, Any], image: bytes, places: bytes
) -> Iterator[str]:
    offset, used = _used(image)
    moved = np.frombuffer(places, "<u4")
    major, minor = manifest["interface_version"].split(".")
    yield "/* SPDX-License-Identifier: Apache-2.0 */"
    yield f"/* {_comment(manifest['model'])}; generated. */"
    yield '#include "program.h"'
    yield ""
    yield from _array("uint8_t", f"{prefix}_image", used)
    yield from _array("uint32_t", f"{prefix}_relocations", moved.tolist())
    counts = {kind: len(_tensors(manifest, kind)) for kind in ("inputs", "outputs")}
    for kind in counts:
        yield from _tensor_table(prefix, kind, _tensors(manifest, kind))
    yield f"static const kiwicha_layer {prefix}_layers[] = {{"
    for layer in manifest["layers"]:
        yield f"    {{{_string(layer['name'])}, {layer['counters']}u}},"
    yield "};"
    yield ""
    read, write = manifest["read_window"], manifest["write_window"]
    yield f"const kiwicha_program {prefix}_program = {{"
    yield f"    {_string(manifest['model'])},"
    yield f"    {manifest['machine']['fingerprint']:#010x}u, /* fingerprint */"
    yield f"    {major}u, {minor}u, /* interface */"
    yield f"    {manifest['alignment']['legal']}u, /* alignment */"
    yield f"    {len(image)}u, /* memory */"
    yield f"    {_tensor_bytes(manifest)}u, /* inputs and results */"
    yield f"    {offset}u, {len(used)}u, {prefix}_image,"
    yield f"    {moved.size}u, {f'{prefix}_relocations' if moved.size else 'NULL'},"
    yield f"    {manifest['program']['address']}u, {manifest['program']['bytes']}u, /* program */"
    yield f"    {{{read[0]}u, {read[1]}u}}, /* read window */"
    yield f"    {{{write[0]}u, {write[1]}u}}, /* write window */"
    for kind, count in counts.items():
        yield f"    {count}u, {f'{prefix}_{kind}' if count else 'NULL'},"
    yield f"    {len(manifest['layers'])}u, {prefix}_layers"
    yield "};"


def _used(image: bytes) -> tuple[int, bytes]:
    """Return the bytes but for zeros before and after, whole words, and where they begin."""
    first = (len(image) - len(image.lstrip(b"\0"))) // 8 * 8
    last = -(-len(image.rstrip(b"\0")) // 8) * 8
    return first, image[first:last]


def _tensor_bytes(manifest: Mapping[str, Any]) -> int:
    """Return how much of memory, from its beginning, holds what changes."""
    ends = [manifest["write_window"][1]]
    for value in manifest["inputs"]:
        for made in value["tensors"]:
            ends.append(made["tensor"]["address"] + made["tensor"]["bytes"])
            if "record" in made:
                ends.append(made["record"]["address"] + 16)
    return max(ends)


def _array(kind: str, name: str, values: Sequence[int]) -> Iterator[str]:
    if not values:  # C has no empty arrays
        return
    mark = "" if kind == "uint8_t" else "u"
    yield f"static const {kind} {name}[] = {{"
    for start in range(0, len(values), _COLUMNS):
        yield f"    {', '.join(f'{n}{mark}' for n in values[start : start + _COLUMNS])},"
    yield "};"
    yield ""


def _tensor_table(
    prefix: str, kind: str, tensors: Sequence[tuple[Mapping[str, Any], ...]]
) -> Iterator[str]:
    rows = []
    for place, (value, made, tensor) in enumerate(tensors):
        told = _KINDS.get(made["kind"], "KIWICHA_OTHER")
        if told == "KIWICHA_AFFINE" and "halves" in made:
            told = "KIWICHA_AWAY"
        shape = value["shape"] if told != "KIWICHA_OTHER" else tensor["shape"]
        strides = _strides(shape, made.get("view", []), tensor, told, kind == "inputs")
        names = []
        for what, numbers in (("shape", shape), ("strides", strides)):
            name = f"{prefix}_{kind[:-1]}_{place}_{what}"
            yield from _array("uint32_t", name, numbers or ())
            names.append(name if numbers else "NULL")
        signed = "true" if tensor["dtype"] == "int8" else "false"
        scale = f"{np.float32(tensor.get('scale', 0)):.9e}f"
        rows.append(
            f"    {{{_string(value['name'])}, {tensor['address']}u, {tensor['bytes']}u, {told}, "
            f"{signed}, {scale}, {tensor.get('zero_point', 0)}, {len(shape)}u, "
            f"{', '.join(names)}}},"
        )
    if rows:
        yield f"static const kiwicha_tensor {prefix}_{kind}[] = {{"
        yield from rows
        yield "};"
        yield ""


def _steps(array: NDArray[Any], steps: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
    for step in steps:
        ((kind, argument),) = step.items()
        array = array.reshape(argument) if kind == "reshape" else array.transpose(argument)
    return array.reshape(-1)


def _strides(
    shape: Sequence[int], view: Sequence[Mapping[str, Any]], tensor: Mapping[str, Any], kind: str,
    taken: bool,
) -> list[int] | None:
    """Return the bytes in memory from one element of a graph value to the next along each axis;
    None where there are no such numbers.

    Parameters
    ----------
    view : steps from an input to its tensor (``taken``), or from a tensor to an output.
    """
    size = prod(shape)
    if kind == "KIWICHA_OTHER" or not size or tensor["bytes"] % size:
        return None
    width = tensor["bytes"] // size
    order = _steps(np.arange(tensor["bytes"]).reshape(tensor["shape"]), tensor["layout"])
    octets = np.argsort(order).reshape(size, width)  # of each element of the tensor
    if (octets != octets[:, :1] + np.arange(width)).any():
        return None
    if taken:
        places = np.empty(size, np.int64)
        places[_steps(np.arange(size).reshape(shape), view)] = octets[:, 0]
    else:
        places = _steps(octets[:, 0], view)
    places = places.reshape(shape)
    origin = (0,) * len(shape)
    strides = [
        int(places[(*origin[:axis], 1, *origin[axis + 1 :])] - places[origin]) if length > 1 else 0
        for axis, length in enumerate(shape)
    ]
    ranges = [np.arange(n) * stride for n, stride in zip(shape, strides, strict=True)]
    expected = sum(np.ix_(*ranges), np.zeros((), np.int64))
    return strides if np.array_equal(places, expected) and min(strides, default=0) >= 0 else None
