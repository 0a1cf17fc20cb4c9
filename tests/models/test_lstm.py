# SPDX-License-Identifier: Apache-2.0
"""The recurrent network: gradients, what it is made of, and how well the machine's integers do."""

import numpy as np
import onnx
import onnxruntime

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.network import evaluate, outputs
from kiwicha.models import lstm, train_lstm
from kiwicha.models.digits import load_npz
from kiwicha.models.script import accuracy

from .slopes import gradients_are_slopes


def test_gradients_are_slopes() -> None:
    rng = np.random.RandomState(0)
    parameters = {
        name: value.astype(np.float64) for name, value in train_lstm.initialize(rng).items()
    }
    gradients_are_slopes(train_lstm, parameters, rng.standard_normal((2, 1, 8, 8)), rng)


def test_the_graph_computes_what_was_trained() -> None:
    rng = np.random.RandomState(3)
    parameters = train_lstm.initialize(rng)
    images = rng.uniform(0, 1, (4, 1, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(
        lstm.export(parameters).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(None, {"image": images})
    assert np.allclose(logits, train_lstm.forward(parameters, images)[0], atol=1e-5)


def test_integers_recognize_as_many_digits() -> None:
    """A point less than the float at most; the hidden state is close to the runtime's."""
    digits = load_npz(lstm.TEST)
    model = onnx.load(lstm.INT8)
    lowered = lower(model, len(digits.labels))
    graph = legalize(lowered)
    tensors = evaluate(graph, {"image": digits.images})
    right = (outputs(graph, tensors)["logits"].argmax(axis=1) == digits.labels).mean()
    assert right >= accuracy(onnx.load(lstm.FP32), digits) - 0.01
    hidden = model.graph.output.add()
    hidden.name = "last"
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (expected,) = session.run(["last"], {"image": digits.images})
    distance = np.abs(tensors["lstm/Y_h"].astype(np.float32) / 127 - expected)
    assert distance.max() < 0.21
    assert distance.mean() < 0.0091
