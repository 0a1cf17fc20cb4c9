# SPDX-License-Identifier: Apache-2.0
"""Binary32 values in memory that VECTOR quantizes: once for their range, once for the codes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kiwicha.compiler.emit.bounds import bring_bounds
from kiwicha.compiler.emit.builder import ProgramBuilder
from kiwicha.compiler.emit.dependencies import Range, Space
from kiwicha.compiler.emit.instruction import Transfer
from kiwicha.compiler.emit.residents import StoreConstant
from kiwicha.compiler.emit.steps import Step
from kiwicha.compiler.graph.dynamic_real import RealPart
from kiwicha.compiler.graph.graph import DynamicRealNode
from kiwicha.compiler.schedule.packing import pack_factors
from kiwicha.errors import Need, UnfitMachine
from kiwicha.machine.isa import PARAMETER_BYTES, LoadTarget, RealFunction, VectorMode

__all__ = ["real_steps"]


@dataclass(frozen=True)
class _Lines:
    """Lines of ``width`` numbers each, densely from address ``x`` on; their codes from ``y`` on,
    ``pitch`` from line to line."""

    x: int
    y: int
    lines: int
    width: int
    pitch: int
    part: RealPart


def real_steps(
    node: DynamicRealNode, addresses: Mapping[str, int], builder: ProgramBuilder,
    store: StoreConstant, _ready: int,
) -> list[Step]:
    """A pass for the range of all parts, and one for the codes of each."""
    for part in node.parts:
        _require_room(node, part, builder)
    pitch = sum(part.width for part in node.parts)
    place, parts = addresses[node.y.name], list[_Lines]()
    for part in node.parts:
        lines = part.x.size // (4 * part.width)
        parts.append(_Lines(
            addresses[part.x.name], place, lines, part.width, pitch, part
        ))
        place += part.width

    def emit() -> None:
        fields = {"target": node.target, "residual": 1, "sums": 1, "high": 255}
        _measure(parts, fields, builder, store)
        for part in parts:
            _quantize(part, fields, builder, store)
        builder.store_slot(addresses[node.y_record.name], node.target)

    first = addresses[node.y.name]
    reads = tuple((p.x, p.x + 4 * p.lines * p.width) for p in parts)
    return [Step(reads, (first, first + node.y.size), emit)]


def _room(builder: ProgramBuilder) -> int:
    config, spare = builder.config, 2 * builder.config.beat_bytes
    return max(1, min((config.real.bytes // 2 - spare) // 4, config.output_bytes // 2 - spare))


def _require_room(node: DynamicRealNode, part: RealPart, builder: ProgramBuilder) -> None:
    """Refuse a machine that cannot hold the numbers that have a factor each."""
    real = builder.config.real.bytes
    if part.factor is not None and len(part.factor) > _room(builder):
        need = Need("real.bytes", real, 2 * real)
        raise UnfitMachine(f"{node.name} ({node.op}): has {len(part.factor)} factors", [need])


def _most(part: _Lines, builder: ProgramBuilder) -> int:
    """Numbers that are on chip at once, at the most: as much again is loaded meanwhile."""
    config, room = builder.config, _room(builder)
    if part.part.factor is None:
        return min(room, config.accumulator_depth * config.columns)
    each = len(part.part.factor)
    return min(room // each, config.accumulator_depth) * each


def _on_chip(builder: ProgramBuilder, address: int, count: int) -> tuple[int, Range]:
    """Bring numbers on chip, unless they are; return where they are."""
    beat = builder.config.beat_bytes
    key = (builder.layer, address, count)
    found = builder.reals.find(key)
    if found is None:
        found = builder.reals.place(key, 4 * count + 2 * beat)
        local = found + address % beat
        builder.load(LoadTarget.REAL, Transfer(address, local, 4 * count))
    local = found + address % beat
    return local, Range(Space.REAL, found, found + 4 * count + 2 * beat)


def _walk(
    part: _Lines, builder: ProgramBuilder, store: StoreConstant, count: int, lines: int = 1,
    pitch: int = 0,
) -> Iterator[tuple[int, dict[str, int], list[Range]]]:
    """Yield where VECTORs over ``lines`` lines of ``count`` numbers begin, their fields, and what
    they read besides: as many columns as there are, then those that are left; or, where numbers
    have factors, some columns of all."""
    columns, done = builder.config.columns, 0
    if part.part.factor is not None:
        each = len(part.part.factor)
        for first in range(0, each, columns):
            channels = min(columns, each - first)
            group, read = _factors(part.part, builder, store, slice(first, first + channels))
            yield first, {
                "channels": channels, "pixels": count // each, "pixel_pitch": each,
                "lines": lines, "line_pitch": pitch, "parameter": group,
            }, [read]
        return
    while done < count:
        channels = min(columns, count - done)
        pixels = (count - done) // channels
        yield done, {
            "channels": channels, "pixels": pixels, "pixel_pitch": channels, "lines": lines,
            "line_pitch": pitch,
        }, []
        done += pixels * channels


def _factors(
    part: RealPart, builder: ProgramBuilder, store: StoreConstant, channels: slice
) -> tuple[int, Range]:
    """Bring factors and offsets on chip, unless they are; return the parameter group, and what
    VECTOR reads."""
    assert part.factor is not None
    assert part.offset is not None
    config, ring = builder.config, builder.parameters
    packed = pack_factors(part.factor[channels], part.offset[channels], config)
    key = address, size = store(packed), packed.size
    local = ring.find(key)
    if local is None:
        local = ring.place(key, size)
        builder.load(LoadTarget.PARAMETER, Transfer(address, local, size))
    group = local // (config.parameter_lanes * PARAMETER_BYTES)
    return group, Range(Space.PARAMETER, local, local + size)


def _functions(
    lines: _Lines, builder: ProgramBuilder, store: StoreConstant
) -> tuple[dict[str, int], list[Range]]:
    """Return the fields of what is done to a part's numbers, and what VECTOR reads for it."""
    part, read, table = lines.part, list[Range](), 0
    if part.factor is not None:
        table |= RealFunction.SCALED
    if part.bounds is not None:
        table |= RealFunction.BOUNDED
        read.append(bring_bounds(builder, store, part.bounds))
    return {"relu": int(part.relu), "table": int(table)}, read


def _measure(
    parts: list[_Lines], fields: dict[str, int], builder: ProgramBuilder, store: StoreConstant
) -> None:
    """Make a slot of the range of all numbers."""
    target = fields["target"]
    slot, pieces = Range(Space.SLOT, target, target + 1), list[tuple[_Lines, int, int]]()
    for part in parts:
        total, most = part.lines * part.width, _most(part, builder)
        pieces += [(part, first, min(most, total - first)) for first in range(0, total, most)]
    for number, (part, first, count) in enumerate(pieces):
        local, covered = _on_chip(builder, part.x + 4 * first, count)
        done, read = _functions(part, builder, store)
        walked = list(_walk(part, builder, store, count))
        for place, (begin, shape, more) in enumerate(walked):
            last = number + 1 == len(pieces) and place + 1 == len(walked)
            builder.vector(
                {
                    **fields, **shape, **done, "mode": VectorMode.MEASURE,
                    "scales": local + 4 * begin, "begin": int(number == place == 0),
                    "settle": int(last),
                },
                [covered, *read, *more], [slot],
            )


def _quantize(
    part: _Lines, fields: dict[str, int], builder: ProgramBuilder, store: StoreConstant
) -> None:
    """Write a part's codes, whole lines at once where they fit."""
    done, read = _functions(part, builder, store)
    fields = {**fields, **done}
    most, beat = _most(part, builder), builder.config.beat_bytes
    flat = part.width == part.pitch
    total = part.lines * part.width
    if flat:
        for first in range(0, total, most):
            count = min(most, total - first)
            place = first, part.y + first
            _codes(part, fields, builder, store, place, count, 1, count, read)
        return
    apart = part.width + (part.pitch - part.width) % beat  # as memory has it, modulo a beat
    lines = min(max(1, most // apart), part.lines, builder.config.accumulator_depth)
    for line in range(0, part.lines, lines):
        for first in range(0, part.width, most):
            count = min(most, part.width - first)
            rows = min(lines, part.lines - line)
            place = line * part.width + first, part.y + line * part.pitch + first
            _codes(part, fields, builder, store, place, count, rows, apart, read)


def _codes(
    part: _Lines, fields: dict[str, int], builder: ProgramBuilder, store: StoreConstant,
    place: tuple[int, int], count: int, lines: int, apart: int, read: list[Range],
) -> None:
    """Quantize ``lines`` lines of ``count`` numbers, which lie densely if there are several, and
    store them; they are ``apart`` in the output buffer. VECTOR reads ``read``, too."""
    beat, target = builder.config.beat_bytes, fields["target"]
    first, y = place
    local, covered = _on_chip(builder, part.x + 4 * first, lines * count)
    size = lines * apart + 2 * beat
    base = builder.outputs.place((builder.layer, y), size)
    out = base + y % beat
    reads = [*read, covered, Range(Space.SLOT, target, target + 1)]
    writes = [Range(Space.OUTPUT, base, base + size)]
    alike = lines == 1 or apart == count  # then operands lie as results do
    for line in (0,) if alike else range(lines):
        walked = _walk(part, builder, store, count, lines if alike else 1, apart)
        for begin, shape, more in walked:
            builder.vector(
                {
                    **fields, **shape, "mode": VectorMode.QUANTIZE,
                    "scales": local + 4 * (line * count + begin),
                    "local": out + line * apart + begin,
                },
                [*reads, *more], writes,
            )
    builder.store(Transfer(y, out, count, lines, part.pitch, apart))
