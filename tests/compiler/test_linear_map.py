# SPDX-License-Identifier: Apache-2.0
"""Products with the matrix of a linear operator: Resize of any kind, DFT, STFT and Col2Im."""

import numpy as np
import pytest
from onnx import TensorProto

from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.network import evaluate, outputs
from kiwicha.sim.reference import reference

from .agree import agree
from .onnx_models import dq, model, node, q, scales
from .test_moves import runs

U8, S8, F32 = np.uint8, np.int8, np.float32


def mapped(made, shape, y, constants, dtype=U8, opset=20, after=()):
    """An operator between two scales."""
    constants = constants | scales(x=(0.02, dtype(100)), y=y)
    nodes = [q("x", "xq", "x"), dq("xq", "xf", "x"), made, *after,
             q("f" if after else "p", "pq", "y"), dq("pq", "y", "y")]
    return model(nodes, constants, {"x": shape}, opset=opset)


def resized(shape, factors, y=(0.02, 100), dtype=U8, after=(), **attributes):
    made = node("Resize", ["xf", "", "by"], ["p"], name="it", **attributes)
    return mapped(made, shape, (y[0], dtype(y[1])), {"by": F32(factors)}, dtype, 19, after)


WAYS = {
    "corners": {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    "symmetric": {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"},
    "linear": {"mode": "linear"},
    "antialias": {"mode": "linear", "antialias": 1},
    "cubic": {"mode": "cubic"},
    "cubic, fewer": {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1},
}


@pytest.mark.parametrize("dtype", [U8, S8])
@pytest.mark.parametrize(("shape", "factors"), [
    ([1, 2, 4, 6], [1, 1, 1.5, 0.6]), ([3, 2, 2, 5], [1, 1, 1, 1.8]),
    ([1, 1, 24, 20], [1, 1, 1.5, 1.3])])
@pytest.mark.parametrize("way", WAYS)
def test_resize(way, shape, factors, dtype):
    """Within one code, both axes at once or, of larger images, one after the other."""
    graph = agree(resized(shape, factors, (0.03, 90), dtype, **WAYS[way]), exact=False)
    products = [n for n in graph.nodes if n.kind == "matmul"]
    assert len(products) == (2 if shape[2] == 24 else 1)
    runs(graph, "default")


def test_eight_bits_in_between_may_be_too_few():
    """A coarse scale between two axes and a fine one behind: golden-exact, and told."""
    graph = legalize(lower(resized([1, 1, 30, 20], [1, 1, 1.5, 1.5], (0.005, 100), mode="cubic")))
    assert [n.promise for n in graph.nodes if n.kind == "matmul"][-1] == "golden"
    assert any("codes apart" in note.text for note in graph.notes)


@pytest.mark.parametrize(("sizes", "axes", "policy"), [
    ([1, 2, 7, 5], None, "stretch"), ([7, 5], [2, 3], "stretch"), ([7, 5], [2, 3], "not_larger"),
    ([5], [3], "stretch"), ([2, 31, 33], [1, 2, 3], "stretch")])
def test_sizes(sizes, axes, policy):
    """Of some axes or all of them; those that stay have any length while the matrix is made."""
    large = len(sizes) == 3
    more = {} if axes is None else {"axes": axes}
    made = node("Resize", ["xf", "", "", "f"], ["p"], name="it", mode="linear",
                keep_aspect_ratio_policy=policy, **more)
    shape = [1, 2, 20, 22] if large else [1, 2, 4, 6]
    built = mapped(made, shape, (0.02, U8(100)), {"f": np.array(sizes)}, opset=19)
    runs(agree(built, exact=False), "default")


def test_a_crop():
    """What is outside of the image has a value of its own."""
    made = node("Resize", ["xf", "part", "", "f"], ["p"], name="it", mode="linear", axes=[2, 3],
                coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=1.5)
    constants = {"f": np.array([4, 5]), "part": F32([0.2, 0.3, 1.2, 0.9])}
    runs(agree(mapped(made, [2, 3, 4, 6], (0.02, U8(100)), constants, opset=18), exact=False))


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("way", ["corners", "symmetric", "linear"])
def test_codes(way, dtype):
    """ONNX Runtime cuts them off."""
    kind = getattr(TensorProto, dtype.upper())
    nodes = [node("Resize", ["x", "", "f"], ["y"], name="it", **WAYS[way])]
    made = model(nodes, {"f": F32([1, 1, 1.5, 2.5])}, {"x": [2, 3, 4, 6]}, opset=19,
                 types=dict.fromkeys("xy", kind))
    runs(agree(made, exact=False), "default")


TRANSFORMS = {
    "dft": (node("DFT", ["xf", "", "axis"], ["p"], name="it"), [2, 3, 10, 1],
            {"axis": np.int64(2)}, 0.06),
    "inverse": (node("DFT", ["xf", "", "axis"], ["p"], name="it", inverse=1), [2, 6, 5, 2],
                {"axis": np.int64(1)}, 0.02),
    "one side": (node("DFT", ["xf", "length", "axis"], ["p"], name="it", onesided=1), [1, 12, 1],
                 {"axis": np.int64(1), "length": np.int64(8)}, 0.06),
    "stft": (node("STFT", ["xf", "step", "window"], ["p"], name="it"), [2, 32, 1],
             {"step": np.int64(4), "window": np.hanning(8).astype(F32)}, 0.06),
    "col2im": (node("Col2Im", ["xf", "image", "block"], ["p"], name="it", pads=[0, 1, 0, 1]),
               [2, 12, 10], {"image": np.array([3, 4]), "block": np.array([2, 2])}, 0.05),
}


@pytest.mark.parametrize("dtype", [U8, S8])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name, dtype):
    made, shape, constants, scale = TRANSFORMS[name]
    runs(agree(mapped(made, shape, (scale, dtype(90)), constants, dtype), exact=False), "default")


def test_what_follows():
    """A Relu and a view behind the sums."""
    after = [node("Relu", ["p"], ["r"]), node("Flatten", ["r"], ["f"])]
    runs(agree(resized([1, 2, 4, 6], [1, 1, 1.5, 2], mode="linear", after=after), exact=False))


def test_opset_10():
    made = node("Resize", ["xf", "f"], ["p"], name="it", mode="linear")
    built = mapped(made, [1, 2, 3, 4], (0.02, U8(100)), {"f": F32([1, 1, 2, 1.5])}, opset=10)
    runs(agree(built, exact=False))


def test_a_long_transform_is_golden_and_no_further_than_told():
    """The bytes of the weights are not fine enough for one code."""
    made = node("DFT", ["xf", "", "axis"], ["p"], name="it", onesided=1)
    built = mapped(made, [1, 400, 1], (0.02, U8(128)), {"axis": np.int64(1)})
    lowered = lower(built)
    graph = legalize(lowered)
    assert "golden" in {n.promise for n in graph.nodes}
    (told,) = {float(note.text.split()[-3]) for note in graph.notes if "apart" in note.text}
    inputs = random_inputs(lowered.inputs, 3)
    ours = outputs(graph, evaluate(graph, inputs))["y"]
    apart = np.abs(ours - reference(lowered, inputs).outputs["y"]).max() / 0.02
    assert 1 < told
    assert apart <= told + 1
