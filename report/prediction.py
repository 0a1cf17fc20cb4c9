# SPDX-License-Identifier: Apache-2.0
"""What a program will do, as far as is known before it runs: plain values, to JSON."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from kiwicha.report.host import HostNode
from kiwicha.report.report import SCHEMA, LayerReport, Report

__all__ = ["PredictedLayer", "Prediction"]


@dataclass(frozen=True)
class PredictedLayer:
    """A layer of a program, or layers that run side by side, " + " between their names.

    Members
    -------
    promise : "runtime-exact", "within one code" or "golden-exact", as `LayerReport` has it.
    x_shape, y_shape : input and output in ONNX order, the batch in front.
    macs : multiply-accumulates, taps in the padding included.
    cycles : predicted; the sum over all layers is that of the program.
    utilization : macs / (cycles x rows x columns).
    bound, bound_by : the best utilization that the busiest engine allows, and what it does: "fill"
        (the array), "read", "requantize", "special" or "write".
    bytes_read, bytes_written : over the memory port, whole beats.
    density : share of the weights that are not their zero point; 0 without constant weights.
    weight_bytes, stored_bytes : of the constant weights, if all were dense and as they are.
    weight_formats : what they are stored in.
    advice : as `LayerReport` has it, by predicted cycles.
    """

    name: str
    op: str
    promise: str
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    macs: int
    cycles: int
    utilization: float
    bound: float
    bound_by: str
    bytes_read: int
    bytes_written: int
    density: float
    weight_bytes: int
    stored_bytes: int
    weight_formats: tuple[str, ...]
    advice: str

    @property
    def compressed(self) -> bool:
        """Whether some of the weights are."""
        return any(name != "dense" for name in self.weight_formats)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of a `LayerReport`; those that only a run can tell are None."""
        known = {**asdict(self), "cycles": None, "predicted_cycles": self.cycles}
        return {field.name: known.get(field.name) for field in fields(LayerReport)}


@dataclass(frozen=True)
class Prediction:
    """A whole program; `to_dict` is what ``--predict --report`` writes.

    Members
    -------
    memory_bytes : that the program, its constants and all tensors take, from address 0 on.
    energy : of array, buffers and memory, in multiply-accumulates; `cost.energy` says how.
    host : nodes between programs, which cycles, bytes and layers do not have.
    """

    model: str
    config: dict[str, Any]
    cycles: int
    macs: int
    utilization: float
    bytes_read: int
    bytes_written: int
    memory_bytes: int
    energy: dict[str, int]
    layers: tuple[PredictedLayer, ...]
    notes: tuple[dict[str, str], ...] = ()
    host: tuple[HostNode, ...] = ()

    @property
    def spent(self) -> str:
        """The energy in words, and where it goes."""
        total = sum(self.energy.values())
        shares = (f"{name} {part / max(1, total):.0%}" for name, part in self.energy.items())
        return f"energy of about {total:,} multiply-accumulates ({', '.join(shares)})"

    def to_dict(self) -> dict[str, Any]:
        """Return what `Report.to_dict` would, ``predicted``: what only a run can tell is None."""
        unknown = dict.fromkeys([field.name for field in fields(Report)])
        known = {
            **asdict(self),
            "cycles": None,
            "predicted_cycles": self.cycles,
            "layers": [layer.to_dict() for layer in self.layers],
        }
        derived = {"exact": None, "cycles_per_second": None}
        return {"schema": SCHEMA, "predicted": True, **unknown, **known, **derived}
