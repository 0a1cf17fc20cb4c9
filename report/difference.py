# SPDX-License-Identifier: Apache-2.0
"""Two reports side by side: what a change of model, machine or compiler did to each layer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from kiwicha.errors import InputError
from kiwicha.report.report import SCHEMA
from kiwicha.report.terminal import plain

__all__ = ["Difference", "compare", "difference_table"]

_NEEDED = ("model", "config", "layers", "predicted_cycles", "predicted")


@dataclass(frozen=True)
class Difference:
    """A layer, or all of them, in two reports; None where a report has no such layer.

    Members
    -------
    cycles, utilization, bytes : before and after; measured, or predicted where nothing ran.
    """

    name: str
    cycles: tuple[int | None, int | None]
    utilization: tuple[float | None, float | None]
    bytes: tuple[int | None, int | None]

    @property
    def change(self) -> float | None:
        """Cycles after to cycles before, less 1."""
        before, after = self.cycles
        return after / before - 1 if before and after is not None else None


def compare(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[list[Difference], list[str]]:
    """Return the layers of two reports, as their JSON has them, with the sum at the end; and in
    words what else differs: the machine's fields, the model, whether it ran.

    Layers are met by name and by how often the name came before; a layer of one report alone stands
    where it is there.

    Raises
    ------
    InputError
        When one is no report of this schema.
    """
    for values in (before, after):
        if (schema := values.get("schema")) != SCHEMA:
            raise InputError(f"the report's schema is {schema}; must be {SCHEMA}")
        if missing := [name for name in _NEEDED if name not in values]:
            raise InputError(f"the report has no '{missing[0]}'")
    left, right = (dict(_keyed(v["layers"])) for v in (before, after))
    rows = [_row(key[0], left.get(key), right.get(key)) for key in _order(left, right)]
    return [*rows, _row("all", _total(before), _total(after))], list(_words(before, after))


def _keyed(layers: Sequence[Mapping[str, Any]]) -> Iterator[tuple[tuple[str, int], Any]]:
    seen: dict[str, int] = {}
    for layer in layers:
        name = str(layer.get("name"))
        seen[name] = seen.get(name, 0) + 1
        yield (name, seen[name]), layer


def _order(left: Mapping[Any, Any], right: Mapping[Any, Any]) -> list[Any]:
    """Return all keys: those of ``right`` in order, each of ``left`` alone behind the one that it
    followed."""
    order = list(right)
    place = 0
    for key in left:
        if key in right:
            place = order.index(key) + 1
        else:
            order.insert(place, key)
            place += 1
    return order


def _cycles(values: Mapping[str, Any]) -> int:
    measured = values.get("cycles")
    return int(values["predicted_cycles"] if measured is None else measured)


def _total(values: Mapping[str, Any]) -> dict[str, Any]:
    sums = {
        name: sum(layer.get(name) or 0 for layer in values["layers"])
        for name in ("bytes_read", "bytes_written")
    }
    return {**values, **sums}


def _row(
    name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> Difference:
    both = (before, after)

    def moved(layer: Mapping[str, Any]) -> int:
        return int(layer.get("bytes_read") or 0) + int(layer.get("bytes_written") or 0)

    first, second = (None if v is None else _cycles(v) for v in both)
    used = tuple(None if v is None else v.get("utilization") for v in both)
    octets = tuple(None if v is None else moved(v) for v in both)
    return Difference(name, (first, second), (used[0], used[1]), (octets[0], octets[1]))


def _words(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if before["model"] != after["model"]:
        yield f"model: {before['model']} and {after['model']}"
    kinds = ["predicted" if values["predicted"] else "measured" for values in (before, after)]
    if kinds[0] != kinds[1]:
        yield f"cycles: {kinds[0]} and {kinds[1]}"
    names = dict.fromkeys([*before["config"], *after["config"]])
    for name in names:
        one, other = before["config"].get(name), after["config"].get(name)
        if one != other:
            yield f"machine: {name} = {one} and {other}"
    for values, which in ((before, "first"), (after, "second")):
        if values.get("exact") is False:
            yield f"the {which} run has wrong bits"


def _pair(values: tuple[Any, Any], form: str) -> list[str]:
    return ["-" if value is None else format(value, form) for value in values]


def difference_table(rows: Sequence[Difference], console: Console) -> Table:
    """Return the table for a terminal, a row a layer and the sum."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("layer", no_wrap=True)
    for name in ("cycles", "then", "change", "MAC util.", "then", "bytes", "then"):
        table.add_column(name, justify="right", no_wrap=True)
    for place, row in enumerate(rows):
        change = "-" if row.change is None else f"{row.change:+.1%}"
        table.add_row(
            plain(row.name, console), *_pair(row.cycles, ","), change,
            *_pair(row.utilization, ".1%"), *_pair(row.bytes, ","),
            end_section=place == len(rows) - 2,
        )
    return table
