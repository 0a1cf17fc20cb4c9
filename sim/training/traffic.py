# SPDX-License-Identifier: Apache-2.0
"""What a step moves and multiplies: bytes by what they are, products by phase, of its program."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping

from kiwicha.compiler.emit.compile import CompiledModel
from kiwicha.cost.update import update_beats
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import walk_program
from kiwicha.machine.isa import Opcode

__all__ = ["KINDS", "PHASES", "phase_of", "step_bytes", "step_macs"]

PHASES = {"FP": "forward pass", "EB": "errors", "WG": "gradients, update", "loss": "loss",
          "UP": "optimizer"}
"""As Cambricon-Q has them; NITI's weights are updated as their gradients leave the array."""
KINDS = ("weights", "activations", "errors", "gradients", "moments", "other")
"""Of bytes; other are the program, parameters, tables and counters."""

_TURNED = "T"  # a copy of what WG reads


def phase_of(layer: str) -> str:
    """Return the phase of a step's layer, by its name; layers of a model are its forward pass."""
    phase = layer.rpartition(":")[2]
    if phase == _TURNED:
        return "WG"
    return phase if phase in PHASES else "FP"


def step_macs(compiled: CompiledModel) -> dict[str, int]:
    """Return the useful multiply-accumulates of each phase."""
    macs = Counter(dict.fromkeys(PHASES, 0))
    for layer in compiled.layers:
        macs[phase_of(layer.nodes[0].name)] += layer.macs
    return dict(macs)


def step_bytes(compiled: CompiledModel) -> dict[str, int]:
    """Return the bytes of whole beats, read and written, by kind."""
    beat = compiled.config.beat_bytes
    tensors, updated = compiled.graph.tensors, set(compiled.graph.updates.values())
    spans = sorted(
        (address, address + tensors[name].size, _kind(name, updated))
        for name, address in compiled.addresses.items()
        if name in tensors
    )
    starts = [start for start, _, _ in spans]
    moved = Counter(dict.fromkeys(KINDS, 0))
    moved["other"] += compiled.program[1]
    for _, opcode, fields in walk_program(compiled.words):
        if opcode == Opcode.UPDATE:
            moved.update(_update_bytes(compiled.config, fields))
        if opcode not in (Opcode.LOAD, Opcode.STORE):
            continue
        address, length = fields["address"], fields["length"]
        place = bisect_right(starts, address) - 1
        inside = place >= 0 and address < spans[place][1]
        kind = spans[place][2] if inside else "other"
        for segment in range(fields["segments"]):
            start = address + segment * fields["pitch"]
            moved[kind] += (-(-(start + length) // beat) - start // beat) * beat
    return dict(moved)


def _update_bytes(config: AcceleratorConfig, fields: Mapping[str, int]) -> dict[str, int]:
    """Return what an UPDATE moves; sums of gradients are gradients."""
    beat, beats = config.beat_bytes, sum(update_beats(config, fields))
    group = -(-4 * fields["count"] // beat)  # beats of a value of 32 bits for each weight
    moments = 2 * group * (fields["momentum"] + fields["root"])
    narrow = -(-fields["count"] // beat)  # those of an int8 one
    weights = 0 if fields["accumulate"] else 2 * group + narrow
    return {
        "weights": weights * beat, "moments": moments * beat,
        "gradients": (beats - weights - moments) * beat,
    }


def _kind(name: str, updated: set[str]) -> str:
    if name.endswith((":gradient", ":g", ":sums", ":sums:new")):
        return "gradients"
    plain = name.removesuffix("^T").removesuffix(":new").removesuffix(":mask")
    if plain in updated or plain.endswith(":weights"):
        return "weights"
    return "errors" if plain.endswith(":e") else "activations"
