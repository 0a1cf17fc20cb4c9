# SPDX-License-Identifier: Apache-2.0
"""What is known of a program before it runs: cycles, bytes, how busy the array will be."""

from kiwicha.compiler.emit.compile import Layer
from kiwicha.cost.shares import utilization
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.report.prediction import PredictedLayer, Prediction
from kiwicha.sim.judge import promised
from kiwicha.sim.prepare import Prepared

__all__ = ["predict"]


def predict(name: str, made: Prepared) -> Prediction:
    """Return the prediction for the program of a model called ``name``."""
    compiled, config = made.compiled, made.compiled.config
    layers = tuple(_layer(layer, config) for layer in compiled.layers)
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
        layers=layers,
        notes=tuple(
            {"node": note.node, "text": note.text}
            for note in (*made.graph.notes, *made.compiled.notes)
        ),
    )


def _layer(layer: Layer, config: AcceleratorConfig) -> PredictedLayer:
    weights = layer.weights
    return PredictedLayer(
        name=layer.name,
        op=layer.op,
        promise=promised(layer.nodes, config),
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
    )
