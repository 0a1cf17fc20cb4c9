# SPDX-License-Identifier: Apache-2.0
"""A pruned network, and machines of one weight format each."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kiwicha.machine.capabilities import WEIGHT_FORMATS
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["CONFIGS", "DENSE", "pruned"]

DENSE = AcceleratorConfig(
    name="dense", rows=4, columns=8, axi_data_width=64, axi_burst_beats=16,
    activation_bytes=4096, weight_bytes=2048, accumulator_depth=64, output_bytes=1024,
    parameter_channels=32, requantize_lanes=2, queue_words=32,
)

CONFIGS = {
    "dense": DENSE,
    **{
        name: DENSE.replace(name=name, sparse={"formats": (name,), "entries": 4})
        for name in WEIGHT_FORMATS
    },
    "all": DENSE.replace(
        name="all", sparse={"formats": WEIGHT_FORMATS}, transposer=True, columns=7,
    ),
}


def pruned(seed: int = 3, weight_type: type = np.int8, weight_zero: int = 0) -> onnx.ModelProto:
    """Return a convolution (1 x 6 x 7 x 7, 10 outputs, 3 x 3) and a product (490 x 21).

    A tenth of the weights are not the zero point, and have 14 different values.
    """
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        values = rng.choice([-60, -31, -17, -9, -5, -2, -1, 1, 2, 4, 8, 16, 33, 60], shape)
        return (np.where(rng.random(shape) < 0.1, values, 0) + weight_zero).astype(weight_type)

    constants = {
        "s1": np.float32(1 / 16), "zx": np.uint8(120), "ws": np.float32(1 / 64),
        "wz": weight_type(weight_zero), "zy": np.uint8(100), "w1": weights(10, 6, 3, 3),
        "w2": weights(490, 21), "s2": np.float32(1), "zz": np.uint8(128),
        "shape": np.array([1, 490]),
    }
    nodes = [
        helper.make_node(
            "QLinearConv", ["x", "s1", "zx", "w1", "ws", "wz", "s1", "zy"], ["a"], name="conv",
            pads=[1] * 4,
        ),
        helper.make_node("Reshape", ["a", "shape"], ["b"], name="flatten"),
        helper.make_node(
            "QLinearMatMul", ["b", "s1", "zy", "w2", "ws", "wz", "s2", "zz"], ["y"], name="fc"
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "pruned",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, (1, 6, 7, 7))],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, (1, 21))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
