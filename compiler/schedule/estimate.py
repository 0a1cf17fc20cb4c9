# SPDX-License-Identifier: Apache-2.0
"""What a tiling costs, roughly: the sum the search goes by. `performance` is the true model."""

from kiwicha.compiler.schedule.compress import Storage
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.depthwise import walk_of
from kiwicha.compiler.schedule.footprint import (
    minimum_pass,
    patch_bytes,
    reduction,
)
from kiwicha.compiler.schedule.tiling import Tiling
from kiwicha.cost.timing import (
    INTERLEAVE_CYCLES,
    READ_ROUND_TRIP,
    format_cycles,
    queued_instructions,
)
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import INSTRUCTIONS, PARAMETER_BYTES, WORD_BITS, Opcode, WeightFormat
from kiwicha.machine.latency import compute_latency, instruction_gap, vector_latency

__all__ = ["array_cycles", "estimate", "run_cycles"]

# Estimates: both contain a memory's latency.
_SMALL_RUN = 3  # cycles of a STORE run that is shorter than a beat
_TOKENS = 6  # cycles from COMPUTE to VECTOR and back, besides what they take
_EARLY = 200  # cycles of loading weights while the layer before is drained and stored
_ROUND = 120  # cycles from the end of a LOAD or COMPUTE to the next one that waits for it, together


def estimate(
    work: Contraction,
    config: AcceleratorConfig,
    t: Tiling,
    times: int = 1,
    stored: Storage | None = None,
    *,
    ahead: bool = False,
) -> tuple[float, float]:
    """Return cycles, then bytes moved: the busiest engine, plus what nothing can hide.

    ``times`` works of this kind follow each other, with operands of their own. Constant weights
    are ``stored`` like this; None if dense. What they read is there ``ahead`` of them: what is
    forwarded on chip, and weights.
    """
    beat, y = config.beat_bytes, work.y
    tile = (t.images, t.rows, t.columns)
    spatial = -(-y.images // t.images) * -(-y.height // t.rows) * -(-y.width // t.columns)
    groups = -(-len(t.tiles) // t.group)
    chunks = -(-work.x.channels // t.channels)
    r = reduction(work, config, t.flat, t.reduced_channels(work))
    passes = r.passes * chunks
    area, drains = (1, 1) if work.windows is None else (work.windows.area, _drains(work))
    passes *= work.works
    per_tile = passes * max(t.entries(work), minimum_pass(config, r.rows))
    rows = 0 if work.channelwise else len(t.tiles) * passes * r.rows
    per_instruction = t.kernel[0] * t.kernel[1] * t.kernel[2]
    walk = walk_of(work, config, tile) if t.filter else None
    if walk is not None:
        passes, per_instruction, drains = len(walk.passes), 1, walk.blocks
        per_tile = walk.cycles * work.works
        rows = walk.rows * (1 if work.channelwise else len(t.tiles))
    compute = spatial * len(t.tiles) * per_tile
    compute += instruction_gap(config) * spatial * groups * -(-passes // per_instruction)

    patch = patch_bytes(work, config, tile, t.channels)
    patches, patch_cycles = spatial * chunks * work.works, patch / beat
    if work.beside is not None:
        patch_cycles = _beside_cycles(work, config, t)
    elif work.x.step:
        patch_cycles = patch / (t.channels + 3 * beat) * run_cycles(config, t.channels)
    elif not work.x.is_dense:
        patch_cycles = t.rows * run_cycles(config, min(t.channels, work.x.channels))
        # The runs of a product's operand are long; others are short and many.
        patch_cycles += READ_ROUND_TRIP if work.channelwise else 0
    if chunks > 1 or (t.outputs_outer and patches * patch > config.activation_bytes):
        patches *= groups
    stored = stored or Storage()
    weights: float = rows * config.weight_pitch
    resident = t.outputs_outer or weights <= config.weight_bytes
    weights *= stored.bytes
    pieces = groups * -(-passes // per_instruction)
    weight_cycles = max(weights / beat, rows * stored.cycles) + pieces * stored.start
    if work.matrix is not None:
        matrices = work.works * work.kernel[0] * work.kernel[1]
        depth = work.x.channels // work.groups
        weights = matrices * depth * y.channels  # come without padding
        weight_cycles = matrices * _matrix_cycles(work, config, t, groups)
    loads = 1 if resident else spatial
    read = patches * patch + weights * loads + PARAMETER_BYTES * y.channels
    load = patches * patch_cycles + weight_cycles * loads + PARAMETER_BYTES * y.channels / beat

    lanes = sum(-(-tile.outputs // config.requantize_lanes) for tile in t.tiles)
    vector = spatial * t.pixels * lanes * work.octets * area
    written = y.images * y.height * y.width * y.channels * work.octets
    store = written / beat
    if not t.assemble and groups > 1:
        store = max(store, y.images * y.height * y.width * groups * _SMALL_RUN)
    if y.step:
        run = y.channels * work.octets / beat
        store = max(store, y.images * y.height * y.width * max(run + 0.5, _SMALL_RUN))

    if work.adds:
        runs = 0 if t.assemble or groups == 1 else y.images * y.height * y.width * groups
        load += max(written / beat, runs * run_cycles(config, written // max(1, runs)))
        read += written

    dispatch = spatial * groups * -(-passes // per_instruction) * _words(Opcode.COMPUTE)
    dispatch += spatial * len(t.tiles) * drains * len(work.modes) * _words(Opcode.VECTOR)
    lines = 1 if work.beside is None else t.images * work.beside.rows
    dispatch += patches * lines * _words(Opcode.LOAD) + pieces * loads * _words(Opcode.LOAD)
    blocks = spatial * (1 if t.assemble else groups)
    dispatch += blocks * _stores(work, t, groups) * _words(Opcode.STORE)
    # A half of the accumulators is drained before it is computed in again.
    turns = spatial * groups
    waits = compute_latency(config) + vector_latency(config, work.modes[0]) + _TOKENS
    drained = (compute + vector + turns * waits) / 2 if turns > 1 else 0
    tiles = spatial * (groups if t.outputs_outer else 1)
    held = 0.0
    if tiles > 1:
        count = (t.group if t.outputs_outer else len(t.tiles)) * len(work.modes) * drains
        part = compute / turns + compute_latency(config)
        held = tiles * _held(config, count, vector / tiles, patch_cycles + part)
    # The program comes over the same bus.
    bus = load + dispatch * WORD_BITS / (8 * beat)
    steady = max(compute, 0 if ahead else bus, vector, store, dispatch, drained, held)
    # LOAD is ahead by an eighth of the weights where it is always busy.
    early = config.weight_bytes / 8 / beat
    early = early if steady == bus else min(early, _EARLY)
    begun = min(weight_cycles / groups, config.weight_bytes / 2 / beat)
    first = patch_cycles + max(0, begun - early)
    if stored.start:
        # A piece's room is free again once it was loaded and computed with.
        first = patch_cycles + weight_cycles / pieces
        room = pieces * config.weight_bytes / (rows * config.weight_pitch)
        steady = max(steady, (load + compute + pieces * loads * _ROUND) / max(1, int(room)))
    last = vector / spatial / groups + store / spatial / (1 if t.assemble else groups)
    return steady * times + first + last, read + written


def array_cycles(work: Contraction, config: AcceleratorConfig, rows: int, pixels: int) -> int:
    """Return the cycles of the array alone for work of one group, its channels whole.

    Parameters
    ----------
    rows : image rows beside each other (`schedule.beside`).
    pixels : output pixels abreast (`schedule.abreast`).
    """
    y, (high, wide), dilation = work.y, work.kernel, work.dilations[1]
    if pixels > 1:
        wide, dilation = (wide - 1) * dilation + 1 + (pixels - 1) * work.strides[1], 1
    taps, length = (1, wide) if dilation == 1 else (wide, 1)
    length *= work.x.channels * rows
    runs = -(-length // config.rows)
    passes = -(-high // rows) * taps * runs
    tiles = -(-y.channels * pixels // config.columns)
    steps = y.images * y.height * -(-y.width // pixels)
    least = minimum_pass(config, length if runs == 1 else config.rows)
    return passes * tiles * max(steps, least)


def _drains(work: Contraction) -> int:
    """VECTORs of a tile and a column tile, roughly: one for each kind of window in a row."""
    assert work.windows is not None
    return min(2, len(work.windows.runs(1, 0, work.y.width)))


def _words(opcode: Opcode) -> int:
    """Words of an instruction, of which the machine hands out one a cycle."""
    return INSTRUCTIONS[opcode].size // WORD_BITS


def _held(config: AcceleratorConfig, count: int, vector: float, before: float) -> float:
    """Cycles from tile to tile where a tile's LOAD waits behind VECTORs for room in their queue.

    Parameters
    ----------
    count, vector : VECTORs of a tile, and their cycles.
    before : cycles from a tile's LOAD to its first VECTOR.
    """
    queued = queued_instructions(config, Opcode.VECTOR)
    # The tile's LOAD is handed out once the VECTOR begins that is `queued` before its own first.
    ahead = -(-max(0, queued + 1 - count) // count)
    begun = (count - 1 - queued + ahead * count) / count
    return (begun * vector + before) / (ahead + 1)


def _stores(work: Contraction, t: Tiling, groups: int) -> int:
    """STOREs of a block: one for each of its lines where its pixels are apart in memory."""
    y = work.y
    together = not y.step and (t.assemble or groups == 1)
    return 1 if together or y.width == 1 else t.images * t.rows


def _beside_cycles(work: Contraction, config: AcceleratorConfig, t: Tiling) -> float:
    """Cycles of loading a patch whose rows lie beside each other."""
    how, x = work.beside, work.x
    assert how is not None
    span = (work.kernel[0] - 1) * work.dilations[0] + (t.rows - 1) * work.strides[0] + 1
    rows, line = x.height if t.images > 1 else min(x.height, span), how.source.row_bytes
    one = rows * line / config.beat_bytes
    if how.step > 1 or t.columns < work.y.width:
        one = rows * run_cycles(config, line)
    return t.images * how.rows * (one + INTERLEAVE_CYCLES)


def run_cycles(config: AcceleratorConfig, length: int) -> float:
    """Cycles of a run of its own: its beats, or a burst's share of the round trip."""
    return max(-(-length // config.beat_bytes), READ_ROUND_TRIP / config.axi_outstanding)


def _matrix_cycles(
    work: Contraction, config: AcceleratorConfig, t: Tiling, groups: int
) -> float:
    """Cycles of loading all of ``work.matrix`` once."""
    assert work.matrix is not None
    depth, outputs = work.x.channels // work.groups, work.y.channels
    form, pitch = work.matrix.form, work.matrix.pitch
    if form == WeightFormat.ROWS:
        lines, extent = depth * groups, min(outputs, t.group * config.columns)
    else:
        extent = min(depth, t.channels, t.kernel[2] * config.rows)
        lines = outputs * -(-depth // extent)
    run = extent / config.beat_bytes if pitch == extent else run_cycles(config, extent)
    return max(lines * run, format_cycles(config, form, extent, lines * extent))
