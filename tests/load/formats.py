# SPDX-License-Identifier: Apache-2.0
"""What formatted LOADs do to the scratchpads, said byte by byte, and random ones."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kiwicha.golden import bitmask, csc, csr, run_length
from kiwicha.machine.isa import LoadTarget, WeightFormat

from ..sparse.reference import read_bitmask, read_entries
from ..sparse.run import sparse_matrix
from .load_path import SIZE, instruction

__all__ = [
    "FORMS", "Load", "apply", "compressed", "decoded", "dense", "matrix", "octets_of",
    "random_loads", "spots",
]

BOOK = np.array([0, -128, 127, -1, 1, 5, -5, 9, 20, -20, 33, -33, 60, -60, 7, 3], np.int8)

FORMS = {
    WeightFormat.CSC4: {"index_bits": 4},
    WeightFormat.CSC5: {"index_bits": 5},
    WeightFormat.CSC8: {"index_bits": 8},
    WeightFormat.CSC_ABSOLUTE: {"index_bits": 10, "relative": False},
    WeightFormat.CSC4_CODEBOOK: {"index_bits": 4, "codebook": True},
    WeightFormat.CSR: {"index_bits": 10, "relative": False},
    WeightFormat.RUN_LENGTH: {"index_bits": 4, "counted": False},
}


@dataclass
class Load:
    """An instruction, the bytes of memory that it needs by address, and its dense rows if any."""

    fields: dict[str, int]
    memory: dict[int, bytes] = field(default_factory=dict)
    rows: Any = None


def octets_of(memory, fields):
    """Return the stream of a formatted instruction's bytes."""
    starts = (fields["address"] + k * fields["pitch"] for k in range(fields["segments"]))
    return b"".join(bytes(memory[at : at + fields["length"]]) for at in starts)


def spots(cfg, fields, count):
    """Return (weight row, column) of each of the ``count`` bytes of a matrix."""
    row, pitch = fields["local"] // cfg.weight_pitch, fields["local_pitch"] // cfg.weight_pitch
    for number in range(count):
        line, byte = divmod(number, fields["extent"])
        if fields["format"] == WeightFormat.COLUMNS:
            yield row + line // cfg.columns * pitch + byte, line % cfg.columns
        else:
            yield row + byte // cfg.columns * pitch + line, byte % cfg.columns


def decoded(cfg, name, octets, columns, rows):
    """Return the dense rows of a stream, its error and the place of that, as ``tests.sparse``."""
    beat, lanes = cfg.beat_bytes, cfg.weight_pitch
    if name == WeightFormat.BITMASK:
        return read_bitmask(octets, columns * rows, lanes, beat_bytes=beat)
    return read_entries(octets, columns, rows, lanes, beat_bytes=beat, **FORMS[name])


def dense(cfg, chooser):
    """Return a dense LOAD of weights."""
    beat = cfg.beat_bytes
    length = chooser.randint(1, 8 * beat)
    local = chooser.randrange(cfg.weight_bytes - length)
    address = chooser.randrange((SIZE - 10 * beat) // beat) * beat + local % beat
    return Load(instruction(cfg, target=1, local=local, address=address, length=length))


def matrix(cfg, chooser, *, inside=True):
    """Return a random matrix: lines of all lengths, runs anywhere; all ``inside``, or maybe not."""
    pitch, rows = cfg.weight_pitch, cfg.weight_bytes // cfg.weight_pitch
    while True:
        name = chooser.choice((WeightFormat.ROWS, WeightFormat.COLUMNS))
        segments = chooser.choice((1, 2, chooser.randint(1, 9)))
        length = chooser.choice((1, cfg.beat_bytes, chooser.randint(1, 5 * cfg.beat_bytes)))
        extent = chooser.choice((1, length, chooser.randint(1, 3 * cfg.beat_bytes + 2)))
        step = chooser.choice((length, chooser.randint(-300, 300)))
        fields = instruction(
            cfg, opcode=1, target=LoadTarget.WEIGHT, format=name, extent=extent,
            local=chooser.randrange(rows) * pitch,
            local_pitch=chooser.randint(-rows // 4, rows // 2) * pitch,
            address=chooser.randrange(3000, SIZE - 4000), length=length, segments=segments,
            pitch=step, signal=chooser.randrange(32), wait=chooser.randrange(32),
        )
        touched = [row for row, _ in spots(cfg, fields, length * segments)]
        if (0 <= min(touched) and max(touched) < rows) == inside:
            return Load(fields)


def interleaved(cfg, chooser):
    """Return rows that are laid beside others: runs of all lengths at any alignment."""
    size, rows = cfg.activation_bytes, chooser.choice(cfg.interleave.rows)
    while True:
        fields = instruction(
            cfg, opcode=1, target=LoadTarget.ACTIVATION, format=WeightFormat.INTERLEAVED,
            extent=rows, local=chooser.randrange(size), local_pitch=chooser.randint(-size, size),
            address=chooser.randrange(3000, SIZE - 4000), segments=chooser.choice((1, 2, 5)),
            length=chooser.choice((1, chooser.randint(1, 5 * cfg.beat_bytes))),
            pitch=chooser.randint(-300, 300), signal=chooser.randrange(32),
        )
        places = places_apart(fields)
        if min(places) >= 0 and max(places) < size:
            return Load(fields)


def places_apart(fields):
    """Return the place of each byte of interleaved rows."""
    return [
        fields["local"] + run * fields["local_pitch"] + byte * fields["extent"]
        for run in range(fields["segments"]) for byte in range(fields["length"])
    ]


def compressed(cfg, chooser, name, *, density=None, length=None, columns=None):
    """Return a LOAD of a random matrix in that format; its stream is at its address."""
    pitch, rows = cfg.weight_pitch, cfg.weight_bytes // cfg.weight_pitch
    length = length or chooser.randint(1, 6)
    columns = columns or chooser.randint(1, 6)
    density = chooser.choice((0, 0.05, 0.3, 1)) if density is None else density
    values = sparse_matrix(chooser, length * pitch, columns, density)
    form = {"beat_bytes": cfg.beat_bytes}
    form |= {k: v for k, v in FORMS.get(name, {}).items() if k in ("index_bits", "relative")}
    if name == WeightFormat.CSC4_CODEBOOK:
        values = BOOK[values.view(np.uint8) % 16 * (values != 0)]
        octets = csc.encode(values, codebook=BOOK, **form)
    elif name == WeightFormat.CSR:
        form.pop("relative")
        octets = csr.encode(values.T, **form)
    elif name == WeightFormat.RUN_LENGTH:
        octets = run_length.encode(values, **form)
    elif name == WeightFormat.BITMASK:
        octets = bitmask.encode(values.T.reshape(-1, pitch), **form)
    else:
        octets = csc.encode(values, **form)
    local = chooser.randrange(rows - length * columns + 1)
    address = chooser.randrange((SIZE - len(octets)) // cfg.beat_bytes) * cfg.beat_bytes
    fields = instruction(
        cfg, opcode=1, target=LoadTarget.WEIGHT, format=name, local=local * pitch, address=address,
        length=len(octets), pitch=_signed(columns | length << 16), signal=chooser.randrange(32),
    )
    dense_rows = values.T.reshape(-1, pitch).view(np.uint8).tolist()
    return Load(fields, {address: octets.tobytes()}, dense_rows)


def _signed(value):
    return value - (1 << 32) if value >> 31 else value


def random_loads(cfg, chooser, count):
    """Return dense and formatted loads, with streams that do not overlap each other."""
    names = [WeightFormat[name.upper().replace("-", "_")] for name in cfg.sparse.formats]
    used: list[range] = []
    loads: list[Load] = []
    for number in range(count):
        kind = chooser.randrange(4)
        if cfg.interleave and chooser.random() < 0.3:
            loads.append(interleaved(cfg, chooser))
            continue
        if kind == 0 or not (names or cfg.transposer):
            loads.append(dense(cfg, chooser))
        elif cfg.transposer and (kind == 1 or not names):
            loads.append(matrix(cfg, chooser))
        else:
            while True:
                load = compressed(cfg, chooser, names[number % len(names)])
                start = load.fields["address"]
                span = range(start, start + load.fields["length"])
                if all(span.stop <= other.start or other.stop <= span.start for other in used):
                    break
            used.append(span)
            loads.append(load)
    return loads


def apply(cfg, memory, load, image, activations=None):
    """Do to ``image`` of the weights, or to ``activations``, what a legal load does."""
    fields, pitch, beat = load.fields, cfg.weight_pitch, cfg.beat_bytes
    if fields["format"] == WeightFormat.INTERLEAVED:
        for place, octet in zip(places_apart(fields), octets_of(memory, fields), strict=True):
            activations[place] = octet
        return
    if fields["format"] == WeightFormat.DENSE:
        first = fields["address"] // beat * beat
        last = -(-(fields["address"] + fields["length"]) // beat) * beat
        local = fields["local"] // beat * beat
        image[local : local + last - first] = memory[first:last]
    elif load.rows is not None:
        octets = bytes(octet for row in load.rows for octet in row)
        image[fields["local"] : fields["local"] + len(octets)] = octets
    else:
        octets = octets_of(memory, fields)
        for (row, column), octet in zip(spots(cfg, fields, len(octets)), octets, strict=True):
            image[row * pitch + column] = octet
