# SPDX-License-Identifier: Apache-2.0
"""The part of `limit_examples` that is about products with an operator's matrix, and what is picked
out of two tensors."""

import numpy as np

from .limit_models import (
    END,
    F32,
    IMAGE,
    START,
    STUCK,
    chain,
    integer,
    of,
    scattered,
)
from .onnx_models import node

__all__ = ["MAPS"]

MAPS = {
    "DFT, STFT, Col2Im": {
        "its input is float from": of(
            [*START, node("Neg", ["x"], ["n"]), node("DFT", ["n"], ["f"], name="it"), *END],
            inputs={"x": [3, 6, 1]}),
        "its input is the float": chain(
            STUCK, node("DFT", ["r"], ["f"], name="it"), inputs={"x": [3, 6, 1]}),
        "is a product": chain(
            node("DFT", ["xf"], ["f"], name="it"), inputs={"x": [1, 2000, 1]}),
        "transforms axis 0": chain(
            node("DFT", ["xf"], ["f"], name="it", axis=0), inputs={"x": [3, 6, 1]}),
    },
    "LpPool, GlobalLpPool": {
        "its input is float from": of(
            [*START, node("Neg", ["x"], ["n"]), node("GlobalLpPool", ["n"], ["f"], name="it"),
             *END], inputs=IMAGE),
        "its input is the float": chain(
            STUCK, node("GlobalLpPool", ["r"], ["f"], name="it"), inputs=IMAGE),
        "the result of": chain(
            node("GlobalLpPool", ["xf"], ["p"], name="it"), node("Sqrt", ["p"], ["f"]),
            inputs=IMAGE),
        "is {rank}-D": chain(
            node("GlobalLpPool", ["xf"], ["f"], name="it"), inputs={"x": [1, 2, 3, 3, 3]}),
        "kernel spans": chain(
            node("LpPool", ["xf"], ["f"], name="it", kernel_shape=[9, 1]), inputs=IMAGE),
    },
    "Resize": {
        "mode {mode}": integer("Resize", ["xq", "", "twice"], {"twice": F32([1, 1, 2, 2])}, IMAGE,
                               "", mode="cubic"),
        "is a product": chain(
            node("Resize", ["xf", "", "wide"], ["f"], name="it", mode="linear"),
            constants={"wide": F32([1, 1, 1, 2.5])}, inputs={"x": [1, 1, 2, 2000]}),
        "resizes axis 0": chain(
            node("Resize", ["xf", "", "wide"], ["f"], name="it", mode="linear"),
            constants={"wide": F32([1.5, 2])}),
        "its input is float from": of(
            [*START, node("Neg", ["x"], ["n"]), node("Resize", ["n", "", "twice"], ["f"], name="it",
                                                     mode="linear"), *END],
            {"twice": F32([1, 1, 2, 2])}, IMAGE),
        "its input is the float": chain(
            STUCK, node("Resize", ["r", "", "twice"], ["f"], name="it", mode="linear"),
            constants={"twice": F32([1, 1, 2, 2])}, inputs=IMAGE),
        "the result of": chain(
            node("Resize", ["xf", "", "twice"], ["p"], name="it", mode="linear"),
            node("Sqrt", ["p"], ["f"]), constants={"twice": F32([1, 1, 2, 2])}, inputs=IMAGE),
        "coordinates": integer(
            "Resize", ["xq", "part", "twice"],
            {"twice": F32([1, 1, 2, 2]), "part": F32([0, 0, 0, 0, 1, 1, 1, 1])}, IMAGE, "",
            coordinate_transformation_mode="tf_crop_and_resize"),
    },
    "ScatterElements, Scatter, ScatterND, TensorScatter": {
        "combines what": scattered(reduction="add"),
        "its input is float": of(
            [*START, node("ScatterElements", ["x", "rows", "xf"], ["f"], name="it"), *END],
            {"rows": np.zeros((3, 6), np.int64)}),
    },
}
