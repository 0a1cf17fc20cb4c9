# SPDX-License-Identifier: Apache-2.0
"""What a tiling costs, roughly: the sum the search goes by. `performance` is the true model."""

from compiler.contraction import Contraction
from compiler.footprint import INSTRUCTION_GAP, minimum_pass, patch_bytes, reduction
from compiler.tiling import Tiling
from hw.config import AcceleratorConfig
from hw.isa import PARAMETER_BYTES

__all__ = ["estimate"]

_SMALL_RUN = 3  # cycles of a STORE run that is shorter than a beat


def estimate(work: Contraction, config: AcceleratorConfig, t: Tiling) -> tuple[float, float]:
    """Return cycles, then bytes moved: the busiest engine, plus what nothing can hide."""
    beat, y = config.beat_bytes, work.y
    tile = (t.images, t.rows, t.columns)
    spatial = -(-y.images // t.images) * -(-y.height // t.rows) * -(-y.width // t.columns)
    groups = -(-len(t.tiles) // t.group)
    chunks = -(-work.x.channels // t.channels)
    r = reduction(work, config, t.flat, t.reduced_channels(work))
    passes = r.passes * chunks
    per_pass = max(t.pixels, minimum_pass(config, r.rows))
    compute = spatial * len(t.tiles) * passes * per_pass
    per_instruction = t.kernel[0] * t.kernel[1] * t.kernel[2]
    compute += INSTRUCTION_GAP * spatial * groups * -(-passes // per_instruction)

    patch = patch_bytes(work, config, tile, t.channels)
    patches = spatial * chunks
    if chunks > 1 or (t.outputs_outer and patches * patch > config.activation_bytes):
        patches *= groups
    weights = 0 if work.is_pool else len(t.tiles) * passes * r.rows * config.weight_pitch
    resident = t.outputs_outer or weights <= config.weight_bytes
    if work.matrix is not None:
        weights = work.x.channels * y.channels  # comes without padding
    read = patches * patch + weights * (1 if resident else spatial)
    read += PARAMETER_BYTES * y.channels

    lanes = sum(-(-tile.outputs // config.requantize_lanes) for tile in t.tiles)
    vector = spatial * t.pixels * lanes
    written = y.images * y.height * y.width * y.channels
    store = written / beat
    if not t.assemble and groups > 1:
        store = max(store, y.images * y.height * y.width * groups * _SMALL_RUN)

    steady = max(compute, read / beat, vector, store)
    first = patch + min(weights / groups, config.weight_bytes / 2)
    last = vector / spatial / groups + store / spatial / (1 if t.assemble else groups)
    return steady + first / beat + last, read + written
