# SPDX-License-Identifier: Apache-2.0
"""What a run is reported as: plain values, to JSON and back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from kiwicha.errors import InputError
from kiwicha.report.blocks import BlocksReport
from kiwicha.report.host import HostNode
from kiwicha.report.statistics import StatisticsReport

__all__ = ["SCHEMA", "Accuracy", "LayerReport", "Report", "differences"]

SCHEMA = 1
"""Version of the JSON: raised when a field goes or changes its meaning, not when one comes."""


@dataclass(frozen=True)
class LayerReport:
    """One layer as it ran, or layers that ran side by side, " + " between their names.

    Members
    -------
    promise : "runtime-exact"; "within one code" where the runtime computes in float; or
        "golden-exact" for arithmetic of our own.
    compared, differ : elements that ONNX Runtime computed from the same inputs, and how many of
        them break the promise.
    rounded : how many are the one code away that "within one code" allows.
    off : codes by which ONNX Runtime's own integers are away from the model as given, whose
        operators are float; 0 where that is rounding.
    x_shape, y_shape : input and output in ONNX order.
    macs : multiply-accumulates, padding taps included.
    cycles, predicted_cycles : as `cost.shares.layer_shares` has them; their sum is the run's.
    utilization : macs / (cycles x rows x columns).
    bound, bound_by : the best utilization that the busiest engine allows, and which that is.
    bytes_read, bytes_written : over the memory port, whole beats.
    mismatches : bytes that differ from the golden operator.
    density : share of the weights that are not their zero point; 0 without constant weights.
    weight_bytes, stored_bytes : of the weights in memory, if all were dense and as they are.
    weight_formats : what they are stored in.
    cycles_saved : predicted cycles of the same program with dense weights less ``cycles``, of a
        layer with compressed weights that would be bound by reading; else None.
    advice : what keeps a layer from half of the array, and what would help; empty for others.
    """

    name: str
    op: str
    promise: str
    compared: int
    differ: int
    rounded: int
    off: int
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    macs: int
    cycles: int
    predicted_cycles: int
    utilization: float
    bound: float
    bound_by: str
    bytes_read: int
    bytes_written: int
    mismatches: int
    density: float
    weight_bytes: int
    stored_bytes: int
    weight_formats: tuple[str, ...]
    cycles_saved: int | None
    advice: str

    @property
    def compressed(self) -> bool:
        """Whether some of the weights are."""
        return any(name != "dense" for name in self.weight_formats)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LayerReport":
        """Return a layer as `Report.to_dict` or a JSON file has it; raises InputError."""
        return cls(**_tuples(_known(cls, {"advice": "", **values})))


@dataclass(frozen=True)
class Accuracy:
    """Shares of held-out samples that are classified correctly, and how many there are."""

    samples: int
    runtime: float
    machine: float
    float32: float | None = None


@dataclass(frozen=True)
class Report:
    """A whole run; `to_dict` is what ``--report`` writes.

    Members
    -------
    mismatches : output bytes that differ from the golden model in any layer, plus those in which
        the golden machine (same program, NumPy) differs from the simulation.
    reference : runtime, version, processor; ``mismatches`` counts elements that differ, of nodes
        and, if the ``whole`` model is to be exact to it, of outputs.
    statistics, blocks : of the layers that were asked for.
    host : nodes that ran between programs, which cycles, bytes and layers do not have.
    """

    model: str
    config: dict[str, Any]
    simulator: str
    cycles: int
    predicted_cycles: int
    macs: int
    utilization: float
    mismatches: int
    reference: dict[str, Any]
    layers: tuple[LayerReport, ...]
    notes: tuple[dict[str, str], ...]
    counters: dict[str, int]
    seconds: float
    accuracy: Accuracy | None = None
    waves: str | None = field(default=None)
    statistics: tuple[StatisticsReport, ...] = ()
    blocks: tuple[BlocksReport, ...] = ()
    host: tuple[HostNode, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether not one bit is wrong."""
        return self.mismatches == 0 and self.reference["mismatches"] == 0

    @property
    def cycles_per_second(self) -> float:
        """Simulated cycles per second of wall time."""
        return self.cycles / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON, with the ``schema`` in front."""
        derived = {"exact": self.exact, "cycles_per_second": self.cycles_per_second}
        return {"schema": SCHEMA, "predicted": False, **asdict(self), **derived}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Report":
        """Return a report as `to_dict` or a JSON file has it.

        Fields that this version does not know are left out.

        Raises
        ------
        InputError
            When the schema is another one, a field is missing, or nothing ran.
        """
        if (schema := values.get("schema")) != SCHEMA:
            raise InputError(f"the report's schema is {schema}; must be {SCHEMA}")
        if values.get("predicted"):
            raise InputError("the report is a prediction; must be one of a run")
        known = _known(cls, {"host": (), **values})
        known["host"] = tuple(map(HostNode.from_dict, known["host"]))
        accuracy = known.get("accuracy")
        known["layers"] = tuple(map(LayerReport.from_dict, known["layers"]))
        known["notes"] = tuple(known["notes"])
        for name, kind in (("statistics", StatisticsReport), ("blocks", BlocksReport)):
            known[name] = tuple(kind(**_tuples(_known(kind, one))) for one in known.get(name, ()))
        known["accuracy"] = accuracy and Accuracy(**_known(Accuracy, accuracy))
        return cls(**known)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with tuples for lists, which JSON has no other."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataclass, each of which must be there."""
    names = [each.name for each in fields(cls)]
    if missing := [name for name in names if name not in values]:
        raise InputError(f"the report has no '{missing[0]}' in {cls.__name__}")
    return {name: values[name] for name in names}


def differences(report: Report) -> list[str]:
    """Return what is wrong in words, a layer each; nothing if every bit is right."""
    wrong = [
        f"layer '{layer.name}': {layer.mismatches:,} bytes differ from the golden model"
        for layer in report.layers
        if layer.mismatches
    ]
    wrong += [
        f"layer '{found.layer}': its statistics are not those of the golden model's results"
        for found in report.statistics
        if found.mismatches
    ]
    named = sum(layer.mismatches for layer in report.layers)
    named += sum(found.mismatches for found in report.statistics)
    if rest := report.mismatches - named:
        wrong.append(f"{rest:,} bytes of memory differ from the golden machine's")
    if count := report.reference["mismatches"]:
        wrong.append(f"{count:,} elements differ from {report.reference['runtime']}'s")
    return wrong
