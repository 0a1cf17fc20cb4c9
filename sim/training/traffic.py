# SPDX-License-Identifier: Apache-2.0
"""What a step moves and multiplies: bytes by what they are, products by phase, of its program."""

from bisect import bisect_right
from collections import Counter

from kiwicha.compiler.emit.compile import CompiledModel
from kiwicha.machine.encoding import walk_program
from kiwicha.machine.isa import Opcode

__all__ = ["KINDS", "PHASES", "phase_of", "step_bytes", "step_macs"]

PHASES = {"FP": "forward pass", "EB": "errors", "WG": "gradients, update", "loss": "loss"}
"""As Cambricon-Q has them; weights are updated as their gradients leave the array."""
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


def _kind(name: str, updated: set[str]) -> str:
    plain = name.removesuffix("^T").removesuffix(":new")
    if plain in updated or plain.endswith(":weights"):
        return "weights"
    return "errors" if plain.endswith(":e") else "activations"
