# SPDX-License-Identifier: Apache-2.0
"""BatchNormalization that cannot be folded: within a code of ONNX Runtime's float, and said so."""

import numpy as np
import pytest

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import UnsupportedModel
from kiwicha.golden.network import evaluate
from kiwicha.sim.reference import runtime_tensors

from .agree import agree
from .onnx_models import dq, model, node, q, scales

U8, S8 = np.uint8, np.int8
C = 6
rng = np.random.RandomState(5)
CONSTANTS = scales(x=(0.03, U8(120)), a=(0.02, U8(99)), s=(0.03, S8(-5)), t=(0.05, S8(4))) | {
    "gamma": rng.uniform(-2, 2, C).astype(np.float32), "low": np.float32(-0.31),
    "beta": rng.standard_normal(C).astype(np.float32), "high": np.float32(1.04),
    "mean": rng.standard_normal(C).astype(np.float32),
    "variance": rng.uniform(0.1, 2, C).astype(np.float32), "half": np.float32(0.5),
}
NORMALIZE = node("BatchNormalization", ["f0", "gamma", "beta", "mean", "variance"], ["b"],
                 name="norm", epsilon=1e-3)


def chain(*behind, last="b", keys="xa"):
    first, end = keys
    return [q("x", "xq", first), dq("xq", "f0", first), NORMALIZE, *behind, q(last, "yq", end),
            dq("yq", "y", end)]


def near(nodes, shape, constants=CONSTANTS):
    """Return the graph; results may be one code from ONNX Runtime's in 1 % of the elements."""
    lowered = lower(model(nodes, constants, {"x": shape}))
    graph = legalize(lowered)
    assert [n.promise for n in graph.nodes] == ["near"]
    assert "at most one code apart" in graph.notes[0].text
    x = (3 * np.random.RandomState(6).standard_normal(shape)).astype(np.float32)
    found = evaluate(graph, {"x": x})["yq"].astype(int)
    apart = np.abs(found - runtime_tensors(lowered, {"x": x})["yq"])
    assert apart.max() <= 1
    assert apart.mean() <= 0.01
    assert len(np.unique(found)) > 20
    return graph


@pytest.mark.parametrize("keys", ["xa", "st", "xt"])
@pytest.mark.parametrize("shape", [(2, C, 40), (3, C, 16, 16)], ids=str)
def test_as_onnx_runtime_but_for_single_codes(shape, keys):
    (layer,) = near(chain(keys=keys), shape).nodes
    assert (layer.kind, layer.groups, layer.macs) == ("conv", C, int(np.prod(shape)))


@pytest.mark.parametrize("name", ["Relu", "Clip"])
def test_clips_behind_are_its_clamp(name):
    bounds = ["low", "high"] if name == "Clip" else []
    graph = near(chain(node(name, ["b", *bounds], ["f"]), last="f"), (3, C, 16, 16))
    low, high = (99 - 16, 99 + 52) if name == "Clip" else (99, 255)
    assert (graph.nodes[0].low, graph.nodes[0].high) == (low, high)


@pytest.mark.parametrize("gain", [0, 1e-30, 1e-7, 1e-3, 100])
def test_channels_of_any_gain(gain):
    """Of no gain, of none that counts beside the offset, of steps wider than the result's."""
    constants = CONSTANTS | {"gamma": np.float32([gain, -gain, 1, -1, gain, gain])}
    near(chain(), (3, C, 16, 16), constants)


def test_at_the_end_the_host_does_it_exactly():
    """A table for each channel, and more where ONNX Runtime's code for the rest differs."""
    nodes = [*chain()[:3], node("Relu", ["b"], ["y"])]
    graph = agree(model(nodes, CONSTANTS, {"x": [2, C, 5, 5]}))
    assert graph.nodes == ()
    assert len(graph.dequantize[0].values) >= C
    assert graph.dequantize[0].kinds.shape == (2, C, 5, 5)


REFUSALS = {
    "training": ([dq("xq", "f0", "x"), node(
        "BatchNormalization", ["f0", "gamma", "beta", "mean", "variance"], ["b", "m", "v"],
        name="norm", training_mode=1), q("b", "yq", "a"), dq("yq", "y", "a")], [2, C, 4],
        "is that of training; export the model for inference"),
    "rows": (chain()[1:], [2, C], "normalizes 2 dimensions; without a layer before it that it can "
             "be folded into, it must be 3 or 4"),
    "float": (chain(node("Tanh", ["b"], ["f"]), last="f")[1:], [2, C, 4],
              "its input is the float result of BatchNormalization; quantize it"),
    "pooled": ([*chain(node("MaxPool", ["b"], ["f"], kernel_shape=[2]), last="f")[1:],
                q("f", "zq", "x")], [2, C, 4],
               "the result of BatchNormalization must be quantized before anything else"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    nodes, shape, line = REFUSALS[name]
    nodes = [q("x", "xq", "x"), *nodes]
    with pytest.raises(UnsupportedModel) as caught:
        legalize(lower(model(nodes, CONSTANTS, {"x": shape})))
    assert str(caught.value).endswith(line)


def test_a_variance_that_has_no_root_is_refused():
    constants = CONSTANTS | {"variance": np.float32([1, 1, 1, -1, 1, 1])}
    with pytest.raises(UnsupportedModel, match=r"'norm' .*its gain of channel 3 is not finite"):
        legalize(lower(model(chain(), constants, {"x": [2, C, 4]})))
