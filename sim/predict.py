# SPDX-License-Identifier: Apache-2.0
"""What is known of a program before it runs: cycles, bytes, how busy the array will be."""

from kiwicha.compiler.emit.layer import Layer
from kiwicha.cost.advice import advice
from kiwicha.cost.energy import Energy
from kiwicha.cost.shares import utilization
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.modes import RequantizeMode
from kiwicha.report.prediction import PredictedLayer, Prediction
from kiwicha.sim.host_stage import host_nodes
from kiwicha.sim.judge import promised
from kiwicha.sim.partition import Plan
from kiwicha.sim.prepare import Prepared

__all__ = ["predict", "predict_plan"]


def predict(name: str, made: Prepared) -> Prediction:
    """Return the prediction for the program of a model called ``name``."""
    compiled, config = made.compiled, made.compiled.config
    exact = made.graph.requantize
    layers = tuple(_layer(layer, config, exact) for layer in compiled.layers)
    cycles = compiled.timeline.total
    return Prediction(
        model=name,
        config={"name": config.name, **config.to_dict()},
        cycles=cycles,
        macs=compiled.macs,
        utilization=utilization(compiled.macs, cycles, config),
        bytes_read=sum(layer.bytes_read for layer in layers),
        bytes_written=sum(layer.bytes_written for layer in layers),
        memory_bytes=compiled.image.size,
        energy=vars(compiled.energy),
        layers=layers,
        notes=tuple(
            {"node": note.node, "text": note.text}
            for note in (*made.graph.notes, *made.compiled.notes)
        ),
    )


def predict_plan(name: str, plan: Plan) -> Prediction:
    """Return the prediction for all programs of a model of which a part runs on the host."""
    config, programs = plan.config, plan.programs
    layers = tuple(_layer(layer, config) for one in programs for layer in one.compiled.layers)
    cycles = sum(one.compiled.timeline.total for one in programs)
    macs = sum(one.compiled.macs for one in programs)
    return Prediction(
        model=name,
        config={"name": config.name, **config.to_dict()},
        cycles=cycles,
        macs=macs,
        utilization=utilization(macs, cycles, config) if cycles else 0.0,
        bytes_read=sum(layer.bytes_read for layer in layers),
        bytes_written=sum(layer.bytes_written for layer in layers),
        memory_bytes=sum(one.compiled.image.size for one in programs),
        energy=vars(sum((one.compiled.energy for one in programs), Energy(0, 0, 0))),
        layers=layers,
        notes=tuple(
            {"node": note.node, "text": note.text} for one in programs for note in one.graph.notes
        ),
        host=host_nodes(plan),
    )


def _layer(
    layer: Layer, config: AcceleratorConfig, exact: RequantizeMode = RequantizeMode.ONNX
) -> PredictedLayer:
    weights = layer.weights
    return PredictedLayer(
        name=layer.name,
        op=layer.op,
        promise=promised(layer.nodes, config, exact),
        x_shape=layer.nodes[0].x.shape,
        y_shape=layer.nodes[-1].y.shape,
        macs=layer.macs,
        cycles=layer.predicted_cycles,
        utilization=utilization(layer.macs, layer.predicted_cycles, config),
        bound=utilization(layer.macs, layer.bound_cycles, config),
        bound_by=layer.bound_by,
        bytes_read=layer.bytes_read,
        bytes_written=layer.bytes_written,
        density=weights.density,
        weight_bytes=weights.dense_bytes,
        stored_bytes=weights.stored_bytes,
        weight_formats=weights.formats,
        advice=advice(layer.work, config, layer.predicted_cycles),
    )
