# SPDX-License-Identifier: Apache-2.0
"""Names of signals, read from the source, so that every Python gives the same ones.

Amaranth names a signal after the variable that it is assigned to, which it finds in the bytecode
behind the call. Bytecode differs between Python versions, and so did the names in the Verilog.
Here the call is found in the source instead, by its position, which the interpreter keeps for
tracebacks. ``a, b = Signal(), Signal()`` names both; without an assignment of its own, in a
comprehension or an argument, a signal has no name and is numbered.
"""

import ast
import linecache
import sys
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from types import CodeType
from typing import Any

from amaranth import tracer

__all__ = ["SOURCES", "install", "named_calls"]

_PACKAGE = Path(__file__).parents[2]
SOURCES = {
    str(path): path.read_text(encoding="utf-8")
    for room in ("hw", "machine")
    for path in sorted((_PACKAGE / room).rglob("*.py"))
}
"""Files of ``hw`` and ``machine`` when this was imported: what is edited later is not what runs."""

_RAISE = object()
_from_bytecode = tracer.get_var_name

# By code object and offset; the code object is kept, lest another one takes its address.
_known: dict[tuple[int, int], tuple[CodeType, str | None]] = {}


def install() -> None:
    """Make Amaranth take names from the source, in this process, for good."""
    tracer.get_var_name = _get_var_name


def named_calls(source: str) -> dict[tuple[int, int], str]:
    """Return what the result of each call is assigned to, by the line and byte where it ends."""
    names: dict[tuple[int, int], str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign):
            targets, value = node.targets[:1], node.value
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        for call, name in _pairs(targets[0], value):
            if call.end_lineno is not None and call.end_col_offset is not None:
                names[call.end_lineno, call.end_col_offset] = name
    return names


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.Call, str]]:
    if isinstance(value, ast.IfExp):
        yield from _pairs(target, value.body)
        yield from _pairs(target, value.orelse)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        if not any(isinstance(part, ast.Starred) for part in (*target.elts, *value.elts)):
            for one, its in zip(target.elts, value.elts, strict=True):
                yield from _pairs(one, its)
    elif isinstance(value, ast.Call):
        if isinstance(target, ast.Name):
            yield value, target.id
        elif isinstance(target, ast.Attribute):
            yield value, target.attr


@cache
def _calls_in(file: str) -> dict[tuple[int, int], str] | None:
    """Named calls of a file; None where there is no source, as in an interactive session."""
    source = SOURCES.get(file) or "".join(linecache.getlines(file))
    return named_calls(source) if source else None


def _get_var_name(depth: int = 2, default: Any = _RAISE) -> Any:
    """Stand in for ``amaranth.tracer.get_var_name``: the name for the call ``depth`` frames up."""
    frame = sys._getframe(depth)
    code, place = frame.f_code, (id(frame.f_code), frame.f_lasti)
    if (calls := _calls_in(code.co_filename)) is None:
        return _from_bytecode(depth + 1, *(() if default is _RAISE else (default,)))
    if place not in _known:
        _, line, _, byte = next(islice(code.co_positions(), frame.f_lasti // 2, None))
        if line is None or byte is None:
            raise RuntimeError(
                f"{code.co_filename} was compiled without the positions that name its signals: "
                "unset PYTHONNODEBUGRANGES and remove __pycache__"
            )
        _known[place] = code, calls.get((line, byte))
    name = _known[place][1]
    if name is not None:
        return name
    if default is _RAISE:
        raise tracer.NameNotFound
    return default
